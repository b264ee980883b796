"""Measures what a review makes of drawn labels, against truth: averaging, leaving out and adding, each alone.

    python benchmarks/review.py ROOT

ROOT is a project's folder where `validate` and `review` have run and `data/truth.csv` has boxes. Prints a table for
people and one line of JSON for scripts. No model is trained: this is the quality of the labels that training would
see. A label is right where its IoU with truth is over 0.4, as in `benchmarks/annotators.py`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfie_localizer import boxes, params
from selfie_localizer.dataset.prepare import read_opinions, read_output
from selfie_localizer.dataset.store import BOX, TRUTH
from selfie_localizer.errors import UserError
from selfie_localizer.labels.fusion import fuse
from selfie_localizer.labels.quality import read_boxes

RIGHT = 0.4
NOTHING = {"model": "starter", "weight": 0.0, "elsewhere": 0.0, "add_missed": False}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("as drawn", {"model": "none"}),
    ("moved to the model's convention", {}),
    *((f"averaged, model's weight {weight}", {"weight": weight}) for weight in (0.3, 0.5, 0.6, 0.7, 0.8, 1.0)),
    *((f"left out where its score is at least {s}", {"elsewhere": 0.3, "min_score": s}) for s in (0.3, 0.5, 0.7)),
    *((f"added where its score is at least {s}", {"add_missed": True, "min_score": s}) for s in (0.3, 0.5, 0.7)),
    ("the defaults", {"weight": 0.7, "elsewhere": 0.3, "add_missed": True}),
]


def read_table(root: Path) -> pd.DataFrame:
    """Returns every image with its label, the first model's box and truth, as `fuse` takes it."""
    listing = read_output(root / "build/images.csv", "annotate")
    listing = listing.loc[listing["error"].isna(), ["image", "sha256", "width", "height"]].drop_duplicates("sha256")
    clean = read_output(root / "build/clean.csv", "validate")[["sha256", *BOX, "source"]]
    opinions = read_opinions(root, params.Review(model="starter"))
    truth = read_boxes(root / "data/truth.csv", TRUTH)
    if opinions.empty or truth.empty:
        raise UserError(f"{root}: needs build/review.csv with the first model's boxes, and data/truth.csv")
    table = listing.merge(clean, on="sha256", how="left").merge(opinions, on="sha256", how="left")
    return table.merge(truth, on="image", how="left").assign(split="train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    args = parser.parse_args()
    try:
        table = read_table(args.root)
    except UserError as error:
        raise SystemExit(f"review: {error}") from None
    truth = table[TRUTH].to_numpy(np.float64)
    print(f"{len(table):,} images, {int(boxes.is_box(truth).sum()):,} with truth")
    print(f"{'':42}{'labels':>7}{'right':>9}{'mean IoU':>10}{'changed':>9}")
    found = []
    for name, changes in SETTINGS:
        whole = table
        if changes.get("model") == "none":
            whole = table.assign(**{column: np.nan for column in table.columns if column.startswith("review_")})
        reviewed, report = fuse(whole, params.Review.model_validate(NOTHING | changes))
        label = reviewed[BOX].to_numpy(np.float64)
        known = boxes.is_box(label) & boxes.is_box(truth)
        overlap = boxes.iou(label[known], truth[known])
        row = {"labels": int(boxes.is_box(label).sum()), "right": (overlap > RIGHT).mean(), "iou": overlap.mean()}
        changed = report["averaged"] + report["left_out"] + report["added"]
        print(f"{name:42}{row['labels']:7,}{row['right']:9.1%}{row['iou']:10.3f}{changed:9,}")
        found.append({"name": name, **row, "changed": int(changed)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
