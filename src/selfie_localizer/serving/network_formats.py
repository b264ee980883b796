"""The forms in which a trained network leaves Keras: each with its exporter, its runtime and a check of its boxes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer import params
from selfie_localizer.dataset.store import Store
from selfie_localizer.errors import UserError
from selfie_localizer.network import litert_file, onnx_file
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.network.onnx_file import Network
from selfie_localizer.progress import say

Form = Literal["savedmodel", "onnx", "litert", "litert_int8"]

# What each form is called inside the folder of an export.
NAMES: dict[Form, str] = {
    "savedmodel": "savedmodel",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
}
# In pixels, on an image of this side.
TOLERANCE = 0.5
PARITY_SIDE = 306
BATCH = 32
# Photos that a form is compared on: as many as show what one in a thousand does.
MOST_PHOTOS = 1000


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
    _export(model, form, image_size, path)
    difference = compare(lambda pixels: np.asarray(model.predict_on_batch(pixels)), LOADERS[form](path), image_size)
    # Also true for NaN.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{shown}: as {form} its boxes are {difference:.2f} px off, more than {TOLERANCE}, on an image of side "
            f"{PARITY_SIDE}; train it again, with train.precision: float32 if that does not help"
        )
    return difference


def write_served(
    model: Any, serving: params.Serving, photos: NDArray[np.uint8] | None, image_size: int, path: Path, shown: object
) -> float:
    """Writes a network in the form in which it is served, and compares its boxes with the model's on photos.

    Args:
        model: A Keras model that computes in float32, see `network.inference.load`.
        serving: The form, and how far a box may move.
        photos: Squares of photos that the model was not trained on, uint8, (N, S, S, 3), since nothing else says what
            fewer bits cost; None takes 8 blurry pictures.
        image_size: Side of the model's square images in pixels.
        path: The file to write.
        shown: Names the model in messages.

    Returns:
        By how many pixels of the square boxes moved, see `largest_shift`.

    Raises:
        UserError: They moved by more than `serving.max_shift_px`, or the form's runtime is not installed.
    """
    _export(model, serving.form, image_size, path)
    pixels = _test_images(image_size) if photos is None or len(photos) == 0 else photos
    served = FORMS[serving.form].load(path)
    parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    expected = np.concatenate([model.predict_on_batch(part) for part in parts])[:, :4].astype(np.float64)
    moved = np.abs(np.concatenate([served(part) for part in parts])[:, :4] - expected).max(axis=1) * image_size
    shift = largest_shift(moved)
    # Also true for NaN.
    if not shift <= serving.max_shift_px:
        raise UserError(
            f"{shown}: as {serving.form} its boxes move by {shift:.2f} px of its {image_size} px images, more than "
            f"serving.max_shift_px: {serving.max_shift_px:g}; raise that, train longer, or set serving.form: onnx"
        )
    return shift


def choose_form(
    model: Any, serving: params.Serving, photos: NDArray[np.uint8] | None, image_size: int, folder: Path, shown: object
) -> tuple[params.Serving, Path, float]:
    """Writes a network in the form that `serving` names; of `auto`, in 8 bits where that can be, and else says why not.

    Args:
        folder: Where the file goes; the others are those of `write_served`.

    Returns:
        What it is served as, with a form other than `auto`; its file; and what `write_served` returns.

    Raises:
        UserError: As `write_served`, of a form that was named.
    """

    def write(form: str) -> tuple[params.Serving, Path, float]:
        named, path = serving.model_copy(update={"form": form}), folder / FORMS[form].name
        return named, path, write_served(model, named, photos, image_size, path, shown)

    if serving.form != "auto":
        return write(serving.form)
    try:
        return write("litert_int8")
    except UserError as error:
        say(f"{str(error).split(';')[0]}: it is served in float32")
        return write("onnx")


def validation_photos(store: Store) -> NDArray[np.uint8]:
    """Returns at most `MOST_PHOTOS` images of the validation split, spread over it, uint8, (N, S, S, 3)."""
    rows = store.indices("validation", labelled=False)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(MOST_PHOTOS, len(rows))).round().astype(np.int64))
    return store.images[rows[chosen]]


def largest_shift(moved: NDArray[np.float64]) -> float:
    """Returns the largest shift on all photos but one in a thousand, rounded up; NaN if there is one.

    Args:
        moved: By how much each photo's box moved, shape (N,).
    """
    if not np.isfinite(moved).all():
        return float("nan")
    spared = -(-len(moved) // 1000) if len(moved) > 1 else 0
    return float(np.sort(moved)[-1 - spared])


def _export(model: Any, form: str, image_size: int, path: Path) -> None:
    if form != "litert_int8":
        onnx_file.export(model, path, image_size, "tf_saved_model" if form == "savedmodel" else form)
        return
    import tensorflow as tf

    # Weights of 8 bits with a scale per channel; activations get theirs anew for each image.
    onnx_file.export(model, path, image_size, "litert", optimizations=[tf.lite.Optimize.DEFAULT])


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


LOADERS: dict[Form, Callable[[Path], Network]] = {
    "savedmodel": load_savedmodel,
    "onnx": onnx_file.load,
    "litert": litert_file.load,
    "litert_int8": litert_file.load,
}
