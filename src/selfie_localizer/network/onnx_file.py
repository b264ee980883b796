"""A localizer as an ONNX file: written with Keras, run without it.

The module is copied into every served model, so it imports neither Keras nor TensorFlow at its top.
"""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# From RGB pixels, uint8, (B, S, S, 3), to float32 (B, 5): a box relative to the image and a score.
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def export(model: Any, path: Path, image_size: int, form: str = "onnx", **options: Any) -> None:
    """Writes a Keras localizer as ONNX, or in another of Keras' forms: `tf_saved_model` or `litert`.

    Args:
        model: Computes in float32, see `network.inference.load`.
        path: The file or, for `tf_saved_model`, the folder.
        image_size: Side of its square images in pixels.
        form: As Keras calls it.
        options: Further arguments of Keras' exporter.
    """
    import keras

    signature = [keras.InputSpec(shape=(None, image_size, image_size, 3), dtype="uint8", name="image")]
    with _quiet(), _little_memory():
        model.export(str(path), format=form, input_signature=signature, verbose=False, **options)


def load(path: Path, threads: int = 0) -> Network:
    """Loads a network; needs ONNX Runtime and neither TensorFlow nor Keras.

    Args:
        path: The ONNX file.
        threads: How many compute one answer; 0 means all cores that this process may use.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Left alone it pins its threads to cores, which it may not do in a container.
    options.intra_op_num_threads = threads or core_count()
    # Threads that wait for the next image in a busy loop would take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Kernels that a file holds in 8 bits become floats now, not for each image.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = session.run(None, {name: pixels})[0]
        return output

    return network


def core_count() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' chatter out of the user's sight; errors still show."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Collects garbage often.

    The ONNX converter copies the whole network, weights and all, some 50 times, in objects that only the garbage
    collector can free: a ResNet50 of 96 MB took 8.1 GB, and 3.1 GB like this, in no more time.
    """
    before = gc.get_threshold()
    gc.collect()
    # What is there already is not looked through again and again.
    gc.freeze()
    gc.set_threshold(300, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
