"""From one annotator's habits to another's: a map between boxes, learnt from photos on which both drew one.

A Haar cascade draws a square from the eyebrows to below the chin; people draw a narrower and higher box on the same
face. Each side is moved by a share of the box's own size. The shares are medians, so that a false box among the pairs
moves nothing; docs/annotators.md says how few trusted boxes suffice.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes

# With fewer pairs the map was at times worse than none.
LEAST_PAIRS = 5


def learn(drawn: ArrayLike, wanted: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Learns where the sides of wanted boxes lie beside those that an annotator drew.

    Args:
        drawn: The annotator's boxes in pixels, shape (N, 4); NaN where there is none.
        wanted: Boxes of the same images in the wanted convention, shape (N, 4); NaN where there is none.

    Returns:
        For each side its shift relative to the drawn box's width (x) or height (y), shape (4,), all 0 where fewer than
        `LEAST_PAIRS` boxes are on the face of the wanted one; and the number of these pairs.
    """
    box, target = np.asarray(drawn, np.float64), np.asarray(wanted, np.float64)
    same = boxes.iou(box, target) > boxes.SAME_FACE
    pairs = int(same.sum())
    if pairs < LEAST_PAIRS:
        return np.zeros(4), pairs
    return np.asarray(np.median((target[same] - box[same]) / _size(box[same]), axis=0)), pairs


def apply(drawn: ArrayLike, shifts: NDArray[np.float64], width: ArrayLike, height: ArrayLike) -> boxes.Boxes:
    """Moves the sides of boxes as `learn` found.

    Args:
        drawn: Boxes in pixels, shape (N, 4); NaN where there is none.
        shifts: Shape (4,).
        width: Widths of the images, to which the boxes are cut.
        height: Heights of the images.

    Returns:
        Boxes in pixels, shape (N, 4); one that would not be a box any more stays as it is.
    """
    box = np.asarray(drawn, np.float64)
    if not np.any(shifts):
        return box
    moved = boxes.clip(box + shifts * _size(box), width, height)
    return np.where(boxes.is_box(moved)[:, None], moved, box)


def _size(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tile(box[:, 2:] - box[:, :2], 2)
