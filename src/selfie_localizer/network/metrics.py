"""What is reported of each epoch."""

from typing import Any

import keras
from keras import ops

from selfie_localizer.network import boxes_ops

Tensor = Any


@keras.saving.register_keras_serializable(package="selfie_localizer")
class MeanIoU(keras.metrics.Mean):
    """Mean IoU of the predicted boxes with the true ones over all images seen since the last reset, in 0..1.

    Images without a face, whose true box has no area, do not count.
    """

    def __init__(self, name: str = "iou", dtype: Any = "float32") -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        """Adds a batch: `y_true` (B, 4), `y_pred` (B, 4 or more) with the box in front."""
        faces = ops.cast(boxes_ops.has_area(y_true), "float32")
        weight = faces if sample_weight is None else faces * ops.cast(sample_weight, "float32")
        super().update_state(boxes_ops.iou(y_true, ops.convert_to_tensor(y_pred)[..., :4]), sample_weight=weight)
