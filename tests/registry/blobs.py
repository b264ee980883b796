"""A project after `evaluate`, made in a second: ellipses for faces, and networks whose quality is set by hand.

A network here finds the box of the bright pixels exactly and then shrinks it by a factor for dark and one for bright
images, so that its IoU on either slice is known beforehand. It is a real Keras model all the same, and is saved,
exported, served and reloaded like any other.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from selfie_localizer import boxes, files, params
from selfie_localizer.dataset.store import FIT, TEST, write_store

SIZE = 32
DARK = 80.0
# One look in float32.
FLOAT32 = params.Serving(form="onnx", second_look=False)


def make_project(root: Path, test: int = 80, seed: int = 0, dark: bool = True, truth: bool = True) -> None:
    """Writes images, both stores, what `annotate` and `label` write of them, and params.yaml.

    Half of the test images are dark if `dark`, the others normal. Labels, drawn by Haar alone, are right to the
    pixel, and so is the truth, which all test images have if `truth`.
    """
    rng = np.random.default_rng(seed)
    count = test + 4
    centre, half = rng.uniform(0.35, 0.65, (count, 2)), rng.uniform(0.15, 0.3, (count, 2))
    y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
    folder = root / "data/images"
    folder.mkdir(parents=True)
    pictures = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    sides = np.zeros((count, 4))
    for row in range(count):
        inside = ((x - centre[row, 0]) / half[row, 0]) ** 2 + ((y - centre[row, 1]) / half[row, 1]) ** 2 < 1
        pictures[row] = 10 if dark and row % 2 else 100
        pictures[row][inside] = 200
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        sides[row] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        cv2.imwrite(str(folder / f"{row}.png"), pictures[row])
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(count)]})
    table["split"] = ["test"] * test + ["train"] * 4
    table["sha256"] = [files.sha256((folder / name).read_bytes()) for name in table["image"]]
    table["width"] = table["height"] = SIZE
    table["verdict"], table["annotators"], table["spread"] = "alone", "haar", np.nan
    table[boxes.SIDES] = sides
    for path, rows in ((TEST, slice(0, test)), (FIT, slice(test, count))):
        store, part = table.iloc[rows].reset_index(drop=True), pictures[rows]
        write_store(root / path, store, SIZE, functools.partial(np.save, arr=part))
    listed = table.assign(error="", orientation=1)[["image", "width", "height", "sha256", "orientation", "error"]]
    listed.to_csv(root / "build/images.csv", index=False)
    annotate(
        root,
        {"haar": table[boxes.SIDES].to_numpy() + np.array([-2, -2, 2, 2]), "starter": table[boxes.SIDES].to_numpy()},
    )
    if truth:
        give_truth(root, test)
    if not (root / "params.yaml").exists():
        (root / "params.yaml").write_text(
            "backbones:\n  blob: {architecture: resnet18}\nserving: {form: onnx, second_look: false}\n"
        )


def annotate(root: Path, drawn: Mapping[str, np.ndarray], shifts: Mapping[str, Sequence[float]] | None = None) -> None:
    """Writes `build/annotations.csv` with the boxes of each annotator on all images, shape (N, 4), NaN for a miss.

    `shifts` is how the label stage moved them, four numbers each, in `reports/label.json`.
    """
    listing = pd.read_csv(root / "build/images.csv")
    said = []
    for name, sides in drawn.items():
        rows = listing[["image", "sha256", "width", "height"]].assign(annotator=name, score=0.9)
        rows[boxes.SIDES] = sides
        said.append(rows)
    pd.concat(said).to_csv(root / "build/annotations.csv", index=False)
    moved = {name: {"shifts": dict(zip(boxes.SIDES, sides, strict=True))} for name, sides in (shifts or {}).items()}
    files.write_json(root / "reports/label.json", {"annotators": moved})


def give_truth(root: Path, images: int, moved: float = 0.0) -> None:
    """Writes `data/truth.csv` with the boxes of the first test images, each `moved` pixels to the right."""
    table = pd.read_csv(root / TEST / "index.csv")[["image", *boxes.SIDES]].head(images)
    table[["x1", "x2"]] += moved
    table.to_csv(root / "data/truth.csv", index=False)


def make_model(
    root: Path, dark: float, normal: float, backbone: str = "blob", twin: int = 0, val_iou: float | None = None
) -> str:
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
        "val_iou": round(min(dark, normal) ** 2, 4) if val_iou is None else val_iou,
    }
    files.write_json(folder / "meta.json", meta)
    return str(meta["model_digest"])


def evaluate(root: Path, *backbones: str, serving: params.Serving = FLOAT32) -> None:
    """Writes what the evaluate stage writes of these models and of the mean box, as far as promote reads it.

    The figures are those of the Keras models.
    """
    import keras

    from selfie_localizer.dataset.store import open_store
    from selfie_localizer.evaluation.judge import find_judge
    from selfie_localizer.evaluation.scores import score_boxes, summarise, summarise_score
    from selfie_localizer.serving import served_network

    fit, test = open_store(root / FIT), open_store(root / TEST)
    judge = find_judge(test, root)
    brightness = np.array([cv2.cvtColor(test.images[row], cv2.COLOR_RGB2GRAY).mean() for row in judge.rows])
    mean = np.tile(fit.boxes.mean(axis=0), (len(judge.rows), 1))
    output = {"baseline-mean-box": np.hstack([mean, np.zeros((len(mean), 1))])}
    backbones = backbones or ("blob",)
    digests = {backbone: read_digest(root, backbone) for backbone in backbones}
    served = served_network.write_all(digests, serving, fit, root)
    for backbone in backbones:
        model = keras.models.load_model(root / "models" / backbone / "model.keras")
        output[backbone] = model.predict_on_batch(test.images[judge.rows])
    folder = root / "reports/evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in output.items():
        predicted = boxes.scale(found[:, :4].astype(np.float64), SIZE, SIZE)
        scored = score_boxes(predicted, judge.table, brightness).assign(score=found[:, 4])
        report = {"judge": judge.describe(), **summarise(scored, judge.kind)}
        if name.startswith("baseline"):
            report["part_of_judge"] = False
        else:
            report |= summarise_score(scored, np.array([]))
            report |= {"form": served[name].form, "second_look": serving.second_look, "model_digest": digests[name]}
        scored.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
        files.write_json(folder / f"{name}.json", report)


def read_digest(root: Path, backbone: str = "blob") -> str:
    """Returns what names the weights of a backbone."""
    return str(json.loads((root / "models" / backbone / "meta.json").read_text())["model_digest"])


def make_settings(*backbones: str, seed: int = 0, **promote: Any) -> params.Params:
    """Parameters with these backbones, `blob` by default; keywords are those of `params.Promote`."""
    rows = {name: params.Backbone(architecture="resnet18") for name in backbones or ("blob",)}
    return params.Params(seed=seed, backbones=rows, serving=FLOAT32, promote=params.Promote(**promote))


def read_report(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "reports/promotion.json").read_text()))
