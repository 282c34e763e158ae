#!/usr/bin/env bash
# study.sh BIN NOTEBOOK PROFILE: run one notebook with papermill into build/ and say where its results are.
set -euo pipefail
bin="$1" notebook="$2" profile="$3"

script="notebooks/$notebook.py"
if [[ ! -f "$script" ]]; then
    echo "error: there is no $script; the notebooks are: $(find notebooks -maxdepth 1 -name '*.py' -exec basename {} .py \; | sort | xargs)" >&2
    exit 1
fi

mkdir -p build
start="build/.$notebook.start"
touch "$start"
SECONDS=0
echo "Running $script with profile '$profile' (smoke: a minute; embedded: at most 10 on two CPU cores)."
"$bin/jupytext" --quiet --to ipynb --set-kernel python3 --output "build/$notebook.source.ipynb" "$script"
"$bin/papermill" "build/$notebook.source.ipynb" "build/$notebook.ipynb" -k python3 -p profile "$profile"

echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
echo "Notebook: build/$notebook.ipynb"
echo "Tables and figures:"
find build results -type f \( -name '*.png' -o -name '*.csv' \) -newer "$start" 2>/dev/null | sort | sed 's/^/  /' || true
