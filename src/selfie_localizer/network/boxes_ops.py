"""Box arithmetic on tensors, for losses and metrics; `selfie_localizer.boxes` is the same in NumPy.

A box is `x1, y1, x2, y2`; the unit is the caller's. Every function takes two tensors of boxes of shape (..., 4) and
any float dtype, works elementwise, and returns float32 of shape (...). Gradients are finite everywhere, also for
boxes that are equal, apart or without area: where a quotient would be 0 / 0 it is 0, and so is its gradient.
"""

import math
from typing import Any

from keras import ops

Tensor = Any
# Least side in the quotient of width and height: a box thinner than this keeps a finite gradient.
LEAST_SIDE = 1e-3


def _float(boxes: Tensor) -> Tensor:
    # Areas are differences of products; bfloat16 has only eight bits for them.
    return ops.cast(boxes, "float32")


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    # Both branches of `where` are differentiated, so the denominator itself must be made safe.
    empty = ops.equal(denominator, 0)
    return ops.where(empty, 0.0, numerator / ops.where(empty, 1.0, denominator))


def _sides(boxes: Tensor) -> Tensor:
    return ops.relu(boxes[..., 2:] - boxes[..., :2])


def _area(boxes: Tensor) -> Tensor:
    return ops.prod(_sides(boxes), axis=-1)


def _enclosing(first: Tensor, second: Tensor) -> Tensor:
    corners = ops.minimum(first[..., :2], second[..., :2]), ops.maximum(first[..., 2:], second[..., 2:])
    return ops.concatenate(corners, axis=-1)


def _iou_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    corners = ops.maximum(first[..., :2], second[..., :2]), ops.minimum(first[..., 2:], second[..., 2:])
    shared = _area(ops.concatenate(corners, axis=-1))
    union = _area(first) + _area(second) - shared
    return _divide(shared, union), union


def has_area(boxes: Tensor) -> Tensor:
    """Returns where boxes are in order and hold an area, bool, shape (...)."""
    return ops.all(ops.greater(*ops.split(_float(boxes), 2, axis=-1)[::-1]), axis=-1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns intersection over union, in 0..1; boxes without any area have an IoU of 0, also with themselves."""
    return _iou_and_union(_float(first), _float(second))[0]


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Returns the generalised IoU, in -1..1: IoU - |C minus union| / |C|, where C is the least box around both.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
    """
    first, second = _float(first), _float(second)
    overlap, union = _iou_and_union(first, second)
    around = _area(_enclosing(first, second))
    return overlap - _divide(around - union, around)


def diou(first: Tensor, second: Tensor) -> Tensor:
    """Returns the distance IoU, in -1..1: IoU - d^2 / c^2.

    Here d is the distance of the centres and c the diagonal of the least box around both.
    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020, equations 6 and 7.
    """
    first, second = _float(first), _float(second)
    diagonal = ops.sum(ops.square(_sides(_enclosing(first, second))), axis=-1)
    shift = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    return _iou_and_union(first, second)[0] - _divide(ops.sum(ops.square(shift), axis=-1), diagonal)


def ciou(first: Tensor, second: Tensor) -> Tensor:
    """Returns the complete IoU: DIoU - a v, where v compares the aspect ratios.

    v = 4 / pi^2 (arctan(w1 / h1) - arctan(w2 / h2))^2, and a = v / (1 - IoU + v) carries no gradient.
    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020, equations 8 to 11.
    """
    first, second = _float(first), _float(second)
    angles = []
    for boxes in (first, second):
        sides = ops.maximum(_sides(boxes), LEAST_SIDE)
        angles.append(ops.arctan(sides[..., 0] / sides[..., 1]))
    v = 4 / math.pi**2 * ops.square(angles[0] - angles[1])
    weight = ops.stop_gradient(_divide(v, 1 - iou(first, second) + v))
    return diou(first, second) - weight * v
