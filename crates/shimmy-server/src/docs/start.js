// Shows /openapi.json with Swagger UI. Where the server has a key, it asks for it first: the
// description needs it, and so do the routes that are tried.

const access = document.getElementById("access");
const key = document.getElementById("key");

/** Why there is no description, and a way to try again. */
function ask(reason) {
  document.getElementById("reason").textContent = reason;
  access.hidden = false;
  key.focus();
}

function show(spec) {
  access.hidden = true;
  const page = SwaggerUIBundle({
    spec,
    dom_id: "#page",
    deepLinking: true,
    docExpansion: "list",
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // Else the description is sent to a validator on the Internet.
    validatorUrl: null,
    onComplete() {
      if (key.value) page.preauthorizeApiKey("bearer", key.value);
    },
  });
}

async function load() {
  try {
    const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
    const response = await fetch("/openapi.json", { headers });
    const answer = await response.json();
    if (response.ok) show(answer);
    else ask(`${response.status}: ${answer.error}`);
  } catch (error) {
    ask(`The server cannot be reached: ${error}`);
  }
}

access.addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
load();
