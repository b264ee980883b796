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

# The sample lies in this repository; a data/ of one's own that `dvc add data` recorded is left alone. Starter weights that an
# update of the project changed are renewed, or `dvc repro` would take the old ones for wanted; those changed here stay.
[ -e data ] || dvc pull --quiet -r sample data.dvc
dvc pull --quiet -r sample starter.dvc </dev/null || [ -e starter ]
dvc repro
selfie-localizer summary
