"""A project after `evaluate`, made in a second: ellipses for faces, and networks whose quality is set by hand.

A network here finds the box of the bright pixels exactly and then shrinks it by a factor for dark and one for bright
images, so that its IoU on either slice is known beforehand. It is a real Keras model all the same, and is saved,
exported, served and reloaded like any other.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from selfie_localizer import files, params
from selfie_localizer.dataset.store import BOX, TRUTH, open_store, write_store

SIZE = 32
DARK = 80.0


def make_project(root: Path, test: int = 80, seed: int = 0, dark: bool = True) -> None:
    """Writes images, store and params.yaml; half of the test images are dark if `dark`, the others normal."""
    rng = np.random.default_rng(seed)
    count = test + 4
    centre, half = rng.uniform(0.35, 0.65, (count, 2)), rng.uniform(0.15, 0.3, (count, 2))
    y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
    folder = root / "data/images"
    folder.mkdir(parents=True)
    pictures = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    boxes = np.zeros((count, 4))
    for row in range(count):
        inside = ((x - centre[row, 0]) / half[row, 0]) ** 2 + ((y - centre[row, 1]) / half[row, 1]) ** 2 < 1
        pictures[row] = 10 if dark and row % 2 else 100
        pictures[row][inside] = 200
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        boxes[row] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        cv2.imwrite(str(folder / f"{row}.png"), pictures[row])
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(count)]})
    table["split"] = ["test"] * test + ["train"] * 4
    table["sha256"] = [files.sha256((folder / name).read_bytes()) for name in table["image"]]
    table["width"] = table["height"] = SIZE
    table["source"] = "blob"
    table[BOX] = boxes
    table[TRUTH] = np.nan
    write_store(root / "build/store", table, SIZE, lambda path: np.save(path, pictures))
    if not (root / "params.yaml").exists():
        (root / "params.yaml").write_text("backbones:\n  blob: {architecture: resnet18}\n")


def make_model(root: Path, dark: float, normal: float, backbone: str = "blob", twin: int = 0) -> str:
    """Writes `models/<backbone>/` with a network whose boxes have `dark` and `normal` times the right side.

    Its IoU is the square of that. Returns its digest; equal models with another `twin` have another one.
    """
    import keras
    from keras import ops

    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    values = ops.mean(ops.cast(pixels, "float32"), axis=-1)
    mask = ops.cast(values > 150, "float32")
    corners = []
    # A tensor made by Keras would be lost in the ONNX export.
    steps = np.arange(SIZE, dtype=np.float32)
    for axis in (1, 2):
        line = ops.max(mask, axis=axis)
        corners += [1 - ops.max(line * (SIZE - steps), axis=-1) / SIZE, ops.max(line * (steps + 1), axis=-1) / SIZE]
    left, right, top, bottom = corners
    bright = ops.cast(ops.mean(values, axis=(1, 2)) >= DARK, "float32")
    factor = bright * normal + (1 - bright) * dark
    half_width, half_height = factor * (right - left) / 2, factor * (bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    score = ops.zeros_like(x) + 0.9
    box = ops.stack([x - half_width, y - half_height, x + half_width, y + half_height, score], axis=-1)
    folder = root / "models" / backbone
    folder.mkdir(parents=True, exist_ok=True)
    keras.Model(pixels, box).save(folder / "model.keras")
    meta = {
        "backbone": backbone,
        "image_size": SIZE,
        "settings": {"seed": 0, "dark": dark, "normal": normal},
        "model_digest": files.digest(dark, normal, twin),
        "val_iou": round(min(dark, normal) ** 2, 4),
    }
    files.write_json(folder / "meta.json", meta)
    return str(meta["model_digest"])


def evaluate(root: Path, *backbones: str) -> None:
    """Writes what the evaluate stage writes of these models and of the mean box, as far as promote reads it."""
    import keras

    from selfie_localizer import boxes
    from selfie_localizer.evaluation.scores import judge, summarise

    store = open_store(root / "build/store")
    test = store.indices("test", labelled=False)
    table = store.table.iloc[test].reset_index(drop=True)
    brightness = np.array([cv2.cvtColor(store.images[row], cv2.COLOR_RGB2GRAY).mean() for row in test])
    mean = np.tile(store.boxes[store.indices("train")].mean(axis=0), (len(test), 1))
    predicted = {"baseline-mean-box": boxes.scale(mean, SIZE, SIZE)}
    for backbone in backbones or ("blob",):
        model = keras.models.load_model(root / "models" / backbone / "model.keras")
        predicted[backbone] = boxes.scale(model.predict_on_batch(store.images[test])[:, :4], SIZE, SIZE)
    folder = root / "reports/evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in predicted.items():
        judged = judge(found.astype(np.float64), table, brightness)
        judged.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
        files.write_json(folder / f"{name}.json", summarise(judged))


def make_settings(*backbones: str, seed: int = 0, **promote: Any) -> params.Params:
    """Parameters with these backbones, `blob` by default; keywords are those of `params.Promote`."""
    rows = {name: params.Backbone(architecture="resnet18") for name in backbones or ("blob",)}
    return params.Params(seed=seed, backbones=rows, promote=params.Promote(**promote))


def read_report(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "reports/promotion.json").read_text()))
