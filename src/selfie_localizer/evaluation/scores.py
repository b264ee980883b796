"""Scores of predicted boxes: whole, by slices, and with bootstrap intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.evaluation.judge import Kind, metric
from selfie_localizer.evaluation.reliability import area_under_roc, recommend, reliability
from selfie_localizer.intervals import interval

# Edges were chosen so that each slice of the UCF selfies and of the sample holds a fair share of the images.
SLICES: Mapping[str, tuple[tuple[str, float, float], ...]] = {
    "face_size": (("small", 0.0, 0.25), ("medium", 0.25, 0.4), ("large", 0.4, np.inf)),
    "position": (("centred", 0.0, 0.12), ("off_centre", 0.12, np.inf)),
    "brightness": (("dark", 0.0, 80.0), ("normal", 80.0, 160.0), ("bright", 160.0, 256.0)),
}


def score_boxes(predicted: NDArray[np.float64], judging: pd.DataFrame, brightness: NDArray[np.float64]) -> pd.DataFrame:
    """Compares boxes with those that judge, image by image.

    Args:
        predicted: Boxes in pixels of the original images, shape (N, 4); NaN where nothing was found.
        judging: `Judge.table` or some of its rows: `image`, `width`, `height` and the judging boxes `x1` to `y2`.
        brightness: Mean grey value of each image in 0..255, shape (N,).

    Returns:
        Columns `image`, `x1` to `y2` (the predicted box, cut to the image), `iou`, `centre_error` (relative to the
        judging box's diagonal), and what slices are cut by: `face_size` (square root of box area / image area),
        `position` (distance of the judging box's centre from the image's, relative to the image) and `brightness`.
        Where nothing was found the IoU is 0.
    """
    reference = judging[boxes.SIDES].to_numpy(dtype=np.float64)
    size = judging[["width", "height"]].to_numpy(dtype=np.float64)
    found = np.isfinite(predicted).all(axis=1)
    clipped = boxes.clip(predicted, size[:, 0], size[:, 1])
    diagonal = np.linalg.norm(reference[:, 2:] - reference[:, :2], axis=1)
    off = np.linalg.norm(boxes.centre(clipped) - boxes.centre(reference), axis=1)
    return pd.DataFrame(
        {
            "image": judging["image"].to_numpy(),
            **dict(zip(boxes.SIDES, clipped.T, strict=True)),
            "iou": np.where(found, boxes.iou(clipped, reference), 0.0),
            "centre_error": off / diagonal,
            "face_size": np.sqrt(boxes.area(reference) / size.prod(axis=1)),
            "position": np.linalg.norm(boxes.centre(reference) / size - 0.5, axis=1),
            "brightness": brightness,
        }
    )


def summarise(scored: pd.DataFrame, by: Kind, seed: int = 0) -> dict[str, Any]:
    """Returns the scores of a test split as plain numbers, rounded to four digits.

    Args:
        scored: What `score_boxes` returned, at least one row.
        by: What judged.
        seed: Of the bootstrap.

    Returns:
        `test`: `iou` with its 95 % interval (`iou_low`, `iou_high`), `iou_median`, 5th percentile `iou_p5`, shares
        `over_0.5`, `over_0.75` and `over_0.9`, and `centre_error_median`; each name ends in `_labels` where labels
        judged. `slices`, see `slices`.
    """
    iou = scored["iou"].to_numpy()
    low, high = interval(iou, seed)
    figures = {
        "iou": _rounded(iou.mean()),
        "iou_low": _rounded(low),
        "iou_high": _rounded(high),
        "iou_median": _rounded(np.median(iou)),
        "iou_p5": _rounded(np.percentile(iou, 5)),
        **{f"over_{cut}": _rounded((iou > cut).mean()) for cut in (0.5, 0.75, 0.9)},
        "centre_error_median": _rounded(scored["centre_error"].median()),
    }
    return {"test": {metric(name, by): value for name, value in figures.items()}, "slices": slices(scored)}


def summarise_score(scored: pd.DataFrame, without_face: NDArray[np.float64]) -> dict[str, Any]:
    """Returns how far the score can be trusted.

    Args:
        scored: What `score_boxes` returned, with a column `score`.
        without_face: Scores of the test split's images without a face, shape (M,).

    Returns:
        `score`: its `rank_correlation` with the IoU, `largest_gap` between mean score and mean IoU in a tenth of the
        images, `auc` of selfies against images without a face, and the recommended `threshold` with its `precision`
        and `recall`; what cannot be known is None. `reliability`: the tenths.
    """
    score, iou = scored["score"].to_numpy(), scored["iou"].to_numpy()
    found = reliability(score, iou)
    advice = recommend(score, iou, without_face) or {}
    return {
        "score": {
            "rank_correlation": found["rank_correlation"],
            "largest_gap": found["largest_gap"],
            "auc": area_under_roc(score, without_face),
            **{key: advice.get(key) for key in ("threshold", "precision", "recall")},
        },
        "reliability": found["tenths"],
    }


def slices(scored: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns number of images and mean IoU by face size, position and brightness."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for column, parts in SLICES.items():
        found[column] = {}
        for name, low, high in parts:
            chosen = scored.loc[scored[column].ge(low) & scored[column].lt(high), "iou"]
            found[column][name] = {"images": len(chosen), "iou": _mean(chosen)}
    return found


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return _rounded(known.mean()) if len(known) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
