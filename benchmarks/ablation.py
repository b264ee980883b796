"""Measures what each part of the recipe brings: one change at a time, from random weights, for about the same time.

    python benchmarks/ablation.py ROOT OUT [--rows defaults gap ...] [--seeds 0 1 2] [--epochs 6] [--weights starter]

ROOT is a project's folder where `label` has run on trusted boxes: `data/annotations.csv` and `data/truth.csv` are the
same. ResNet18 is trained on its train split and judged on its test split. Rows whose images take more or less time
get fewer or more epochs. `--weights starter` begins with those in ./starter, and wants an OUT of its own. Each training
is a process of its own and a line of OUT/results.csv as soon as it is done; what is there with as many epochs is
not trained again. Ends with a table, and a line of JSON for scripts.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from selfie_localizer import boxes, files, params
from selfie_localizer.dataset.prepare import prepare
from selfie_localizer.dataset.store import FIT, TEST, open_store
from selfie_localizer.labels.contents import of_contents
from selfie_localizer.labels.trusted import read_trusted
from selfie_localizer.quiet import hush_tensorflow


@dataclass(frozen=True)
class Row:
    """A change: parameters, share of the epochs that take as long as the defaults', and what is no parameter."""

    changes: dict[str, Any] = field(default_factory=dict)
    epochs: float = 1.0
    patch: str = ""


# The augmentation of profiles/selfies-cpu.yaml.
LONG = {"augment.zoom": (0.6, 1.8), "augment.rotate": 15, "augment.collage": 0.3}
# Without a loss for each cell of the attention.
SPARSE = {"train.dense_boxes": 0.0, "train.dense_attention": 0.0}
ROWS = {
    "defaults": Row(),
    "no dense supervision": Row(SPARSE),
    "dense supervision 0.5 and 0.1": Row({"train.dense_boxes": 0.5, "train.dense_attention": 0.1}),
    "dense supervision 1 and 1": Row({"train.dense_boxes": 1.0, "train.dense_attention": 1.0}),
    "dense supervision 2 and 1": Row({"train.dense_boxes": 2.0, "train.dense_attention": 1.0}),
    "dense boxes alone": Row({"train.dense_attention": 0.0}),
    "dense attention alone": Row({"train.dense_boxes": 0.0}),
    "gap": Row({"network.vectorizer": "gap", **SPARSE}),
    "flatten": Row({"network.vectorizer": "flatten", **SPARSE}),
    "stride 8": Row(patch="stride_8", epochs=5 / 6),
    "stride 32": Row(patch="stride_32"),
    "96 px": Row({"prepare.image_size": 96}, epochs=10 / 6),
    "160 px": Row({"prepare.image_size": 160}, epochs=4 / 6),
    "mse": Row({"train.loss": "mse"}),
    "smooth_l1": Row({"train.loss": "smooth_l1"}),
    "l1_giou": Row({"train.loss": "l1_giou"}),
    "no EMA": Row({"train.ema": 0}),
    "exponential schedule": Row({"train.schedule": "exponential"}),
    "turns of 15 degrees": Row({"augment.rotate": 15}),
    "cut-out": Row({"augment.cutout": 0.2}),
    "blur": Row({"augment.blur": 0.5}),
    "compression": Row(patch="compression"),
    "zoom to 1.8": Row({"augment.zoom": (0.6, 1.8)}),
    "zoom to 1.8 and turns": Row({"augment.zoom": (0.6, 1.8), "augment.rotate": 15}),
    "no close-ups": Row({"augment.closeup": 0}),
    "collage": Row({"augment.collage": 0.3}),
    "for long trainings": Row(LONG),
    "for long trainings, collage 0.5": Row({**LONG, "augment.collage": 0.5}),
    "for long trainings, 160 px": Row({**LONG, "prepare.image_size": 160}, epochs=4 / 6),
    "no augmentation": Row(
        {
            "augment.zoom": (1.0, 1.0),
            **{f"augment.{name}": 0 for name in ("aspect", "shift", "flip", "brightness", "contrast")},
            **{f"augment.{name}": 0 for name in ("saturation", "hue", "grey", "closeup")},
        }
    ),
    "batches of 16": Row({"train.batch_size": 16}),
    "collage, batches of 16": Row({"augment.collage": 0.3, "train.batch_size": 16}),
    "learning rate 2e-3": Row({"train.learning_rate": 2e-3}),
    "learning rate 5e-4": Row({"train.learning_rate": 5e-4}),
    "first epoch frozen": Row({"train.frozen_epochs": 1}),
}


@contextlib.contextmanager
def patched(name: str) -> Iterator[None]:
    """Changes what no parameter can change."""
    import keras
    import tensorflow as tf

    from selfie_localizer.dataset import feed
    from selfie_localizer.network import backbones

    def maps(fine: str) -> Any:
        def chosen(backbone: keras.Model) -> tuple[Any, Any]:
            return backbone.pyramid_outputs[fine], backbone.pyramid_outputs["P5"]

        return mock.patch.object(backbones, "stride_16_and_32", chosen)

    def compress(images: Any, boxes: Any, settings: params.Augment, seed: Any) -> tuple[Any, Any]:
        images, boxes = augment(images, boxes, settings, seed)
        quality = tf.random.stateless_uniform((tf.shape(images)[0],), seed + 3, 30, 95, tf.int32)
        pairs = (images, quality)
        return tf.map_fn(lambda pair: tf.image.adjust_jpeg_quality(*pair), pairs, tf.uint8), boxes

    augment = feed.augment
    patches = {
        "": contextlib.nullcontext(),
        "stride_8": maps("P3"),
        "stride_32": maps("P5"),
        "compression": mock.patch.object(feed, "augment", compress),
    }
    with patches[name]:
        yield


def prepared(root: Path, out: Path, settings: params.Params) -> Path:
    """Returns a folder with stores of the wanted size, made from what `label` left in `root`."""
    folder = out / f"{settings.prepare.image_size}px"
    if not (folder / TEST).exists():
        (folder / "build").mkdir(parents=True, exist_ok=True)
        if not (folder / "data").exists():
            (folder / "data").symlink_to((root / "data").resolve())
        for name in ("images", "labels"):
            shutil.copy(root / "build" / f"{name}.csv", folder / "build")
        prepare(settings.prepare, root=folder)
    return folder


def settings_of(row: Row, seed: int, epochs: int, weights: Literal["none", "starter"] = "none") -> params.Params:
    """Returns the parameters of a row."""
    changes = {"seed": seed, "train.epochs": max(1, round(epochs * row.epochs)), **row.changes}
    backbone = params.Backbone(architecture="resnet18", weights=weights)
    return params.replace(params.Params(backbones={"resnet18": backbone}), changes)


def measure(name: str, settings: params.Params, folder: Path, sources: pd.Series) -> dict[str, Any]:
    """Trains a row; returns its line of the results. `sources` says of what kind an image is, where that is known."""
    hush_tensorflow()
    from selfie_localizer.training.fit import Fitter

    store, judged = open_store(folder / FIT), open_store(folder / TEST)
    label = f"{name}, seed {settings.seed}"
    with patched(ROWS[name].patch):
        fitter = Fitter("resnet18", store)
        result = fitter.fit(settings, store.indices("train"), store.indices("validation"), label=label)
    truth = of_contents(read_trusted(Path("data/truth.csv"), folder), judged.table["sha256"])
    test = np.flatnonzero(boxes.is_box(truth))
    table = judged.table.iloc[test]
    answers = result.model.predict(judged.images[test], batch_size=64, verbose=0)
    predicted = boxes.scale(boxes.clip(answers[:, :4], 1, 1), table["width"], table["height"])
    iou = boxes.iou(predicted, truth[test])
    kinds = pd.Series(iou).groupby(sources.reindex(table["image"]).to_numpy())
    return {
        "row": name,
        "seed": settings.seed,
        "epochs": settings.train.epochs,
        "minutes": round(result.minutes, 2),
        "iou": round(float(iou.mean()), 4),
        "over_0.75": round(float((iou > 0.75).mean()), 4),
        "val_iou": round(result.val_iou, 4),
        **{f"iou_{kind}": round(float(mean), 4) for kind, mean in kinds.mean().items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path, help="folder for stores and results.csv")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=6, help="of the defaults")
    parser.add_argument("--weights", default="none", choices=["none", "starter"], help="to begin with")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.csv"
    found: list[Any] = pd.read_csv(results).to_dict("records") if results.exists() else []
    truth = pd.read_csv(args.root / "data/truth.csv", dtype={"image": str}).drop_duplicates("image").set_index("image")
    sources = truth["source"] if "source" in truth else pd.Series(dtype=str)
    done = {(line["row"], line["seed"], line["epochs"]) for line in found}
    for seed in args.seeds:
        for name in args.rows:
            settings = settings_of(ROWS[name], seed, args.epochs, args.weights)
            if (name, seed, settings.train.epochs) not in done:
                folder = prepared(args.root, args.out, settings)
                # A process of its own: the layers of one training would stay in memory for the next.
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    found.append(pool.submit(measure, name, settings, folder, sources).result())
                with files.atomic_write(results) as path:
                    pd.DataFrame(found).to_csv(path, index=False, lineterminator="\n")
    table = pd.DataFrame(found).groupby(["row", "epochs"], sort=False)
    print(f"{'':24}{'seeds':>6}{'epochs':>7}{'minutes':>8}{'test IoU':>10}{'least':>8}{'most':>8}{'over 0.75':>11}")
    for (name, epochs), lines in table:
        iou = lines["iou"]
        print(
            f"{name!s:24}{len(lines):6}{epochs:7}{lines['minutes'].mean():8.1f}{iou.mean():10.3f}"
            f"{iou.min():8.3f}{iou.max():8.3f}{lines['over_0.75'].mean():11.1%}"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
