"""Faces by YuNet, where somebody has its ONNX file; OpenCV brings the code but not the weights.

The detector is that of W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research,
2023), run by `cv2.FaceDetectorYN`.
"""

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer import boxes, params
from selfie_localizer.annotators.annotator import Annotator, version_of
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import SEARCHED_SIDE, Pixels, read_bytes, shrink
from selfie_localizer.photos.limits import ImageError

# Of two hits that overlap more, the weaker one goes; OpenCV's own value.
OVERLAP = 0.3
MEND = "set annotate.annotators.yunet.model to YuNet's ONNX file (face_detection_yunet in OpenCV's model zoo)"


class Yunet(Annotator):
    """The largest face that the network is confident of; the score is its confidence."""

    Parameters = params.Yunet
    parameters: params.Yunet

    def version(self) -> str:
        return version_of(__name__, "opencv-python-headless", data=self._read())

    def prepare(self) -> None:
        """Makes sure that the model can be used by running it once."""
        self._find(np.zeros((64, 64, 3), np.uint8))

    def locate(self, pixels: Pixels) -> tuple[boxes.Boxes, float] | None:
        height, width = pixels.shape[:2]
        small = shrink(pixels, SEARCHED_SIDE)
        found, scores = self._find(small)
        found = boxes.clip(boxes.scale(found, width / small.shape[1], height / small.shape[0]), width, height)
        sides = (found[:, 2:] - found[:, :2]).max(axis=1, initial=0)
        fit = boxes.is_box(found) & (sides >= self.parameters.smallest_face * min(height, width))
        if not fit.any():
            return None
        best = np.argmax(np.where(fit, boxes.area(found), 0))
        return found[best], float(np.clip(scores[best], 0, 1))

    def _find(self, image: Pixels) -> tuple[boxes.Boxes, NDArray[np.float64]]:
        """Returns the boxes of all hits in pixels of `image`, shape (N, 4), and their confidences, shape (N,)."""
        try:
            self._detector.setInputSize(image.shape[1::-1])
            _, found = self._detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise UserError(f"{self._path}: not a YuNet model ({error.err}); {MEND}") from None
        # Between a box and its confidence are five points of the face.
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        corners = rows[:, :4].copy()
        corners[:, 2:] += corners[:, :2]
        return corners, rows[:, 14]

    @functools.cached_property
    def _detector(self) -> Any:
        data = np.frombuffer(self._read(), np.uint8)
        nothing = np.empty(0, np.uint8)
        try:
            return cv2.FaceDetectorYN.create("onnx", data, nothing, (320, 320), self.parameters.confidence, OVERLAP)
        except cv2.error as error:
            raise UserError(
                f"{self._path}: not an ONNX model that OpenCV {cv2.__version__} can read ({error.err}); {MEND}"
            ) from None

    @property
    def _path(self) -> Path:
        return self.root / self.parameters.model

    def _read(self) -> bytes:
        try:
            return read_bytes(self._path)
        except ImageError as error:
            raise UserError(f"{self._path}: {error}; {MEND}") from None
