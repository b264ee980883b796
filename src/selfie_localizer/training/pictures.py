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

if TYPE_CHECKING:
    from optuna import Study

# RGB; they differ also for people who do not see red and green apart.
COLOURS = {"prediction": (230, 90, 0), "label": (0, 120, 255), "truth": (0, 190, 110)}
SHOWN = 24
COLUMNS = 6
TILE = 200
FOOT, HEAD = 22, 44
INK = (40, 40, 40)


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


def choose(store: Store, count: int = SHOWN) -> NDArray[np.int64]:
    """Returns positions of test images, spread evenly over the split; the same for every model on a store."""
    test = store.indices("test", labelled=False)
    return test[np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)] if len(test) else test


def predictions(model: keras.Model, store: Store, path: Path, title: str) -> None:
    """Draws what a model says on some test images, beside their label and truth, as a PNG.

    An image is shown in its own proportions, as far as the store has its pixels. Without any test image nothing is
    written.
    """
    shown = choose(store)
    if len(shown) == 0:
        return
    output = model.predict_on_batch(store.images[shown])
    tiles = [_tile(store, row, numbers) for row, numbers in zip(shown, output, strict=True)]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    sheet = np.vstack([_header(title, rows[0].shape[1]), *rows])
    with atomic_write(path) as temporary:
        encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1]
        temporary.write_bytes(encoded.tobytes())


def _tile(store: Store, row: int, numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    width, height = (float(store.table[side].iloc[row]) for side in ("width", "height"))
    scale = TILE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(store.images[row]), size, interpolation=cv2.INTER_LINEAR)
    sets = {"label": store.boxes[row], "truth": store.truth[row], "prediction": numbers[:4]}
    for kind, box in sets.items():
        if np.isfinite(box).all():
            x1, y1, x2, y2 = boxes.scale(box, *size).round().astype(int).tolist()
            cv2.rectangle(small, (x1, y1), (x2 - 1, y2 - 1), COLOURS[kind], 2, cv2.LINE_AA)
    tile = np.full((TILE + FOOT, TILE, 3), 255, np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    _write(tile, _caption(store, row, numbers), (6, TILE + 16), 0.45)
    return tile


def _caption(store: Store, row: int, numbers: NDArray[np.float32]) -> str:
    reference = store.truth[row] if np.isfinite(store.truth[row]).all() else store.boxes[row]
    score = f"score {numbers[4]:.2f}"
    return f"IoU {boxes.iou(numbers[:4], reference):.2f}  {score}" if np.isfinite(reference).all() else score


def _header(title: str, width: int) -> NDArray[np.uint8]:
    header = np.full((HEAD, width, 3), 255, np.uint8)
    _write(header, title, (8, 29), 0.7)
    left = width - 400
    for kind, colour in COLOURS.items():
        cv2.rectangle(header, (left, 14), (left + 18, 32), colour, 3)
        _write(header, kind, (left + 26, 29), 0.6)
        left += 130
    return header


def _write(picture: Any, text: str, corner: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
