"""Does the score keep its promise? It should be the IoU that one may expect of its box."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TENTHS = 10
THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
# Below this share of a right box, a box is of no use.
RIGHT = 0.5
# Wanted of a recommended threshold: that so many of the boxes above it are right.
PRECISION = 0.95

Floats = NDArray[np.float64]


def reliability(score: Floats, iou: Floats) -> dict[str, Any]:
    """Compares scores with the IoU that was reached.

    Args:
        score: In 0..1, shape (N,).
        iou: Of the same boxes, shape (N,).

    Returns:
        `rank_correlation` (Spearman's; None where either never changes) and `tenths`: the images sorted by score, cut
        into ten equal parts, each with `images`, mean `score` and mean `iou`, and `largest_gap` between these two.
        Fewer images than ten make fewer parts.
    """
    changes = len(score) > 1 and np.ptp(score) > 0 and np.ptp(iou) > 0
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, TENTHS) if len(part)]
    tenths = [
        {"images": len(part), "score": round(float(score[part].mean()), 4), "iou": round(float(iou[part].mean()), 4)}
        for part in parts
    ]
    return {
        "rank_correlation": round(float(np.corrcoef(_ranks(score), _ranks(iou))[0, 1]), 4) if changes else None,
        "tenths": tenths,
        "largest_gap": max((round(abs(part["score"] - part["iou"]), 4) for part in tenths), default=None),
    }


def area_under_roc(faces: Floats, others: Floats) -> float | None:
    """Returns the probability that a selfie's score is above that of an image without a face, ties counted half.

    It is the area under the ROC curve by Mann and Whitney's U (Hanley and McNeil, Radiology 143, 1982); None where
    either group is empty.
    """
    if len(faces) == 0 or len(others) == 0:
        return None
    ranks = _ranks(np.concatenate([faces, others]))[: len(faces)]
    wins = ranks.sum() - len(faces) * (len(faces) + 1) / 2
    return round(float(wins / (len(faces) * len(others))), 4)


def recommend(score: Floats, iou: Floats, others: Floats) -> dict[str, float] | None:
    """Returns the least threshold on the score above which at least 95 % of the boxes are right.

    A box is right where its IoU is over 0.5; on an image without a face none is.

    Args:
        score: Of the images with a face, shape (N,).
        iou: Of the same, shape (N,).
        others: Scores of images without a face, shape (M,).

    Returns:
        `threshold`, its `precision` (right boxes among those shown) and `recall` (faces with a right box that is
        shown, among all faces); None where no threshold is good enough.
    """
    for threshold in THRESHOLDS:
        shown = score >= threshold
        right = int((shown & (iou > RIGHT)).sum())
        total = int(shown.sum()) + int((others >= threshold).sum())
        if right and right / total >= PRECISION:
            return {
                "threshold": float(threshold),
                "precision": round(right / total, 4),
                "recall": round(right / len(score), 4),
            }
    return None


def _ranks(values: Floats) -> Floats:
    """Returns the ranks from 1; equals share the mean of theirs. SciPy has them too, and takes a second to import."""
    ranks: Floats = np.asarray(pd.Series(values).rank(), np.float64)
    return ranks
