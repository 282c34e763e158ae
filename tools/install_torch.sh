#!/usr/bin/env bash
# install_torch.sh BIN [INDEX]: install the PyTorch of requirements.lock into the environment whose programs are in BIN.
#
# On Linux the registry's own wheel is the CUDA build, with several GB of companions that a machine without an NVIDIA GPU
# does not need. There the CPU build is taken: from the configured indexes if they have it, else from PyTorch's own index,
# whose address uv knows. INDEX, if given, overrides all of this.
set -euo pipefail
bin="$1"
index="${2:-}"
torch="$(grep '^torch==' requirements.lock)"

install() { "$bin/python" -m pip --disable-pip-version-check -qq install --no-compile "$@"; }

satisfied() { # the locked version is there and can be imported
    "$bin/python" -c "import sys, torch; sys.exit(torch.__version__.split('+')[0] != '${torch#torch==}')" 2>/dev/null
}

cpu_build() {
    install "$torch+cpu" 2>/dev/null && return
    install uv 2>/dev/null &&
        "$bin/uv" pip install --quiet --python "$bin/python" --torch-backend=cpu "$torch" 2>/dev/null
}

if [[ -n "$index" ]]; then
    install --index-url "$index" "$torch"
elif satisfied; then
    :
elif [[ "$(uname -s)" != Linux ]] || nvidia-smi -L >/dev/null 2>&1; then
    install "$torch"
elif ! cpu_build; then
    echo "      The CPU build was not found; taking the CUDA build, several GB (or set TORCH_INDEX)."
    install "$torch"
fi
