#!/usr/bin/env bash
# Everything that a release does but the publishing: six gates, each of which can fail, and a summary.
# It builds with every set of features that this machine has the tools for, packs the archive and the
# wheel, installs them into empty places and asks them something. What was built before is used again.
#
#   scripts/dry-run-release.sh [options of `cargo xtask gates`, for example --only artefacts]
#
# Exit codes: 0 all gates were passed, 1 one was not.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

step "what the gates need"
need_tools compiler cmake libclang cargo git curl
want_python "the gates artefacts and checks cannot be passed"
need_rust_version
use_build_helpers
get_cargo_deny

# Not --locked: the first gate is what says that the lock file does not fit.
exec cargo xtask gates "$@"
