"""Measures training beside the article's own loop, the bare step and the loader alone.

    python benchmarks/training.py [--backbone resnet18] [--image-size 128] [--images 512] [--batch 32] [--json]

All on the same rendered images with the same backbone in one process, one after the other, each warmed up before it
is timed. Compare figures of one run with each other, not with those of another: the machine may be noisy.
"""

import argparse
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from selfie_localizer import boxes, params
from selfie_localizer.acquire.render import render
from selfie_localizer.dataset.feed import training_feed
from selfie_localizer.dataset.store import Store, open_store, write_store
from selfie_localizer.network import localizer
from selfie_localizer.network.losses import LocalizerLoss
from selfie_localizer.photos.decode import read, resize
from selfie_localizer.training.fit import Fitter
from selfie_localizer.training.hardware import choose

ARTICLE_NETWORK = params.Network(neck="conv", neck_filters=1024, vectorizer="gap", head_width=512)


def make_store(folder: Path, data: Path, size: int) -> Store:
    """Puts rendered selfies with their true boxes into a store, all but a few in the training split."""
    truth = pd.read_csv(data / "truth.csv")
    table = truth[["image", *boxes.SIDES, "width", "height"]]
    table = table.assign(verdict="trusted", annotators="renderer", spread=np.nan, sha256="")
    table["split"] = ["validation" if row < 16 else "train" for row in range(len(table))]

    def fill(path: Path) -> None:
        store = np.load(path, mmap_mode="r+")
        for row, name in enumerate(table["image"]):
            store[row] = resize(read(data / "images" / name).pixels, size)

    write_store(folder, table, size, fill)
    return open_store(folder)


def article_loop(
    data: Path, table: pd.DataFrame, backbone: params.Backbone, size: int, batch: int
) -> Callable[[], int]:
    """The article's loop: a Python generator, `from_generator`, an eager GradientTape, float32."""
    keras.config.set_dtype_policy("float32")
    model = localizer.build(backbone, ARTICLE_NETWORK, size)
    # ExponentialDecay(3600 steps, 0.8) and Adam, as the article says.
    rate = keras.optimizers.schedules.ExponentialDecay(1e-4, 3600, 0.8)
    optimizer = keras.optimizers.Adam(rate)

    def generate() -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        for name, *box, width, height in table[["image", *boxes.SIDES, "width", "height"]].sample(frac=1).to_numpy():
            image = cv2.imread(str(data / "images" / name))
            assert image is not None
            pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            # Scaling is in our networks; the article's `astype(float32) / 127 - 1` costs the same here.
            pixels = cv2.resize(pixels, (size, size)).astype(np.float32)
            yield tf.constant(pixels), tf.constant(np.array(box) / [width, height, width, height], tf.float32)

    signature = (tf.TensorSpec((size, size, 3), tf.float32), tf.TensorSpec((4,), tf.float32))
    feed = tf.data.Dataset.from_generator(generate, output_signature=signature).shuffle(2 * batch).batch(batch)

    def epoch() -> int:
        count = 0
        for pixels, wanted in feed:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(pixels, training=True)[:, :4] - wanted))
            gradients = tape.gradient(loss, model.trainable_weights)
            pairs = [pair for pair in zip(gradients, model.trainable_weights, strict=True) if pair[0] is not None]
            optimizer.apply_gradients(pairs)
            float(loss)
            count += len(wanted)
        return count

    return epoch


def bare_step(store: Store, settings: params.Params, backbone: params.Backbone, batch: int) -> Callable[[], int]:
    """The compiled training step alone, on one batch that is already in memory."""
    rows = store.indices("train")[:batch]
    pixels, boxes = tf.constant(store.images[rows]), tf.constant(store.boxes[rows])
    policy = choose(settings.train, len(store.indices("train")), store.size, "bare step").policy
    keras.config.set_dtype_policy(policy)
    model = localizer.build(backbone, settings.network, store.size)
    model.compile(keras.optimizers.AdamW(), LocalizerLoss(settings.train.loss), jit_compile=False)
    steps = math.ceil(len(store.indices("train")) / batch)
    keras.config.set_dtype_policy("float32")

    def epoch() -> int:
        for _ in range(steps):
            model.train_on_batch(pixels, boxes)
        return steps * batch

    return epoch


def loader(store: Store, settings: params.Params, batch: int) -> Callable[[], int]:
    rows = store.indices("train")
    numbers = iter(range(10**6))

    def epoch() -> int:
        return sum(len(boxes) for _, boxes in training_feed(store, rows, settings.augment, batch, 0, next(numbers)))

    return epoch


def timed(epoch: Callable[[], int], warm_up: int = 1, times: int = 2) -> float:
    """Returns images/s, the best of `times` epochs after `warm_up` more."""
    for _ in range(warm_up):
        epoch()
    rates = []
    for _ in range(times):
        start = time.perf_counter()
        rates.append(epoch() / (time.perf_counter() - start))
    return max(rates)


def training(store: Store, settings: params.Params) -> float:
    """Returns images/s of the whole of fitting an epoch, as `train` reports it: the best of all but the first."""
    result = Fitter("measured", store).fit(settings, store.indices("train"), store.indices("validation"))
    return max(row["images_per_second"] for row in result.history[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="resnet18, resnet50 or vgg16")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=0, help="0 chooses by the hardware, the article's loop takes 16")
    parser.add_argument("--article-network", action="store_true", help="measure the article's network in our training")
    parser.add_argument("--json", action="store_true", help="print only the line for scripts")
    args = parser.parse_args()

    backbone = params.Backbone(architecture=args.backbone)
    network = ARTICLE_NETWORK if args.article_network else params.Network()
    settings = params.Params(
        backbones={"measured": backbone},
        network=network,
        train=params.Train(epochs=4, batch_size=args.batch, loss="mse" if args.article_network else "l1_ciou"),
    )
    found: dict[str, Any] = vars(args).copy()
    with tempfile.TemporaryDirectory() as holder:
        data = Path(holder, "data")
        render(args.images + 16, 0, data)
        store = make_store(Path(holder, "store"), data, args.image_size)
        train_rows = store.table[store.table["split"] == "train"]
        batch = args.batch or choose(settings.train, len(train_rows), args.image_size, "benchmark").batch_size
        measures: dict[str, Callable[[], float]] = {
            # First, since the training makes TensorFlow deterministic for the rest of the process.
            "article": lambda: timed(article_loop(data, train_rows, backbone, args.image_size, 16), times=1),
            "loader": lambda: timed(loader(store, settings, batch), times=3),
            "bare_step": lambda: timed(bare_step(store, settings, backbone, batch)),
            "training": lambda: training(store, settings),
        }
        for name, measure in measures.items():
            found[name] = measure()
            keras.backend.clear_session()
    found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["training_over_article"] = found["training"] / found["article"]
    found["training_over_bare_step"] = found["training"] / found["bare_step"]
    found["loader_over_training"] = found["loader"] / found["training"]
    if not args.json:
        line = partial("{:34}{:>10.1f} images/s{}".format)
        print(f"{args.backbone}, {args.image_size} px, {args.images} images, batches of {batch}")
        print(line("the article's loop (eager, float32)", found["article"], ""))
        print(
            line("training, end to end", found["training"], f"   {found['training_over_article']:.1f} x the article's")
        )
        print(
            line(
                "the bare step, data in memory",
                found["bare_step"],
                f"   training reaches {found['training_over_bare_step']:.0%}",
            )
        )
        print(line("the loader alone", found["loader"], f"   {found['loader_over_training']:.1f} x the training"))
        print(f"peak memory of all four together: {found['peak_memory_mb']:,.0f} MB")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
