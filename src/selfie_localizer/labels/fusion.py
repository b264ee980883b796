"""Drawn labels beside what a first model says of the same images, which never learned from them.

Where both are on one face, their boxes are two guesses whose mistakes have little to do with each other, and the mean
of the two is nearer to the truth than either. In the train split, where the model is sure of a face elsewhere the label
is left out, and where nothing was drawn the model's box can join. docs/quality.md says what each brings.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, params
from selfie_localizer.dataset.store import BOX, GIVEN, REVIEW, SCORE, TRUTH
from selfie_localizer.labels import convention
from selfie_localizer.photos import sheets

# `source` of boxes that the first model added.
PSEUDO = "pseudo"
DRAWN = ["drawn_x1", "drawn_y1", "drawn_x2", "drawn_y2"]


def fuse(table: pd.DataFrame, settings: params.Review) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Joins drawn labels with a first model's boxes.

    Labels are first moved to the model's convention, as `convention.learn` finds it over all images: a cascade draws
    another box than people do, and the model learned from boxes as people draw them.

    Args:
        table: Columns `image`, `split`, `source`, `x1` to `y2` (labels, NaN where there is none), `review_x1` to
            `review_y2` and `review_score` (the model's, NaN where it was not asked), `truth_x1` to `truth_y2`,
            `width` and `height`; all boxes in pixels.
        settings: The section `review` of the parameters.

    Returns:
        The table with other labels and sources, a column `verdict` (`averaged`, `left out`, `added`, or empty where
        the label is as drawn or there is none), and the old labels as `drawn_x1` to `drawn_y2`. And what to report:
        how many of each, the shifts, and, where truth is known, how good the labels of training and validation were
        before and are after.
    """
    label, model = table[BOX].to_numpy(np.float64), table[REVIEW].to_numpy(np.float64)
    asked = boxes.is_box(model)
    drawn = boxes.is_box(label) & (table["source"] != GIVEN).to_numpy()
    both = drawn & asked
    shifts = convention.learn(label[both], model[both])
    mapped = np.where(both[:, None], convention.apply(label, shifts, table["width"], table["height"]), label)
    overlap = np.where(both, boxes.iou(mapped, model), np.nan)
    sure = asked & (table[SCORE].to_numpy(np.float64) >= settings.min_score)

    # What judges a model keeps its hard images, and gets no labels from a model.
    training = (table["split"] == "train").to_numpy()
    averaged = (overlap >= settings.same_face) & (settings.weight > 0)
    left_out = training & sure & (overlap < settings.elsewhere)
    added = training & settings.add_missed & sure & ~boxes.is_box(label)
    found = np.where(averaged[:, None], (1 - settings.weight) * mapped + settings.weight * model, mapped)
    found[left_out] = np.nan
    found[added] = model[added]

    verdict = np.select([averaged, left_out, added], ["averaged", "left out", "added"], "")
    source = table["source"].mask(added, PSEUDO).mask(averaged, table["source"] + f"+{settings.model}")
    changed = table.assign(verdict=verdict, source=source.mask(left_out))
    changed[DRAWN] = label
    changed[BOX] = found
    counts = {name.replace(" ", "_"): int((verdict == name).sum()) for name in ("averaged", "left out", "added")}
    sides = {side: round(float(shift), 4) for side, shift in zip(BOX, shifts, strict=True)}
    learned = (table["split"] != "test").to_numpy()
    truth = table[TRUTH].to_numpy(np.float64)[learned]
    quality = {"before": _quality(label[learned], truth), "after": _quality(found[learned], truth)}
    return changed, {"model": settings.model, **counts, "shifts": sides, "against_truth": quality}


def describe(report: dict[str, Any]) -> str:
    """Says in one line what a review changed; nothing where it changed nothing."""
    parts = []
    if report["averaged"]:
        parts.append(f"{report['averaged']:,} labels averaged with the boxes of {report['model']}")
    elif any(report["shifts"].values()):
        parts.append(f"labels moved to the convention of {report['model']}")
    if report["left_out"]:
        parts.append(f"{report['left_out']:,} left out since it sees the face elsewhere")
    if report["added"]:
        parts.append(f"{report['added']:,} added")
    if not parts:
        return ""
    before, after = (report["against_truth"][when].get("mean_iou") for when in ("before", "after"))
    known = before is not None and after is not None
    return ", ".join(parts) + (f"; their mean IoU with truth went from {before:.3f} to {after:.3f}" if known else "")


def draw(table: pd.DataFrame, folder: Path, out: Path) -> None:
    """Writes `left-out.png` and `added.png`, the labels that a review took away and those that it brought.

    Args:
        table: As `fuse` returned it.
        folder: Where the images lie.
        out: Where the pictures go; without such labels there are none.
    """
    kinds = {"label as drawn": (sheets.LABEL, DRAWN), "truth": (sheets.TRUTH, TRUTH)}
    kinds["first model"] = (sheets.PREDICTION, REVIEW)
    legend = {name: colour for name, (colour, _) in kinds.items()}
    for verdict in ("left out", "added"):
        rows = table[table["verdict"] == verdict]
        if rows.empty:
            continue
        shown = rows.iloc[sheets.spread(len(rows))]
        tiles = []
        for _, row in shown.iterrows():
            drawn = [(colour, row[columns].to_numpy(np.float64)) for colour, columns in kinds.values()]
            tiles.append(sheets.Tile(folder / row["image"], f"score {row[SCORE]:.2f}", row["image"], drawn))
        some = f", {len(shown)} of them" if len(shown) < len(rows) else ""
        title = f"{len(rows):,} labels {verdict} by the review{some}"
        sheets.draw_sheet(tiles, out / f"{verdict.replace(' ', '-')}.png", title, legend)


def _quality(label: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, Any]:
    """Returns how many images with truth have a label, its mean IoU, and the share on the right face."""
    known = boxes.is_box(label) & boxes.is_box(truth)
    if not known.any():
        return {}
    overlap = boxes.iou(label[known], truth[known])
    right = float((overlap > convention.SAME_FACE).mean())
    return {"labels": int(known.sum()), "mean_iou": round(float(overlap.mean()), 4), "right_face": round(right, 4)}
