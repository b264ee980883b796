"""Measures how few trusted boxes teach the annotator's labels the convention of the truth.

    python benchmarks/convention.py ROOT [--counts 10 25 50 100] [--seeds 5]

ROOT is a project's folder where `validate` has run and `data/truth.csv` has boxes. Each seed draws so many images from
those with truth, as if their boxes were in `data/trusted.csv`, learns the map as `label` does and applies it to the
labels of all other images. Prints a table for people and one line of JSON for scripts. No model is trained: this is the
quality of the labels that training would see.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.errors import UserError
from selfie_localizer.labels.contents import of_contents, read_output
from selfie_localizer.labels.convention import apply, learn
from selfie_localizer.labels.trusted import read_trusted

Numbers = NDArray[np.float64]


TRUTH = ["truth_x1", "truth_y1", "truth_x2", "truth_y2"]


def mapped_iou(table: pd.DataFrame, trusted: NDArray[np.bool_]) -> tuple[int, Numbers]:
    """Returns the pairs on one face that the map was learnt from, and the IoU of every other label after it."""
    label, truth = table[boxes.SIDES].to_numpy(np.float64), table[TRUTH].to_numpy(np.float64)
    drawn = boxes.is_box(label)
    shifts, pairs = learn(label[trusted & drawn], truth[trusted & drawn])
    rest = drawn & ~trusted
    moved = apply(label[rest], shifts, table["width"][rest], table["height"][rest])
    return pairs, boxes.iou(moved, truth[rest])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", type=Path, help="a project's folder")
    parser.add_argument("--annotator", default="haar", help="whose labels are moved (default: haar)")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 25, 50, 100], help="numbers of trusted boxes")
    parser.add_argument("--seeds", type=int, default=5, help="draws of each number (default: 5)")
    args = parser.parse_args()
    try:
        truth = read_trusted(Path("data/truth.csv"), args.root)
        labels = read_output(args.root / "build/clean.csv", "validate")
    except UserError as error:
        raise SystemExit(str(error)) from None
    labels = labels[labels["annotator"] == args.annotator].drop_duplicates("sha256")
    # An image without a label can be drawn as well; its trusted box teaches nothing about the annotator.
    table = labels[labels["sha256"].isin(truth["sha256"])].reset_index(drop=True)
    table[TRUTH] = of_contents(truth, table["sha256"])
    drawn = boxes.is_box(table[boxes.SIDES])
    label, wanted = table.loc[drawn, boxes.SIDES].to_numpy(np.float64), table.loc[drawn, TRUTH].to_numpy(np.float64)
    before = boxes.iou(label, wanted)
    right = before > boxes.SAME_FACE
    best = boxes.iou(apply(label, learn(label, wanted)[0], table["width"][drawn], table["height"][drawn]), wanted)
    print(f"{len(before):,} labels with truth, of which {right.mean():.1%} lie on the face (IoU > {boxes.SAME_FACE})")
    print(f"\n{'trusted boxes':>14}{'pairs':>8}{'mean IoU':>10}{'spread':>9}{'on the face':>13}")
    print(f"{'none':>14}{0:>8}{before.mean():>10.3f}{'':>9}{before[right].mean():>13.3f}")
    rows = []
    for count in args.counts:
        draws = []
        for seed in range(args.seeds):
            trusted = np.zeros(len(table), bool)
            trusted[np.random.default_rng(seed).permutation(len(table))[:count]] = True
            pairs, found = mapped_iou(table, trusted)
            draws.append((pairs, found.mean(), found[right[~trusted[drawn]]].mean()))
        pairs, mean, on_face = np.mean(draws, axis=0)
        spread = float(np.std([one[1] for one in draws]))
        rows.append({"trusted": count, "pairs": pairs, "mean_iou": mean, "spread": spread, "on_face": on_face})
        print(f"{count:>14}{pairs:>8.0f}{mean:>10.3f}{spread:>9.3f}{on_face:>13.3f}")
    print(f"{'all':>14}{int(right.sum()):>8}{best.mean():>10.3f}{'':>9}{best[right].mean():>13.3f}")
    print(json.dumps({"before": before.mean(), "all": best.mean(), "counts": rows}))


if __name__ == "__main__":
    main()
