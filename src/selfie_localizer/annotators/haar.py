"""Faces by OpenCV's Haar cascades, and what makes a hit believable.

The detector is that of P. Viola and M. Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features"
(CVPR 2001), trained by R. Lienhart. Which settings find how much is measured by `benchmarks/annotators.py`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer import boxes, params
from selfie_localizer.annotators.annotator import Annotator, version_of
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import SEARCHED_SIDE, Pixels, shrink

Grey = NDArray[np.integer[Any] | np.floating[Any]]

FACES = {
    "default": "haarcascade_frontalface_default.xml",
    "alt": "haarcascade_frontalface_alt.xml",
    "alt2": "haarcascade_frontalface_alt2.xml",
    "alt_tree": "haarcascade_frontalface_alt_tree.xml",
    "profile": "haarcascade_profileface.xml",
}
EYES = ("haarcascade_eye.xml", "haarcascade_eye_tree_eyeglasses.xml")

# A second cascade is asked about the surroundings of a box only: the box and this share of its width on each side. One
# hit is enough there. Asked as strictly as the first about the whole image, it took longer and lost more faces.
MARGIN = 0.25
LEAST_SIDE = 0.6
# Boxes of two cascades on one face differ by their habits; those on different things hardly overlap.
AGREEMENT = 0.4
# An eye is looked for in a copy of the face's upper part of this width, whatever the size of the face.
EYE_REGION = 0.6
EYE_WIDTH = 128


class Haar(Annotator):
    """The largest face that stands up to the verification; it gives no score.

    Cascades are tried in the order of the parameters; the first that has such a face gives the box.
    """

    Parameters = params.Haar
    parameters: params.Haar

    def version(self) -> str:
        return version_of(__name__, "opencv-python-headless")

    def prepare(self) -> None:
        """Makes sure that OpenCV brings every cascade, whichever the parameters name."""
        for name in (*FACES.values(), *EYES):
            _cascade(name)

    def locate(self, pixels: Pixels) -> tuple[boxes.Boxes, None] | None:
        height, width = pixels.shape[:2]
        # Grey first: one channel is shrunk in a third of the time.
        grey = shrink(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8), SEARCHED_SIDE)
        for name in self.parameters.cascades:
            found = _search(grey, name, self.parameters)
            for box in found[np.argsort(-boxes.area(found), kind="stable")]:
                if _is_believable(grey, box, name, self.parameters):
                    scaled = boxes.scale(box, width / grey.shape[1], height / grey.shape[0])
                    return boxes.clip(scaled, width, height), None
        return None


@functools.cache
def _cascade(file: str) -> Any:
    """Loads a cascade, once in each process."""
    try:
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + file)  # type: ignore[attr-defined]
    except (AttributeError, cv2.error):
        cascade = None
    if cascade is None or cascade.empty():
        raise UserError(
            f"OpenCV {cv2.__version__} has no cascade {file}; install another: "
            "pip install 'opencv-python-headless>=4.14,<5'"
        )
    return cascade


def _search(grey: Grey, name: str, settings: params.Haar) -> boxes.Boxes:
    """Returns the boxes of all hits of a face cascade, shape (N, 4)."""
    smallest = max(1, round(settings.smallest_face * min(grey.shape)))
    found = _hits(grey, FACES[name], settings.scale_factor, settings.neighbours, smallest)
    if name == "profile":
        # It knows faces that look to one side only.
        mirrored = _hits(cv2.flip(grey, 1), FACES[name], settings.scale_factor, settings.neighbours, smallest)
        mirrored[:, [0, 2]] = grey.shape[1] - mirrored[:, [2, 0]]
        found = np.concatenate([found, mirrored])
    return found


def _hits(grey: Grey, file: str, scale_factor: float, neighbours: int, smallest: int) -> boxes.Boxes:
    found: Sequence[Any] = _cascade(file).detectMultiScale(
        grey, scaleFactor=scale_factor, minNeighbors=neighbours, minSize=(smallest, smallest)
    )
    corners = np.asarray(found, dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def _is_believable(grey: Grey, box: boxes.Boxes, name: str, settings: params.Haar) -> bool:
    if settings.verify == "eye":
        return _has_eye(grey, box)
    if settings.verify == "cascade":
        return _agrees(grey, box, "alt2" if name == "default" else "default", settings.scale_factor)
    return True


def _agrees(grey: Grey, box: boxes.Boxes, name: str, scale_factor: float) -> bool:
    side = box[2] - box[0]
    around = box + MARGIN * side * np.array([-1, -1, 1, 1])
    x1, y1, x2, y2 = boxes.clip(around, grey.shape[1], grey.shape[0]).astype(int)
    found = _hits(grey[y1:y2, x1:x2], FACES[name], scale_factor, neighbours=1, smallest=round(LEAST_SIDE * side))
    return bool((boxes.iou(found + np.array([x1, y1, x1, y1]), box) > AGREEMENT).any())


def _has_eye(grey: Grey, box: boxes.Boxes) -> bool:
    x1, y1, x2, y2 = box.astype(int)
    upper = grey[y1 : y1 + round((y2 - y1) * EYE_REGION), x1:x2]
    factor = EYE_WIDTH / upper.shape[1]
    upper = cv2.resize(
        upper, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    )
    return any(len(_hits(upper, eye, 1.1, 3, EYE_WIDTH // 8)) > 0 for eye in EYES)
