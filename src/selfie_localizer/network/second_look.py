"""The second look: the network is asked again about a crop around its first answer, in which the face is larger.

The crop is a square of `SCALE` times the first box's longer side around its centre, so the face is not stretched
either. What lies outside the photo repeats its edge. The second answer takes the first one's place, score and all.

The module is copied into every served model, so it imports neither Keras nor TensorFlow.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes
from selfie_localizer.network.onnx_file import Network
from selfie_localizer.photos.decode import SEARCHED_SIDE, Pixels, resize, shrink

# Measured with the starter weights on real photos: from 1.4 to 2 the IoU is the same, above 2.2 it falls.
SCALE = 1.8
# A first box with a shorter side than this many pixels of the copy says nothing.
_LEAST_SIDE = 1.0

# x1, y1, x2, y2 of a square in whole pixels, which may reach over the photo's edges.
Window = NDArray[np.int64]


def copy_for(pixels: Pixels) -> Pixels:
    """Returns what a second look needs of a photo: a copy with a long side of at most 640 pixels.

    In it a face fills the network's square at 128 px without being enlarged from 11 % of the long side on, and a batch
    of copies takes little memory, however large the photos are.

    Args:
        pixels: RGB, uint8, shape (h, w, 3).
    """
    return shrink(pixels, SEARCHED_SIDE)


def look_again(
    network: Network, answers: NDArray[np.floating], copies: Sequence[Pixels], image_size: int
) -> NDArray[np.float64]:
    """Returns the second answers, float64, shape (B, 5), like the first: relative to the whole photo, not clipped.

    Where the first box is not finite, outside the photo or without any area, and where the second answer is not finite,
    the first one stays.

    Args:
        network: Takes RGB, uint8, (B, S, S, 3); returns float32 (B, 5): a box relative to the image and a score.
        answers: What it said of the whole photos, shape (B, 5).
        copies: The photos, see `copy_for`; uint8, shape (h, w, 3) each.
        image_size: S, in pixels.
    """
    found = np.array(answers, np.float64)
    sizes = [copy.shape[1::-1] for copy in copies]
    around = [window(boxes.scale(row[:4], *size), *size) for row, size in zip(found, sizes, strict=True)]
    rows = [row for row, square in enumerate(around) if square is not None]
    if not rows:
        return found
    windows = np.array([around[row] for row in rows])
    crops = [crop(copies[row], square, image_size) for row, square in zip(rows, windows, strict=True)]
    second = network(np.stack(crops)).astype(np.float64)
    width, height = np.array([sizes[row] for row in rows], np.float64).T
    second[:, :4] = boxes.scale(from_window(second[:, :4], windows), 1 / width, 1 / height)
    finite = np.isfinite(second).all(axis=1)
    found[np.array(rows)[finite]] = second[finite]
    return found


def window(box: ArrayLike, width: int, height: int) -> Window | None:
    """Returns the square that the second look sees; it holds the part of the box that lies in the photo.

    Args:
        box: In pixels, shape (4,).
        width: Of the photo, in pixels.
        height: Of the photo, in pixels.

    Returns:
        int64, shape (4,); or None where the box is not finite or less than a pixel of the photo wide or high.
    """
    inside = boxes.clip(box, width, height)
    sides = inside[2:] - inside[:2]
    # Also true for NaN.
    if not sides.min() >= _LEAST_SIDE:
        return None
    side = np.ceil(SCALE * sides.max())
    corner = np.round(boxes.centre(inside) - side / 2)
    return np.concatenate([corner, corner + side]).astype(np.int64)


def crop(pixels: Pixels, square: Window, image_size: int) -> Pixels:
    """Returns what is in a window, resized to the network's square; outside the photo its edge is repeated.

    Args:
        pixels: The photo, RGB, uint8, shape (h, w, 3).
        square: What `window` returned.
        image_size: Side of the network's square in pixels.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = square.tolist()
    inside = pixels[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
    top, bottom, left, right = (max(side, 0) for side in (-y1, y2 - height, -x1, x2 - width))
    whole = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return resize(np.asarray(whole, dtype=np.uint8), image_size)


def from_window(relative: ArrayLike, square: ArrayLike) -> boxes.Boxes:
    """Returns boxes that are relative to their windows in pixels of the photo, shape (..., 4)."""
    frame = np.asarray(square, np.float64)
    corner, sides = frame[..., :2], frame[..., 2:] - frame[..., :2]
    return boxes.scale(relative, sides[..., 0], sides[..., 1]) + np.concatenate([corner, corner], axis=-1)
