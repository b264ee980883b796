"""Pictures that people want of a test split: best and worst predictions, histograms, curves over slices."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from selfie_localizer.dataset.store import BOX, TRUTH
from selfie_localizer.evaluation.reliability import reliability
from selfie_localizer.photos import sheets

matplotlib.use("Agg")
import matplotlib.pyplot as plt


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
    for title, rows in (("best", order[: sheets.SHOWN]), ("worst", order[::-1][: sheets.SHOWN])):
        tiles = [tile(folder, table.iloc[row], judged.iloc[row]) for row in rows]
        heading = f"{name}: {title} of {len(judged)} test images"
        sheets.draw_sheet(tiles, out / f"{name}-{title}.png", heading, sheets.LEGEND)
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


def tile(folder: Path, row: pd.Series, judged: pd.Series) -> sheets.Tile:
    """Returns the image of `row` in `folder` with its label and truth and the box of `judged`, its IoU and score."""
    detail = f"score {judged['score']:.2f}" if "score" in judged else ""
    drawn = [(sheets.LABEL, row[BOX]), (sheets.TRUTH, row[TRUTH]), (sheets.PREDICTION, judged[BOX])]
    boxes = [(colour, box.to_numpy(dtype=np.float64)) for colour, box in drawn]
    return sheets.Tile(folder / str(row["image"]), f"IoU {judged['iou']:.2f}", detail, boxes)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
