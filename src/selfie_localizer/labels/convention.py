"""From the annotator's habits to the user's: a map between boxes, learnt from a handful of trusted ones.

A Haar cascade draws a square from the eyebrows to below the chin; people draw a narrower and higher box on the same
face. Each side of a label is moved by a share of the label's own size. The shares are medians, so that a false label
among the trusted images moves nothing; docs/annotators.md says how few trusted boxes suffice.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes
from selfie_localizer.dataset.store import BOX, TRUSTED

# With fewer pairs the map was at times worse than none.
LEAST_PAIRS = 5
# A label that overlaps the trusted box less is on another thing and says nothing of conventions.
SAME_FACE = 0.4


def learn(labels: ArrayLike, trusted: ArrayLike) -> NDArray[np.float64]:
    """Learns where the sides of trusted boxes lie beside those of labels.

    Args:
        labels: The annotator's boxes in pixels, shape (N, 4).
        trusted: Trusted boxes of the same images, shape (N, 4).

    Returns:
        For each side its shift relative to the label's width (x) or height (y), shape (4,). All 0 where fewer than
        `LEAST_PAIRS` labels are on the face of their trusted box.
    """
    label, wanted = np.asarray(labels, np.float64), np.asarray(trusted, np.float64)
    same = boxes.iou(label, wanted) > SAME_FACE
    if same.sum() < LEAST_PAIRS:
        return np.zeros(4)
    return np.asarray(np.median((wanted[same] - label[same]) / _size(label[same]), axis=0))


def apply(labels: ArrayLike, shifts: NDArray[np.float64], width: ArrayLike, height: ArrayLike) -> boxes.Boxes:
    """Moves the sides of labels as `learn` found.

    Args:
        labels: Boxes in pixels, shape (N, 4); NaN where there is none.
        shifts: Shape (4,).
        width: Widths of the images, to which the boxes are cut.
        height: Heights of the images.

    Returns:
        Boxes in pixels, shape (N, 4); one that would not be a box any more stays as it is.
    """
    label = np.asarray(labels, np.float64)
    moved = boxes.clip(label + shifts * _size(label), width, height)
    return np.where(boxes.is_box(moved)[:, None], moved, label)


def _size(label: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tile(label[:, 2:] - label[:, :2], 2)


def adopt(table: pd.DataFrame, mode: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Gives images with a trusted box that box as their label, and maps the labels of all others.

    Args:
        table: Columns `x1` to `y2`, `trusted_x1` to `trusted_y2` (inside the image), `width`, `height` and `source`.
        mode: `prepare.convention` of the parameters.

    Returns:
        The table with other labels, and what to report: the number of trusted boxes, the pairs on one face that the
        map was learnt from, its shifts, and the mean IoU of these pairs before and after it.
    """
    label, trusted = table[BOX].to_numpy(np.float64), table[TRUSTED].to_numpy(np.float64)
    has_trusted = boxes.is_box(trusted)
    overlap = np.where(has_trusted & boxes.is_box(label), boxes.iou(label, trusted), 0.0)
    pairs = overlap > SAME_FACE
    shifts = learn(label[pairs], trusted[pairs]) if mode == "auto" else np.zeros(4)
    mapped = apply(label, shifts, table["width"], table["height"]) if shifts.any() else label
    report: dict[str, Any] = {
        "mode": mode,
        "trusted": int(has_trusted.sum()),
        "pairs": int(pairs.sum()),
        "shifts": {side: round(float(shift), 4) for side, shift in zip(BOX, shifts, strict=True)},
    }
    if pairs.any():
        after = boxes.iou(mapped[pairs], trusted[pairs])
        report["mean_iou"] = {
            "before": round(float(overlap[pairs].mean()), 4),
            "after": round(float(after.mean()), 4),
        }
    changed = table.assign(source=table["source"].where(~has_trusted, "trusted"))
    changed[BOX] = np.where(has_trusted[:, None], trusted, mapped)
    return changed, report
