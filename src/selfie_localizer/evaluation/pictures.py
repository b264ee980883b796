"""Pictures that people want of a test split: best and worst predictions, histograms, curves over slices."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import images
from selfie_localizer.evaluation.calibration import reliability

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# RGB; chosen to differ also for people who do not see red and green apart.
COLOURS = {"prediction": (230, 90, 0), "label": (0, 120, 255), "truth": (0, 190, 110)}
TILE = 220


def draw(name: str, judged: pd.DataFrame, table: pd.DataFrame, folder: Path, out: Path) -> None:
    """Writes `<name>-best.png`, `<name>-worst.png` and `<name>-scores.png`.

    Args:
        name: The backbone.
        judged: What `scores.judge` returned, with a column `score`.
        table: The store's rows in the same order.
        folder: Where the images lie.
        out: Where the pictures go.
    """
    order = np.argsort(-judged["iou"].to_numpy(), kind="stable")
    for title, rows in (("best", order[:24]), ("worst", order[::-1][:24])):
        tiles = [tile(folder, table.iloc[row], judged.iloc[row]) for row in rows]
        sheet(tiles, f"{name}: {title} of {len(judged)} test images", out / f"{name}-{title}.png")
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2))
    axes[0].hist(judged["iou"], bins=np.linspace(0, 1, 41), color="#3b6ea5")
    axes[0].axvline(judged["iou"].mean(), color="#e65a00", label=f"mean {judged['iou'].mean():.3f}")
    axes[0].set(xlabel="IoU", ylabel="images", title="IoU on the test split", xlim=(0, 1))
    axes[0].legend()
    axes[1].scatter(judged["face_size"], judged["iou"], s=10, alpha=0.5, color="#3b6ea5")
    axes[1].set(xlabel="face size (square root of box area / image area)", ylabel="IoU", title="IoU over face size")
    axes[1].set_ylim(0, 1)
    axes[2].plot([0, 1], [0, 1], color="grey", lw=1, label="as promised")
    axes[2].scatter(judged["score"], judged["iou"], s=10, alpha=0.3, color="#3b6ea5")
    tenths = reliability(judged["score"].to_numpy(), judged["iou"].to_numpy())["tenths"]
    means = [part["score"] for part in tenths], [part["iou"] for part in tenths]
    axes[2].plot(*means, "o-", color="#e65a00", label="mean of each tenth")
    axes[2].set(xlabel="score (expected IoU)", ylabel="IoU", title="Does the score keep its promise?")
    axes[2].set(xlim=(0, 1), ylim=(0, 1))
    axes[2].legend()
    figure.suptitle(name)
    _save(figure, out / f"{name}-scores.png")


def compare(judged: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draws the share of images over each IoU for backbones and baselines, one curve for each."""
    figure, axis = plt.subplots(figsize=(8, 5))
    cuts = np.linspace(0, 1, 101)
    for name, frame in sorted(judged.items(), key=lambda item: -item[1]["iou"].mean()):
        share = [(frame["iou"] > cut).mean() for cut in cuts]
        style = "--" if name.startswith("baseline") else "-"
        axis.plot(cuts, share, style, label=f"{name}: mean {frame['iou'].mean():.3f}")
    axis.set(xlabel="IoU", ylabel="share of the test images above it", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def tile(folder: Path, row: pd.Series, judged: pd.Series) -> NDArray[np.uint8]:
    """Draws label and truth of `row` and the box of `judged` on an image in `folder`, RGB, with IoU and score below."""
    image = images.read(folder / str(row["image"]))
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    sets = {
        "label": row[["x1", "y1", "x2", "y2"]],
        "truth": row[["truth_x1", "truth_y1", "truth_x2", "truth_y2"]],
        "prediction": judged[["x1", "y1", "x2", "y2"]],
    }
    for kind, corners in sets.items():
        box = corners.to_numpy(dtype=np.float64)
        if np.isfinite(box).all():
            x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
            cv2.rectangle(small, (x1, y1), (x2 - 1, y2 - 1), COLOURS[kind], 2, cv2.LINE_AA)
    tile = np.full((TILE + 22, TILE, 3), 255, np.uint8)
    top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    text = f"IoU {judged['iou']:.2f}"
    if "score" in judged:
        text += f"  score {judged['score']:.2f}"
    cv2.putText(tile, text, (6, TILE + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return tile


def sheet(tiles: list[NDArray[np.uint8]], title: str, path: Path, columns: int = 6) -> None:
    """Writes tiles as one picture with a title and the legend of the colours."""
    blank = np.full((TILE + 22, TILE, 3), 255, np.uint8)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    header = np.full((44, rows[0].shape[1], 3), 255, np.uint8)
    cv2.putText(header, title, (8, 29), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (20, 20, 20), 1, cv2.LINE_AA)
    left = header.shape[1] - 400
    for kind, colour in COLOURS.items():
        cv2.rectangle(header, (left, 14), (left + 18, 32), colour, 3)
        cv2.putText(header, kind, (left + 26, 29), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 1, cv2.LINE_AA)
        left += 130
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack([header, *rows]), cv2.COLOR_RGB2BGR))


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
