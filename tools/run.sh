#!/usr/bin/env bash
# The sample selfies through the whole pipeline; `make run` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-}

if [ -n "$profile" ]; then
    if [ ! -f "profiles/$profile.yaml" ]; then
        echo "selfie-localizer: no profile '$profile'; there are: $(cd profiles && ls -- *.yaml 2>/dev/null | sed 's/\.yaml$//' | xargs)" >&2
        exit 2
    fi
    cp "profiles/$profile.yaml" params.yaml
    echo "params.yaml is now profiles/$profile.yaml; 'git checkout params.yaml' brings the defaults back"
fi

# The sample lies in this repository; a data/ of one's own that `dvc add data` recorded is left alone.
for part in data starter; do
    [ -e "$part" ] || dvc pull --quiet -r sample "$part.dvc"
done
selfie-localizer estimate
dvc repro
selfie-localizer summary
