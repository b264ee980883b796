"""What training minimises: a box loss by name, and the score's distance from the IoU that the box reached."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from selfie_localizer.errors import UsageError
from selfie_localizer.network import boxes_ops
from selfie_localizer.network.layers import cell_centres

Tensor = Any
# Where smooth L1 turns from quadratic to linear. Boxes are relative, so 1 would leave it quadratic throughout.
SMOOTH_L1_BETA = 1 / 9
# Numbers of an answer: a box and its score.
ANSWER = 5


def mse(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean squared error over the four coordinates."""
    return ops.mean(ops.square(y_pred - y_true), axis=-1)


def smooth_l1(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Smooth L1, mean over the four coordinates: d^2 / (2 beta) where |d| < beta = 1/9, else |d| - beta / 2.

    Source: Girshick, "Fast R-CNN", ICCV 2015, equation 3; beta as in the code of Ren et al., "Faster R-CNN" (sigma 3).
    """
    distance = ops.abs(y_pred - y_true)
    near = ops.square(distance) / (2 * SMOOTH_L1_BETA)
    return ops.mean(ops.where(distance < SMOOTH_L1_BETA, near, distance - SMOOTH_L1_BETA / 2), axis=-1)


def l1(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """L1 distance: the sum of the four absolute differences, as in Carion et al., "DETR", ECCV 2020, section 3.1."""
    return ops.sum(ops.abs(y_pred - y_true), axis=-1)


def giou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi et al., CVPR 2019)."""
    return 1 - boxes_ops.giou(y_true, y_pred)


def diou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 - DIoU (Zheng et al., AAAI 2020)."""
    return 1 - boxes_ops.diou(y_true, y_pred)


def ciou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 - CIoU (Zheng et al., AAAI 2020)."""
    return 1 - boxes_ops.ciou(y_true, y_pred)


def l1_giou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """L1 distance + 1 - GIoU: the blend of DETR (Carion et al., ECCV 2020, section 3.1), with equal weights."""
    return l1(y_true, y_pred) + giou(y_true, y_pred)


def l1_ciou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """L1 distance + 1 - CIoU: the same blend with the aspect ratio in it."""
    return l1(y_true, y_pred) + ciou(y_true, y_pred)


BOX_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    loss.__name__: loss for loss in (mse, smooth_l1, l1, giou, diou, ciou, l1_giou, l1_ciou)
}


def dense(box_loss: Callable[[Tensor, Tensor], Tensor], y_true: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the losses of the cells of a square feature map, averaged by how near they are to the face's centre.

    A cell's share is the softmax over all cells of -2 |offset / half side|^2, the offset from the face's centre being
    measured in half widths and half heights of the face: what counts is about its inner half. That each cell near the
    centre learns the whole box is from Tian et al., "FCOS", ICCV 2019, section 3.1; the soft shares are ours.

    Args:
        box_loss: One of `BOX_LOSSES`.
        y_true: Boxes relative to the image, float32 (B, 4); where one has no area, the result means nothing.
        cells: What each cell proposes and its logit, float32 (B, N, 5), row by row.

    Returns:
        The box loss and the cross-entropy of the attention with the shares, float32 (B,) each.
    """
    side = math.isqrt(cells.shape[1])
    centre, half = (y_true[:, :2] + y_true[:, 2:]) / 2, (y_true[:, 2:] - y_true[:, :2]) / 2
    offset = (cell_centres(side, side)[None] - centre[:, None]) / ops.maximum(half, boxes_ops.LEAST_SIDE)[:, None]
    share = ops.softmax(-2 * ops.sum(ops.square(offset), axis=-1), axis=-1)
    of_boxes = ops.sum(share * box_loss(y_true[:, None], cells[..., :4]), axis=-1)
    return of_boxes, -ops.sum(share * ops.log_softmax(cells[..., 4], axis=-1), axis=-1)


@keras.saving.register_keras_serializable(package="selfie_localizer")
class LocalizerLoss(keras.losses.Loss):
    """Box loss + `score_weight` x (score - IoU)^2; an image without a face has no box loss and wants a score of 0.

    Where the network answers with the cells of its attention as well (`localizer.with_cells`), those near the face's
    centre are trained too, each on its own box and all on where to look; see `dense`.

    The IoU of the predicted box is a constant for the score: the score learns to expect it, and the box learns
    nothing from the score. The squared error is least at the expected IoU.
    Source of a head that predicts its own IoU: Jiang et al., "IoU-Net", ECCV 2018.

    Args:
        name: One of `BOX_LOSSES`.
        score_weight: Weight of the score's term, at least 0.
        dense_boxes: Weight of the box loss of the cells.
        dense_attention: Weight of the cross-entropy of the attention.
        reduction: As in Keras.
        dtype: As in Keras.

    Call with `y_true` (B, 4), boxes relative to the image, without any area where there is no face, and `y_pred`
    (B, 5), boxes and score, or (B, 5 + 5 N) with N cells, of any float dtype.

    Raises:
        UsageError: No loss has that name.
    """

    def __init__(
        self,
        name: str = "l1_ciou",
        score_weight: float = 0.25,
        dense_boxes: float = 0.0,
        dense_attention: float = 0.0,
        reduction: str = "sum_over_batch_size",
        dtype: Any = "float32",
    ) -> None:
        if name not in BOX_LOSSES:
            raise UsageError(f"unknown loss {name!r}; choose from {', '.join(BOX_LOSSES)}")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.score_weight = score_weight
        self.dense_boxes, self.dense_attention = dense_boxes, dense_attention

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the loss of each row, float32, shape (B,)."""
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        boxes, score = y_pred[..., :4], y_pred[..., 4]
        reached = ops.stop_gradient(boxes_ops.iou(y_true, boxes))
        box_loss = BOX_LOSSES[self.name](y_true, boxes)
        if y_pred.shape[-1] > ANSWER:
            cells = ops.reshape(y_pred[..., ANSWER:], (-1, (y_pred.shape[-1] - ANSWER) // 5, 5))
            of_boxes, of_attention = dense(BOX_LOSSES[self.name], y_true, cells)
            box_loss = box_loss + self.dense_boxes * of_boxes + self.dense_attention * of_attention
        box_loss = ops.where(boxes_ops.has_area(y_true), box_loss, 0.0)
        return box_loss + self.score_weight * ops.square(score - reached)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        weights = {key: getattr(self, key) for key in ("score_weight", "dense_boxes", "dense_attention")}
        return {**super().get_config(), **weights}
