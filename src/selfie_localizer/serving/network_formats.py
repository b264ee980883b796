"""The forms in which a trained network leaves Keras: each with its exporter, its runtime and a check of its boxes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer.errors import UserError
from selfie_localizer.network import onnx_file
from selfie_localizer.network.onnx_file import Network

Form = Literal["savedmodel", "onnx", "litert"]

# What each form is called inside the folder of an export.
NAMES: dict[Form, str] = {"savedmodel": "savedmodel", "onnx": "model.onnx", "litert": "model.tflite"}
# In pixels, on an image of this side.
TOLERANCE = 0.5
PARITY_SIDE = 306


def write(model: Any, form: Form, image_size: int, path: Path, shown: object) -> float:
    """Writes a network in one form, and compares what it says then with what the model says.

    Args:
        model: A Keras model that computes in float32, see `network.inference.load`.
        form: The form.
        image_size: Side of its square images in pixels.
        path: The file or folder to write.
        shown: Names the model in messages.

    Returns:
        The largest difference in pixels on an image of side 306, of 8 images at batch sizes 1 and 8; the score's
        counts as if it were a coordinate.

    Raises:
        UserError: The difference is more than 0.5 px.
    """
    onnx_file.export(model, path, image_size, "tf_saved_model" if form == "savedmodel" else form)
    difference = compare(lambda pixels: np.asarray(model.predict_on_batch(pixels)), LOADERS[form](path), image_size)
    # Also true for NaN.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{shown}: as {form} its boxes are {difference:.2f} px off, more than {TOLERANCE}, on an image of side "
            f"{PARITY_SIDE}; train it again, with train.precision: float32 if that does not help"
        )
    return difference


def compare(trained: Network, written: Network, image_size: int) -> float:
    """Returns by how much two networks differ, see `write`; NaN if one of them says NaN."""
    pixels = _test_images(image_size)
    expected = trained(pixels).astype(np.float64)
    answers = [written(pixels), np.concatenate([written(pixels[row : row + 1]) for row in range(len(pixels))])]
    return float(max(np.abs(answer - expected).max() for answer in answers) * PARITY_SIDE)


def _test_images(image_size: int) -> NDArray[np.uint8]:
    """Returns 8 blurry, coloured images, since on plain noise every network says the same."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_CUBIC) for image in coarse])


def load_savedmodel(folder: Path) -> Network:
    """Loads a SavedModel as TensorFlow Serving would."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = loaded.serve(tf.constant(pixels)).numpy()
        return output

    return network


def load_litert(path: Path, threads: int = 1) -> Network:
    """Loads a LiteRT file into the interpreter that TensorFlow brings; not to be called from several threads."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # The same interpreter is to live on in a package of its own, which nothing else here needs.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(str(path), num_threads=threads)
    image, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    shape: tuple[int, ...] = ()

    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal shape
        if pixels.shape != shape:
            interpreter.resize_tensor_input(image["index"], pixels.shape)
            interpreter.allocate_tensors()
            shape = pixels.shape
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(answer))

    return network


LOADERS: dict[Form, Callable[[Path], Network]] = {
    "savedmodel": load_savedmodel,
    "onnx": onnx_file.load,
    "litert": load_litert,
}
