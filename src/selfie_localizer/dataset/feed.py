"""From the store to batches: shuffled, augmented and made ready while the network computes."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from selfie_localizer import params
from selfie_localizer.dataset.augment import augment
from selfie_localizer.dataset.store import Store

# Enough to bridge a slow read; more would only hold memory.
AHEAD = 2


def training_feed(
    store: Store, indices: NDArray[np.int64], settings: params.Augment, batch_size: int, seed: int, epoch: int
) -> tf.data.Dataset:
    """Gives one epoch of augmented batches in random order.

    Order and changes depend on `seed` and `epoch` alone, so that an epoch can be repeated after a kill.

    Args:
        store: The images; read from its memory map, so that they need not fit in memory.
        indices: Positions of labelled images and of images without a face.
        settings: The section `augment` of the parameters.
        batch_size: Images in a batch; the last one may be smaller.
        seed: Of everything random.
        epoch: Number of the epoch.

    Returns:
        Pairs of images (uint8, (B, S, S, 3)) and boxes relative to the image (float32, (B, 4)), which have no area
        where there is no face.
    """
    order = np.random.default_rng([seed, epoch]).permutation(indices)
    seeds = tf.random.split([seed, epoch], -(-len(order) // batch_size))

    batches = tf.data.Dataset.zip(_read(store, order, batch_size), tf.data.Dataset.from_tensor_slices(seeds))
    return batches.map(
        lambda batch, batch_seed: augment(batch[0], batch[1], settings, batch_seed),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(AHEAD)


def evaluation_feed(store: Store, indices: NDArray[np.int64], batch_size: int) -> tf.data.Dataset:
    """Gives the images at `indices` once, in order, as they are; the rest is as in `training_feed`."""
    return _read(store, indices, batch_size).prefetch(AHEAD)


def _read(store: Store, order: NDArray[np.int64], batch_size: int) -> tf.data.Dataset:
    side = store.size

    def gather(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return store.images[rows]

    def read(rows: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.numpy_function(gather, [rows], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (None, side, side, 3)), boxes

    boxes = np.nan_to_num(store.boxes[order])
    dataset = tf.data.Dataset.from_tensor_slices((order, boxes)).batch(batch_size)
    return dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
