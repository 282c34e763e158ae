#!/usr/bin/env bash
# check_python.sh PYTHON: stop with one sentence if PYTHON cannot create the environment.
python="$1"

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "'$python' was not found; name a Python 3.11 or newer, for example: make install PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is $("$python" -V 2>&1), but 3.11 or newer is needed, for example: make install PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "'$python' lacks the venv module; install it (Debian and Ubuntu: the package python3-venv) and try again."
