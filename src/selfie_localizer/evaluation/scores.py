"""Scores of predicted boxes: whole, by slices, and with bootstrap intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.evaluation.reliability import area_under_roc, recommend, reliability

RESAMPLES = 2000

# Edges were chosen so that each slice of the UCF selfies and of the sample holds a fair share of the images.
SLICES: Mapping[str, tuple[tuple[str, float, float], ...]] = {
    "face_size": (("small", 0.0, 0.25), ("medium", 0.25, 0.4), ("large", 0.4, np.inf)),
    "position": (("centred", 0.0, 0.12), ("off_centre", 0.12, np.inf)),
    "brightness": (("dark", 0.0, 80.0), ("normal", 80.0, 160.0), ("bright", 160.0, 256.0)),
}


def judge(predicted: NDArray[np.float64], table: pd.DataFrame, brightness: NDArray[np.float64]) -> pd.DataFrame:
    """Compares boxes with label and truth, image by image.

    Args:
        predicted: Boxes in pixels of the original images, shape (N, 4); NaN where nothing was found.
        table: Rows of the store's table, in the same order.
        brightness: Mean grey value of each image in 0..255, shape (N,).

    Returns:
        Columns `image`, `x1` to `y2`, `iou_label`, `iou_truth`, `iou` (against truth where there is one, else
        against the label), `centre_error` (relative to the reference box's diagonal), and what slices are cut by:
        `face_size` (square root of box area / image area), `position` (distance of the reference's centre from the
        image's centre, relative to the image) and `brightness`. Where nothing was found the IoU is 0.
    """
    label = table[["x1", "y1", "x2", "y2"]].to_numpy(dtype=np.float64)
    truth = table[["truth_x1", "truth_y1", "truth_x2", "truth_y2"]].to_numpy(dtype=np.float64)
    size = table[["width", "height"]].to_numpy(dtype=np.float64)
    reference = np.where(np.isfinite(truth), truth, label)
    found = np.isfinite(predicted).all(axis=1)
    clipped = boxes.clip(predicted, size[:, 0], size[:, 1])

    def overlap(other: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(other).all(axis=1)
        return np.where(known, np.where(found, boxes.iou(clipped, other), 0.0), np.nan)

    diagonal = np.linalg.norm(reference[:, 2:] - reference[:, :2], axis=1)
    off = np.linalg.norm(boxes.centre(clipped) - boxes.centre(reference), axis=1)
    return pd.DataFrame(
        {
            "image": table["image"].to_numpy(),
            **dict(zip(("x1", "y1", "x2", "y2"), clipped.T, strict=True)),
            "iou": overlap(reference),
            "iou_label": overlap(label),
            "iou_truth": overlap(truth),
            "centre_error": off / diagonal,
            "face_size": np.sqrt(boxes.area(reference) / size.prod(axis=1)),
            "position": np.linalg.norm(boxes.centre(reference) / size - 0.5, axis=1),
            "brightness": brightness,
        }
    )


def summarise(judged: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Returns the scores of a test split as plain numbers, rounded to four digits.

    Keys: `test_iou` with its 95 % interval, median, 5th percentile, shares over 0.5, 0.75 and 0.9, the mean IoU
    against labels and against truth where there is one, the median centre error, and the slices.
    """
    iou = judged["iou"].to_numpy()
    low, high = interval(iou, seed)
    return {
        "images": len(judged),
        "test_iou": _rounded(iou.mean()),
        "test_iou_low": _rounded(low),
        "test_iou_high": _rounded(high),
        "test_iou_median": _rounded(np.median(iou)),
        "test_iou_p5": _rounded(np.percentile(iou, 5)),
        **{f"share_over_{cut}": _rounded((iou > cut).mean()) for cut in (0.5, 0.75, 0.9)},
        "iou_label": _mean(judged["iou_label"]),
        "iou_truth": _mean(judged["iou_truth"]),
        "centre_error_median": _rounded(judged["centre_error"].median()),
        "slices": slices(judged),
    }


def summarise_score(judged: pd.DataFrame, without_face: NDArray[np.float64]) -> dict[str, Any]:
    """Returns how far the score can be trusted.

    Args:
        judged: What `judge` returned, with a column `score`.
        without_face: Scores of the test split's images without a face, shape (M,).

    Returns:
        `score_rank_correlation` with the IoU, `score_largest_gap` between mean score and mean IoU in a tenth of the
        images, `score_auc` of selfies against images without a face, the recommended `score_threshold` with its
        `score_precision` and `score_recall`, and `reliability`, the tenths. What cannot be known is None.
    """
    score, iou = judged["score"].to_numpy(), judged["iou"].to_numpy()
    found = reliability(score, iou)
    advice = recommend(score, iou, without_face) or {}
    return {
        "score_rank_correlation": found["rank_correlation"],
        "score_largest_gap": found["largest_gap"],
        "score_auc": area_under_roc(score, without_face),
        **{f"score_{key}": advice.get(key) for key in ("threshold", "precision", "recall")},
        "reliability": found["tenths"],
    }


def slices(judged: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns number of images and mean IoU by face size, position and brightness."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for column, parts in SLICES.items():
        found[column] = {}
        for name, low, high in parts:
            chosen = judged.loc[judged[column].ge(low) & judged[column].lt(high), "iou"]
            found[column][name] = {"images": len(chosen), "iou": _mean(chosen)}
    return found


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean (Efron and Tibshirani, 1993, chapter 13)."""
    if len(values) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """Returns how much better `first` is than `second` on the same images, with a paired bootstrap's interval."""
    difference = first - second
    low, high = interval(difference, seed)
    return {"mean": _rounded(difference.mean()), "low": _rounded(low), "high": _rounded(high)}


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return _rounded(known.mean()) if len(known) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
