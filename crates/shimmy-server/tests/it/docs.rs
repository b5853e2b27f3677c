//! `/docs`: a page that needs nothing but this server, and lets nothing else in.

use crate::support::Setup;

/// The values of an attribute in the page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let mark = format!("{name}=\"");
    let starts = page
        .match_indices(&mark)
        .map(|(at, _)| &page[at + mark.len()..]);
    starts.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_page_works_offline_and_runs_nothing_but_its_own_files() {
    let server = Setup::default().start().await;
    let response = server.get("/docs").await;
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let page = response.text().await.unwrap();
    let files: Vec<_> = [attributes(&page, "src"), attributes(&page, "href")].concat();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        // A path of this server: no other host, whatever the scheme.
        assert!(file.starts_with("/docs/") && !file.contains("//"), "{file}");
        let response = server.get(file).await;
        assert_eq!(response.status(), 200, "{file}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let text = response.text().await.unwrap();
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http:",
            "https:",
        ] {
            assert!(!text.contains(sink), "{file} has {sink}");
        }
    }
    // What the policy would stop is not there to be stopped.
    assert_eq!(
        page.matches("<script").count(),
        attributes(&page, "src").len()
    );
    for inline in ["<style", "style=", "onclick", "onload", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn the_policy_allows_no_inline_code_no_other_host_and_no_frame() {
    let server = Setup::default().start().await;
    for path in ["/docs", "/docs/page.js", "/docs/page.css"] {
        let response = server.get(path).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|r| r == rule), "{rule} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}

#[tokio::test]
async fn only_the_files_of_the_page_are_served() {
    let server = Setup::default().start().await;
    for path in [
        "/docs/mod.rs",
        "/docs/..%2fopenapi.json",
        "/docs/page.js/",
        "/docs/",
    ] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    // Sent as it is: a client would make `/` of it.
    let request = "GET /docs/%2e%2e HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
