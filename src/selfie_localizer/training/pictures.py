"""What runs show: curves of a training, its predictions on the same few test images each time, and a search."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.dataset.store import Store
from selfie_localizer.files import atomic_write
from selfie_localizer.photos import sheets

if TYPE_CHECKING:
    from optuna import Study


def curves(history: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draws loss, IoU and learning rate over the epochs as a PNG."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(14, 4.2), dpi=90)
    loss, iou, rate = figure.subplots(1, 3)
    for axes, key, name in ((loss, "loss", "loss"), (iou, "iou", "mean IoU")):
        axes.plot(epochs, [row[key] for row in history], "o-", ms=3, color="#3b6ea5", label="train, augmented")
        axes.plot(epochs, [row[f"val_{key}"] for row in history], "o-", ms=3, color="#e65a00", label="validation")
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()
    iou.set_ylim(0, 1)
    rate.plot(epochs, [row["learning_rate"] for row in history], "o-", ms=3, color="#3b6ea5")
    rate.set(xlabel="epoch", ylabel="learning rate at its end", ylim=(0, None))
    for axes in (loss, iou, rate):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def search(study: "Study", folder: Path) -> list[Path]:
    """Draws a search's history, the importance of each value and its slices; returns the PNG files.

    Pictures that need more finished trials than there are, are left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    drawn: dict[str, Any] = {"history.png": plots.plot_optimization_history, "slices.png": plots.plot_slice}
    # Importance is the share of the spread that a value explains: without a spread there is none.
    if len(complete) > 1 and len({trial.value for trial in complete}) > 1:
        drawn["importances.png"] = plots.plot_param_importances
    paths = []
    for name, plot in drawn.items():
        # That Optuna's pictures are experimental, and that a single trial has no spread to draw, is nobody's trouble.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plot(study)
            plt.gcf().set_size_inches(9, 5)
            plt.tight_layout()
            plt.savefig(folder / name, dpi=100)
        plt.close("all")
        paths.append(folder / name)
    return paths


def choose(store: Store, count: int = sheets.SHOWN) -> NDArray[np.int64]:
    """Returns positions of labelled validation images, spread evenly; the same for every model on a store."""
    rows = store.indices("validation")
    return rows[sheets.spread(len(rows), count)] if len(rows) else rows


def predictions(model: keras.Model, store: Store, path: Path, title: str) -> None:
    """Draws what a model says on some validation images, beside their label, as a PNG.

    An image is shown in its own proportions, as far as the store has its pixels. Without any such image nothing is
    written.
    """
    shown = choose(store)
    if len(shown) == 0:
        return
    output = model.predict_on_batch(store.images[shown])
    tiles = [_tile(store, row, numbers) for row, numbers in zip(shown, output, strict=True)]
    sheets.draw_sheet(tiles, path, title, {name: sheets.LEGEND[name] for name in ("prediction", "label")})


def _tile(store: Store, row: int, numbers: NDArray[np.float32]) -> sheets.Tile:
    width, height = (int(store.table[side].iloc[row]) for side in ("width", "height"))
    scale = sheets.TILE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(store.images[row]), size, interpolation=cv2.INTER_LINEAR)
    label = store.boxes[row]
    drawn = [(sheets.LABEL, label), (sheets.PREDICTION, numbers[:4])]
    heading = f"IoU with the label {boxes.iou(numbers[:4], label):.2f}"
    scaled = [(colour, boxes.scale(box, *size)) for colour, box in drawn]
    return sheets.Tile(np.asarray(small, np.uint8), heading, f"score {numbers[4]:.2f}", scaled)
