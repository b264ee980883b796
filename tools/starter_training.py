"""The training of starter weights: phases of growing size, then heads of further widths on the backbone they leave.

Each part is a training of its own that a killed process goes on with, and begins with the weights of the one before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from selfie_localizer import files, params
from selfie_localizer.dataset.store import Store, open_store, write_store
from selfie_localizer.network import localizer
from selfie_localizer.photos.decode import resize
from selfie_localizer.training import fit, hardware
from selfie_localizer.training.calibrate import calibrate
from selfie_localizer.training.loop import FitResult

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Phase:
    """A part of the training: side of the images in pixels, passes over them, and the peak of the learning rate."""

    size: int
    epochs: int
    learning_rate: float = 1e-3

    @classmethod
    def parse(cls, text: str) -> "Phase":
        """Reads `size:epochs` or `size:epochs:learning rate`, e.g. `96:6:5e-4`.

        Raises:
            ValueError: The text has another form.
        """
        size, epochs, *rate = text.split(":")
        return cls(int(size), int(epochs), *map(float, rate))


@dataclass(frozen=True)
class Trained:
    """Localizers on one backbone by the width of their heads, the main one first, each with a calibrated score.

    Attributes:
        models: The localizers.
        iou: Mean IoU of each on the validation split.
        minutes: Time of all trainings, that of interrupted processes included.
    """

    models: dict[int, keras.Model]
    iou: dict[int, float]
    minutes: float


def train(settings: params.Params, store: Store, phases: list[Phase], head_epochs: int, work: Path) -> Trained:
    """Fits a localizer phase by phase, then the heads of `tune.space` that are of another width.

    Args:
        settings: All parameters, with one backbone.
        store: Images at the size of the largest phase or larger.
        phases: One or more.
        head_epochs: Passes over the images for each further head; 0 makes none.
        work: Folder of unfinished work.

    Raises:
        UserError: As `fit.fit`.
    """
    minutes, weights = 0.0, None
    for number, phase in enumerate(phases, 1):
        images = smaller(store, phase.size, work)
        result = _fit(settings, images, phase, weights, work, f"phase {number} of {len(phases)}")
        minutes += result.minutes
        weights = {variable.path: variable.numpy() for variable in result.model.variables}
    width = settings.network.head_width
    found = {width: result}
    heads = settings.tune.space.get("network.head_width")
    for other in heads.choices or () if heads and head_epochs else ():
        if other != width:
            changed = params.replace(settings, {"network.head_width": other, "train.frozen_epochs": head_epochs})
            phase = Phase(images.size, head_epochs)
            found[int(other)] = _fit(changed, images, phase, _of_backbone(result), work, f"head of width {other}")
            minutes += found[int(other)].minutes
    faces, scenes = images.indices("validation"), images.negatives("validation")
    for one in found.values():
        calibrate(one.model, images, faces, scenes)
    return Trained(
        {width: one.model for width, one in found.items()},
        {width: one.val_iou for width, one in found.items()},
        minutes,
    )


def smaller(store: Store, size: int, work: Path) -> Store:
    """Returns a store with the same images at a size in pixels, which is made in `work` and kept there."""
    if size == store.size:
        return store
    path = work / f"store-{size}"
    meta = path / "store.json"
    if not meta.exists() or json.loads(meta.read_text())["made_by"] != store.digest:

        def fill(file: Path) -> None:
            images = np.load(file, mmap_mode="r+")
            for place, image in enumerate(store.images):
                images[place] = resize(image, size)

        write_store(path, store.table, size, fill, made_by=store.digest)
    return open_store(path)


def _of_backbone(result: FitResult) -> Weights:
    return {variable.path: variable.numpy() for variable in result.model.get_layer(localizer.BACKBONE).variables}


def _fit(
    settings: params.Params, store: Store, phase: Phase, begin: Weights | None, work: Path, part: str
) -> FitResult:
    """Fits a localizer that begins with some weights, as far as they go; None is random weights."""
    settings = params.replace(settings, {"train.epochs": phase.epochs, "train.learning_rate": phase.learning_rate})
    ((name, row),) = settings.backbones.items()
    label = f"{name}, {part}"
    rows = np.sort(np.concatenate([store.indices("train"), store.negatives("train")]))
    machine = hardware.choose(settings.train, len(rows), store.size, label)
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)
    # As in a training of the pipeline: each part has a graph of its own, and a rerun comes to the same weights.
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(machine.policy)
    with machine.strategy.scope():
        model = localizer.build(row, settings.network, store.size)
        for variable in model.variables:
            if begin and variable.path in begin:
                variable.assign(begin[variable.path])
    keras.config.set_dtype_policy("float32")
    used = settings.model_dump(include={"seed", "network", "augment", "train"})
    before = [part for path, values in (begin or {}).items() for part in (path, values.tobytes())]
    state = work / "state" / files.digest(used, name, row.model_dump(), store.digest, fit.code("train"), *before)[:16]
    state.mkdir(parents=True, exist_ok=True)
    return fit.fit(
        model,
        store,
        rows,
        store.indices("validation"),
        settings,
        batch_size=machine.batch_size,
        pretrained=begin is not None,
        state=state,
        label=label,
    )
