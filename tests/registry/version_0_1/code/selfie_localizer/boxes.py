"""Box arithmetic in NumPy: the only place that knows it.

A box is `x1, y1, x2, y2` in pixels, origin top left, x2 and y2 exclusive, x1 < x2 and y1 < y2. Every function takes
arrays whose last axis has these four numbers and works on all leading axes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


def area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Returns the areas in square pixels, shape (...); a box whose corners are out of order has area 0."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.maximum(b[..., 2] - b[..., 0], 0) * np.maximum(b[..., 3] - b[..., 1], 0)


def intersection(first: ArrayLike, second: ArrayLike) -> Boxes:
    """Returns the overlap of boxes, elementwise with broadcasting, shape (..., 4); without one, its area is 0."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)


def iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Returns intersection over union, elementwise with broadcasting, shape (...), in 0..1.

    Boxes without any area have an IoU of 0, also with themselves. NaN coordinates give NaN.
    """
    shared = area(intersection(first, second))
    union = area(first) + area(second) - shared
    return np.where(union == 0, 0.0, shared / np.where(union == 0, 1.0, union))


def centre(boxes: ArrayLike) -> NDArray[np.float64]:
    """Returns the centres `x, y` in pixels, shape (..., 2)."""
    b = np.asarray(boxes, dtype=np.float64)
    return (b[..., :2] + b[..., 2:]) / 2


def clip(boxes: ArrayLike, width: ArrayLike, height: ArrayLike) -> Boxes:
    """Returns the boxes cut to images of `width` x `height` pixels, shape (..., 4)."""
    b = np.asarray(boxes, dtype=np.float64)
    limit = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1).astype(np.float64)
    return np.clip(b, 0, limit)


def scale(boxes: ArrayLike, x: ArrayLike, y: ArrayLike) -> Boxes:
    """Returns the boxes in an image resized by the factors `x` and `y`, shape (..., 4)."""
    factor = np.stack(np.broadcast_arrays(x, y, x, y), axis=-1).astype(np.float64)
    return np.asarray(boxes, dtype=np.float64) * factor


def is_box(boxes: ArrayLike) -> NDArray[np.bool_]:
    """Returns where the coordinates are finite and in order, shape (...)."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.isfinite(b).all(axis=-1) & (b[..., 0] < b[..., 2]) & (b[..., 1] < b[..., 3])
