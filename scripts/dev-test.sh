#!/usr/bin/env bash
# Everything that is checked before a change lands, with a summary at the end. Installs what is
# missing where it may, and otherwise says how to.
#
#   scripts/dev-test.sh [options of `cargo xtask ci`, for example --only tests]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

step "what the checks need"
need_tools compiler cmake libclang cargo
want_python "the steps with real clients will be skipped"
need_rust_version
use_build_helpers
get_cargo_deny

# On CI a lock file that does not fit the manifests is an error; at a desk Cargo brings it up to date.
if [ -n "${CI:-}" ]; then
    exec cargo --locked xtask ci "$@"
fi
exec cargo xtask ci "$@"
