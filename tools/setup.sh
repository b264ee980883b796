#!/usr/bin/env bash
# Makes .venv with exactly the locked packages, and brings the starter weights, which lie in this repository. Needs nothing
# but a Python 3.11 to 3.13 with venv.
set -euo pipefail
cd "$(dirname "$0")/.."

works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

python=""
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    if works "$candidate"; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
    echo "selfie-localizer: needs Python 3.11, 3.12 or 3.13 with venv, found $(python3 --version 2>/dev/null || echo none);" \
        "install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

if [ -n "$(.venv/bin/python --version 2>/dev/null)" ] && works .venv/bin/python; then
    echo "Updating .venv"
else
    echo "Making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
uv=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d ' ' -f 2)" != "$uv" ]; then
    # pip checks the hashes of this one package as uv will check those of all others.
    awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock >.venv/uv.lock
    .venv/bin/pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r .venv/uv.lock
fi
.venv/bin/uv pip sync --quiet --require-hashes --python .venv/bin/python requirements.lock
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .
# With them `selfie-localizer predict` answers before anything was trained. A starter/ that was changed here is left alone.
[ ! -d sample ] || .venv/bin/dvc pull --quiet -r sample starter.dvc </dev/null || [ -e starter ]
touch .venv/.ready
