#!/usr/bin/env bash
# What MLproject runs: the pipeline or one stage of it, with parameters that `dvc exp run -S` would take.
# Usage: tools/project.sh "train.epochs=5 seed=1" [STAGE]
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra changes <<<"$1"
stage=("${@:2}")
for part in data starter; do
    [ -e "$part" ] || [ ! -e "$part.dvc" ] || dvc pull --quiet -r sample "$part.dvc"
done
if [ ${#changes[@]} -eq 0 ]; then
    exec dvc repro ${stage:+--single-item "${stage[@]}"}
fi
options=()
for change in "${changes[@]}"; do options+=(-S "$change"); done
exec dvc exp run "${options[@]}" ${stage:+--single-item "${stage[@]}"}
