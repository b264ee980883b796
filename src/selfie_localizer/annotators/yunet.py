"""Faces by YuNet, where somebody has its ONNX file; OpenCV brings the code but not the weights.

The detector is that of W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research,
2023), run by `cv2.FaceDetectorYN`.
"""

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfie_localizer import boxes, files, images, params
from selfie_localizer.errors import UserError
from selfie_localizer.images import Pixels

# Of two hits that overlap more, the weaker one goes; OpenCV's own value.
OVERLAP = 0.3
MEND = (
    "set annotate.model to YuNet's ONNX file (face_detection_yunet in OpenCV's model zoo), or annotate.method to haar"
)


def check(settings: params.Annotate) -> str:
    """Makes sure that the model can be used by running it once.

    Args:
        settings: The section `annotate` of the parameters, with the model's path as this process can open it.

    Returns:
        What names the network besides the settings: OpenCV's version and the digest of the file.

    Raises:
        UserError: The file is missing or no YuNet model that this OpenCV can run.
    """
    data = _read(settings.model)
    _find(np.zeros((64, 64, 3), np.uint8), settings)
    return f"{cv2.__version__} {files.sha256(data)}"


def detect(image: Pixels, settings: params.Annotate) -> tuple[boxes.Boxes, str] | None:
    """Finds the largest face that the network is confident of.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        settings: The section `annotate` of the parameters; `model`, `confidence` and `smallest_face` count.

    Returns:
        The box in whole pixels of `image`, float64, shape (4,), and its source `yunet`; None if there is no face.

    Raises:
        UserError: The file is missing or no YuNet model that this OpenCV can run.
    """
    height, width = image.shape[:2]
    small = images.shrink(image, images.SEARCHED_SIDE)
    found = _find(small, settings)
    found = boxes.scale(found, width / small.shape[1], height / small.shape[0])
    found = boxes.clip(np.round(found), width, height)
    sides = (found[:, 2:] - found[:, :2]).max(axis=1, initial=0)
    found = found[boxes.is_box(found) & (sides >= settings.smallest_face * min(height, width))]
    return (found[np.argmax(boxes.area(found))], "yunet") if len(found) else None


def _find(image: Pixels, settings: params.Annotate) -> boxes.Boxes:
    """Returns the boxes of all hits in pixels of `image`, shape (N, 4)."""
    detector = _load(settings.model, settings.confidence)
    try:
        detector.setInputSize(image.shape[1::-1])
        _, found = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise UserError(f"{settings.model}: not a YuNet model ({error.err}); {MEND}") from None
    # The columns after the first four are five points of the face and the confidence.
    corners = np.zeros((0, 4)) if found is None else np.asarray(found, np.float64)[:, :4]
    corners[:, 2:] += corners[:, :2]
    return corners


@functools.cache
def _load(path: str, confidence: float) -> Any:
    """Loads the network, once in each process."""
    data = np.frombuffer(_read(path), np.uint8)
    try:
        return cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), (320, 320), confidence, OVERLAP)
    except cv2.error as error:
        raise UserError(
            f"{path}: not an ONNX model that OpenCV {cv2.__version__} can read ({error.err}); {MEND}"
        ) from None


def _read(path: str) -> bytes:
    try:
        return images.read_bytes(Path(path))
    except images.ImageError as error:
        raise UserError(f"{path}: {error}; {MEND}") from None
