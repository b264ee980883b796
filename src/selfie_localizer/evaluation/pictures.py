"""Pictures that people want of a test split: best and worst predictions, histograms, curves over slices."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from selfie_localizer import boxes
from selfie_localizer.evaluation.judge import Judge, title
from selfie_localizer.evaluation.reliability import reliability
from selfie_localizer.photos import sheets

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(name: str, scored: pd.DataFrame, judge: Judge, folder: Path, out: Path) -> None:
    """Writes `<name>-best.png`, `<name>-worst.png` and `<name>-scores.png`.

    Args:
        name: The backbone.
        scored: What `scores.score_boxes` returned, with a column `score`.
        judge: What judged; its boxes are drawn too.
        folder: Where the images lie.
        out: Where the pictures go.
    """
    order = np.argsort(-scored["iou"].to_numpy(), kind="stable")
    drawn = {"label": judge.labels}
    if judge.kind == "truth":
        drawn["truth"] = judge.table[boxes.SIDES].to_numpy(np.float64)
    legend = {key: colour for key, colour in sheets.LEGEND.items() if key == "prediction" or key in drawn}
    for end, rows in (("best", order[: sheets.SHOWN]), ("worst", order[::-1][: sheets.SHOWN])):
        tiles = [tile(folder, scored.iloc[row], {key: sides[row] for key, sides in drawn.items()}) for row in rows]
        heading = f"{name}: {end} of {len(scored):,} test images by {judge.kind}"
        sheets.draw_sheet(tiles, out / f"{name}-{end}.png", heading, legend)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2))
    axes[0].hist(scored["iou"], bins=np.linspace(0, 1, 41), color="#3b6ea5")
    axes[0].axvline(scored["iou"].mean(), color="#e65a00", label=f"mean {scored['iou'].mean():.3f}")
    axes[0].set(xlabel="IoU", ylabel="images", title=f"{title(judge.kind)}, {len(scored):,} images", xlim=(0, 1))
    axes[0].legend()
    axes[1].scatter(scored["face_size"], scored["iou"], s=10, alpha=0.5, color="#3b6ea5")
    axes[1].set(xlabel="face size (square root of box area / image area)", ylabel="IoU", title="IoU over face size")
    axes[1].set_ylim(0, 1)
    axes[2].plot([0, 1], [0, 1], color="grey", lw=1, label="as promised")
    axes[2].scatter(scored["score"], scored["iou"], s=10, alpha=0.3, color="#3b6ea5")
    tenths = reliability(scored["score"].to_numpy(), scored["iou"].to_numpy())["tenths"]
    means = [part["score"] for part in tenths], [part["iou"] for part in tenths]
    axes[2].plot(*means, "o-", color="#e65a00", label="mean of each tenth")
    axes[2].set(xlabel="score (expected IoU)", ylabel="IoU", title="Does the score keep its promise?")
    axes[2].set(xlim=(0, 1), ylim=(0, 1))
    axes[2].legend()
    figure.suptitle(name)
    _save(figure, out / f"{name}-scores.png")


def compare(scored: Mapping[str, pd.DataFrame], judge: Judge, path: Path) -> None:
    """Draws the share of images over each IoU for backbones and baselines, one curve for each."""
    figure, axis = plt.subplots(figsize=(8, 5))
    cuts = np.linspace(0, 1, 101)
    for name, frame in sorted(scored.items(), key=lambda item: -item[1]["iou"].mean()):
        share = [(frame["iou"] > cut).mean() for cut in cuts]
        style = "--" if name.startswith("baseline") else "-"
        axis.plot(cuts, share, style, label=f"{name}: mean {frame['iou'].mean():.3f}")
    axis.set(xlabel="IoU", ylabel="share of the test images above it", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(f"{title(judge.kind)}, {len(judge.table):,} images")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def tile(folder: Path, scored: pd.Series, judging: Mapping[str, ArrayLike]) -> sheets.Tile:
    """Returns an image in `folder` with the box that `scored` holds, its IoU and score, and other boxes.

    Args:
        folder: Where the images lie.
        scored: `image`, `x1` to `y2`, `iou` and, where there is one, `score`.
        judging: Boxes in pixels by their name in `sheets.LEGEND`; NaN is not drawn.
    """
    detail = f"score {scored['score']:.2f}" if "score" in scored else ""
    drawn = [(sheets.LEGEND[name], sides) for name, sides in judging.items()]
    drawn.append((sheets.PREDICTION, scored[boxes.SIDES].to_numpy(dtype=np.float64)))
    return sheets.Tile(folder / str(scored["image"]), f"IoU {scored['iou']:.2f}", detail, drawn)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
