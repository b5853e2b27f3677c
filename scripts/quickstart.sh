#!/usr/bin/env bash
# From a fresh clone to a running answer: finds or installs what the build needs, builds the
# release binary for this machine's own processor, gets a small model, starts the server, asks it
# one question and shows the answer as it comes. A second run takes seconds.
#
#   scripts/quickstart.sh ["your question"]
#
# SHIMMY_FEATURES=llama (or cuda, metal, vulkan, rocm) builds llama.cpp too, for models that the engine
# in Rust does not know and for GPUs.
# SHIMMY_TEST_MODEL=/path/to/model.gguf uses that model instead of the demo model.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

question=${1:-"What is the capital of France? Answer in one sentence."}
server=""
log=""

stop_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=""
    fi
    if [ -n "$log" ]; then rm -f "$log"; fi
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "1/4 what the build needs"
features=${SHIMMY_FEATURES:-}
# shellcheck disable=SC2046 # Names of tools.
need_tools compiler cargo $([ -z "$features" ] || echo cmake libclang)
if ! has_tool python; then
    say "(no python3: the demo model cannot be downloaded, and figures are not shown)"
fi
need_rust_version
say "found: $(rustc --version)"

step "2/4 build (the first time takes minutes)"
use_build_helpers
# A folder of its own: a build for this machine alone must not be taken for a portable one.
target=${CARGO_TARGET_DIR:-$root/target}/native
RUSTFLAGS="${RUSTFLAGS:--C target-cpu=native}" \
    cargo build --locked --release --package shimmy --features "$features" --target-dir "$target" ||
    fail "the build failed; the compiler's own words are above"
shimmy=$target/release/shimmy
say "built: $shimmy"

step "3/4 model"
if [ -n "${SHIMMY_TEST_MODEL:-}" ]; then
    model=$SHIMMY_TEST_MODEL
    [ -f "$model" ] || fail "SHIMMY_TEST_MODEL is $model, which is not there"
else
    model=$(bash scripts/demo-model.sh)
fi
say "model: $model"

step "4/4 serve it and ask"
log=$(mktemp "${TMPDIR:-/tmp}/shimmy-quickstart.XXXXXX")
env -u SHIMMY_API_KEY -u SHIMMY_API_KEY_FILE SHIMMY_BASE_GGUF="$model" \
    "$shimmy" serve --bind 127.0.0.1:0 >"$log" 2>&1 &
server=$!
url=""
tries=0
while [ -z "$url" ]; do
    url=$(sed -n 's/.*\(http:\/\/127\.0\.0\.1:[1-9][0-9]*\).*/\1/p' "$log" | head -n 1)
    if [ -n "$url" ]; then break; fi
    tries=$((tries + 1))
    if ! kill -0 "$server" 2>/dev/null || [ "$tries" -gt 300 ]; then
        cat "$log" >&2
        fail "the server did not start; its own words are above"
    fi
    sleep 0.1
done
say "serving at $url; asking: $question"
say ""

if command -v python3 >/dev/null 2>&1; then
    python3 scripts/ask.py "$url" "$question" || {
        cat "$log" >&2
        fail "the question was not answered; the server's own words are above"
    }
else
    escaped=$(printf '%s' "$question" | sed 's/\\/\\\\/g; s/"/\\"/g')
    curl -sSN --fail "$url/v1/chat/completions" -H 'Content-Type: application/json' -d \
        '{"messages":[{"role":"user","content":"'"$escaped"'"}],"max_tokens":96,"temperature":0,"stream":true}' ||
        fail "the question was not answered"
fi

say ""
say "To serve it yourself:"
say "    SHIMMY_BASE_GGUF=$model $shimmy serve"
