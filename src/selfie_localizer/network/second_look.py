"""The second look: the network is asked again about a crop around its first answer, in which the face is larger.

The crop is a square of `SCALE` times the first box's longer side around its centre, so the face is not stretched
either. What lies outside the photo repeats its edge. The second answer takes the first one's place, score and all.

Where one of the two scores is low the face may be somewhere else, and small: then the network is shown five parts of
the photo, and looks again at what it is surest of. What comes of it is taken where it has a higher score.

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
# Of the same photos 3 % have a lower score. Their search raises the mean IoU by 0.006; a higher bound brings no more.
UNSURE = 0.4
# Side of a part of the photo, relative to the photo's; four are in the corners and one in the middle.
PART = 0.6
# A first box with a shorter side than this many pixels of the copy says nothing.
_LEAST_SIDE = 1.0

# x1, y1, x2, y2 in whole pixels, of shape (4,) or (N, 4); it may reach over the photo's edges.
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
    """Returns the last answers, float64, shape (B, 5), like the first: relative to the whole photo, not clipped.

    Where the first box is not finite, outside the photo or without any area, and where the second answer is not finite,
    the first one stays.

    Args:
        network: Takes RGB, uint8, (B, S, S, 3); returns float32 (B, 5): a box relative to the image and a score.
        answers: What it said of the whole photos, shape (B, 5).
        copies: The photos, see `copy_for`; uint8, shape (h, w, 3) each.
        image_size: S, in pixels.
    """
    found = _closer(network, answers, copies, image_size)
    for row in np.flatnonzero(np.minimum(answers[:, 4], found[:, 4]) < UNSURE).tolist():
        elsewhere = _surest_part(network, copies[row], image_size)
        closer = _closer(network, elsewhere[None], [copies[row]], image_size)[0]
        if closer[4] > found[row, 4]:
            found[row] = closer
    return found


def _closer(
    network: Network, answers: NDArray[np.floating], copies: Sequence[Pixels], image_size: int
) -> NDArray[np.float64]:
    """Returns what the network says of the windows around its answers, where there are any."""
    found = np.array(answers, np.float64)
    sizes = [copy.shape[1::-1] for copy in copies]
    around = [window(boxes.scale(row[:4], *size), *size) for row, size in zip(found, sizes, strict=True)]
    rows = [row for row, square in enumerate(around) if square is not None]
    if rows:
        windows = np.array([around[row] for row in rows])
        second = _answers(network, [copies[row] for row in rows], windows, image_size)
        finite = np.isfinite(second).all(axis=1)
        found[np.array(rows)[finite]] = second[finite]
    return found


def _surest_part(network: Network, copy: Pixels, image_size: int) -> NDArray[np.float64]:
    """Returns the answer with the highest score of those about parts of a photo, float64, shape (5,)."""
    windows = parts(*copy.shape[1::-1])
    said = _answers(network, [copy] * len(windows), windows, image_size)
    return said[np.argmax(np.nan_to_num(said[:, 4], nan=-1))]


def _answers(network: Network, copies: Sequence[Pixels], windows: Window, image_size: int) -> NDArray[np.float64]:
    """Returns what the network says of a window in each photo, relative to the whole photo, float64, shape (B, 5)."""
    crops = [crop(copy, frame, image_size) for copy, frame in zip(copies, windows, strict=True)]
    said = network(np.stack(crops)).astype(np.float64)
    width, height = np.array([copy.shape[1::-1] for copy in copies], np.float64).T
    said[:, :4] = boxes.scale(from_window(said[:, :4], windows), 1 / width, 1 / height)
    return said


def parts(width: int, height: int) -> Window:
    """Returns five windows of a photo, each `PART` as wide and as high, int64, shape (5, 4); all of it is in some."""
    sides = np.ceil(PART * np.array([width, height])).astype(np.int64)
    room = np.array([width, height]) - sides
    corners = np.array([[0, 0], [room[0], 0], [0, room[1]], room, room // 2])
    return np.concatenate([corners, corners + sides], axis=1)


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


def crop(pixels: Pixels, frame: Window, image_size: int) -> Pixels:
    """Returns what is in a window, resized to the network's square; outside the photo its edge is repeated.

    Args:
        pixels: The photo, RGB, uint8, shape (h, w, 3).
        frame: A window.
        image_size: Side of the network's square in pixels.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = frame.tolist()
    inside = pixels[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
    top, bottom, left, right = (max(side, 0) for side in (-y1, y2 - height, -x1, x2 - width))
    whole = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return resize(np.asarray(whole, dtype=np.uint8), image_size)


def from_window(relative: ArrayLike, square: ArrayLike) -> boxes.Boxes:
    """Returns boxes that are relative to their windows in pixels of the photo, shape (..., 4)."""
    frame = np.asarray(square, np.float64)
    corner, sides = frame[..., :2], frame[..., 2:] - frame[..., :2]
    return boxes.scale(relative, sides[..., 0], sides[..., 1]) + np.concatenate([corner, corner], axis=-1)
