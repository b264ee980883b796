"""Measures how good labels are that several annotators make together, against truth.

    python benchmarks/labels.py ROOT

ROOT is a project's folder where `validate` has run with several annotators and `data/truth.csv` has boxes. All photos
are joined as those of the train split are, whatever their split; no model is trained. For each set of annotators: how
many photos with truth have a label, how many of these are on the right face (IoU over 0.4), and their mean IoU. Then
what single parameters of `label` change, and the scatter of each annotator's sides, from which weights follow. Prints
tables for people and one line of JSON for scripts.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfie_localizer import boxes, params
from selfie_localizer.errors import UserError
from selfie_localizer.labels import quality
from selfie_localizer.labels.contents import of_contents, read_contents, read_output
from selfie_localizer.labels.label import TRUTH, join, learn_conventions, move, opinions_on
from selfie_localizer.labels.trusted import read_trusted

CHANGES: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "as drawn": {"convention": "none"},
    **{f"same_face {value}": {"same_face": value} for value in (0.3, 0.5, 0.6)},
    **{f"min_score {value}": {"min_score": value} for value in (0.3, 0.4, 0.6, 0.7)},
    "disagreement heaviest": {"disagreement": "heaviest"},
}


def measure(contents: pd.DataFrame, clean: pd.DataFrame, truth: boxes.Boxes, settings: params.Label) -> dict[str, Any]:
    """Returns how good the labels of these annotators' rows are on all contents."""
    opinions = opinions_on(contents["sha256"], clean)
    everywhere = np.ones(len(contents), bool)
    shifts, _ = learn_conventions(opinions, np.full((len(contents), 4), np.nan), everywhere, settings)
    moved = move(opinions, shifts, contents[["width", "height"]].to_numpy(np.float64))
    return quality.compare(join(opinions, moved, opinions.asked, settings).boxes, truth)


def scatter(contents: pd.DataFrame, clean: pd.DataFrame, truth: boxes.Boxes) -> dict[str, float]:
    """Returns the robust standard deviation of each annotator's sides from truth's, relative to the box's size.

    It is that of the median absolute deviation (times 1.4826, as for a normal distribution), of boxes on the right
    face, after moving them to truth's convention; the mean over the four sides.
    """
    found = {}
    opinions = opinions_on(contents["sha256"], clean)
    for place, name in enumerate(opinions.names):
        drawn = opinions.boxes[:, place]
        right = boxes.iou(drawn, truth) > boxes.SAME_FACE
        off = (truth[right] - drawn[right]) / np.tile(drawn[right, 2:] - drawn[right, :2], 2)
        deviation = np.median(np.abs(off - np.median(off, axis=0)), axis=0)
        found[name] = round(float(1.4826 * deviation.mean()), 4)
    return found


def show(name: str, found: dict[str, Any]) -> None:
    over = f"{found['share_over_0.75']:10.1%}"
    print(f"{name:34}{found['labels']:8,}{found['right_face']:8.1%}{found['mean_iou']:10.4f}{over}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    args = parser.parse_args()
    try:
        settings = params.load(args.root / "params.yaml").label
        contents = read_contents(args.root)
        clean = read_output(args.root / "build/clean.csv", "validate")
        truth = of_contents(read_trusted(TRUTH, args.root), contents["sha256"])
    except UserError as error:
        raise SystemExit(f"labels: {error}") from None
    names = list(clean["annotator"].unique())
    print(f"{len(contents):,} photos, {int(boxes.is_box(truth).sum()):,} with truth\n")
    print(f"{'annotators':34}{'labels':>8}{'right':>8}{'mean IoU':>10}{'over 0.75':>10}")
    results: dict[str, Any] = {"annotators": {}, "changes": {}}
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            found = measure(contents, clean[clean["annotator"].isin(chosen)], truth, settings)
            results["annotators"]["+".join(chosen)] = found
            show(" + ".join(chosen), found)
    print(f"\n{'all of them':34}{'labels':>8}{'right':>8}{'mean IoU':>10}{'over 0.75':>10}")
    for name, change in CHANGES.items():
        results["changes"][name] = measure(contents, clean, truth, settings.model_copy(update=change))
        show(name, results["changes"][name])
    results["scatter"] = scatter(contents, clean, truth)
    print("\nscatter of the sides: " + ", ".join(f"{name} {value:.3f}" for name, value in results["scatter"].items()))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
