"""The layers that Keras lacks; none has weights, all compute in float32 whatever the precision of the rest."""

import math
from typing import Any

import keras
from keras import ops

from selfie_localizer.network import boxes_ops

Tensor = Any
Shape = tuple[int | None, ...]

# A new network answers with a box of this half side in the middle of the image: about the mean selfie.
FIRST_HALF_SIDE = 0.22
# Its inverse under softplus, the bias of whatever predicts a distance relative to the image.
FIRST_DISTANCE = math.log(math.expm1(FIRST_HALF_SIDE))
# Cells that a distance of 1 is as long as: an image of 128 px at stride 16.
UNIT = 8
# From 0.1 to 0.4 all do as well; see docs/quality.md.
SAME_FACE = 0.3


@keras.saving.register_keras_serializable(package="selfie_localizer")
class ResizeLike(keras.layers.Layer):
    """Resizes a feature map to the height and width of another by repeating its nearest cells.

    Unlike `UpSampling2D` it suits sizes that are no whole multiples, such as 19 and 10 cells of a 300 px image.

    Call with `[features (B, h, w, C), like (B, H, W, D)]`; returns (B, H, W, C) in the dtype of `features`.
    """

    def call(self, inputs: list[Tensor]) -> Tensor:
        """See the class."""
        features, like = inputs
        rows, columns = (self._nearest(ops.shape(features)[axis], ops.shape(like)[axis]) for axis in (1, 2))
        # Products with matrices of 0 and 1: unlike gathering they sum their gradients in the same order every time.
        return ops.einsum("Hh,bhwc,Ww->bHWc", rows, features, columns)

    def _nearest(self, old: Tensor, new: Tensor) -> Tensor:
        """Returns a matrix (new, old) with a 1 where an old cell is the nearest to a new one."""
        centres = (ops.arange(new, dtype="float32") + 0.5) * (ops.cast(old, "float32") / ops.cast(new, "float32"))
        nearest = ops.equal(ops.floor(centres)[:, None], ops.arange(old, dtype="float32")[None])
        return ops.cast(nearest, self.compute_dtype)

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """See the class."""
        features, like = input_shape
        return (features[0], like[1], like[2], features[3])


def cell_centres(height: Tensor, width: Tensor) -> Tensor:
    """Returns where the cells of a feature map have their centres, `x, y` relative to the image, float32 (h * w, 2)."""
    x = (ops.arange(width, dtype="float32") + 0.5) / ops.cast(width, "float32")
    y = (ops.arange(height, dtype="float32") + 0.5) / ops.cast(height, "float32")
    return ops.reshape(ops.stack(ops.meshgrid(x, y), axis=-1), (-1, 2))


def cell_boxes(distances: Tensor, unit: int | None) -> Tensor:
    """Returns the box that each cell proposes: its centre minus and plus four distances above 0.

    Args:
        distances: Before their softplus, (B, h, w, 4): left, top, right, bottom.
        unit: Cells that a distance of 1 is as long as; None are all of the map.

    Returns:
        `x1, y1, x2, y2` relative to the image, float32 (B, h * w, 4).
    """
    height, width = ops.shape(distances)[1:3]
    centres = cell_centres(height, width)
    signs = ops.convert_to_tensor([-1.0, -1.0, 1.0, 1.0], dtype="float32")
    reach = ops.softplus(ops.reshape(ops.cast(distances, "float32"), (-1, height * width, 4)))
    if unit:
        sides = ops.cast(ops.stack([width, height, width, height]), "float32")
        reach = reach * (unit / sides)
    return ops.concatenate([centres, centres], axis=-1)[None] + signs * reach


@keras.saving.register_keras_serializable(package="selfie_localizer")
class AttentionBox(keras.layers.Layer):
    """Averages the boxes that the cells of a feature map propose, weighted by a softmax over the cells.

    Each cell proposes its own centre minus and plus four distances above 0, so that any average is a box in order;
    nothing but the cell's centre knows where the cell is, so that a shifted face shifts the box with it. Distances are
    measured in cells, so that what was learned at one size of the image holds at another.

    Of two faces the average would lie between them. So outside of training a proposal that overlaps with that of the
    most attended cell by an IoU below `SAME_FACE` counts for less, down to nothing where they are apart.

    Args:
        unit: Cells that a distance of 1 is as long as; None are all of the map, as in models that were saved before
            there was a unit.
        kwargs: As in Keras.

    Call with `[distances (B, h, w, 4), logits (B, h, w, 1), features (B, h, w, C)]`: distances before their softplus;
    left, top, right, bottom. Returns, in float32, the box (B, 4), `x1, y1, x2, y2` relative to the image, and the
    features (B, C) averaged with the same weights.
    """

    def __init__(self, unit: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.unit = unit

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "unit": self.unit}

    def call(self, inputs: list[Tensor], training: bool | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        distances, logits, features = inputs
        height, width = ops.shape(distances)[1:3]
        proposals = cell_boxes(distances, self.unit)
        weights = ops.softmax(ops.reshape(logits, (-1, height * width, 1)), axis=1)
        if not training:
            most = ops.cast(ops.equal(weights, ops.max(weights, axis=1, keepdims=True)), "float32")
            peak = ops.sum(most * proposals, axis=1, keepdims=True) / ops.sum(most, axis=1, keepdims=True)
            weights = weights * ops.minimum(boxes_ops.iou(proposals, peak)[..., None] / SAME_FACE, 1.0)
            weights = weights / ops.sum(weights, axis=1, keepdims=True)
        box = ops.sum(weights * proposals, axis=1)
        cells = ops.reshape(ops.cast(features, "float32"), (-1, height * width, features.shape[-1]))
        return box, ops.sum(weights * cells, axis=1)

    def compute_output_shape(self, input_shape: list[Shape]) -> tuple[Shape, Shape]:
        """See the class."""
        features = input_shape[2]
        return (features[0], 4), (features[0], features[-1])


@keras.saving.register_keras_serializable(package="selfie_localizer")
class CentreSizeBox(keras.layers.Layer):
    """Turns four numbers into a box in order: its centre's offset from the image's, and its half sides.

    The centre is linear and the half sides pass a softplus, so that no value is out of reach and none has a
    vanishing gradient, as a sigmoid has towards its ends.

    Call with (B, 4); returns float32 (B, 4), `x1, y1, x2, y2` relative to the image.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        centre, half = 0.5 + inputs[..., :2], ops.softplus(inputs[..., 2:] + FIRST_DISTANCE)
        return ops.concatenate([centre - half, centre + half], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """See the class."""
        return input_shape


@keras.saving.register_keras_serializable(package="selfie_localizer")
class WithCells(keras.layers.Layer):
    """Puts what each cell of the attention says behind the localizer's own answer, for a loss that trains each cell.

    Call with `[answer (B, 5), distances (B, h, w, 4), logits (B, h, w, 1)]`; returns float32 (B, 5 + 5 h w): the
    answer, then for each cell the box that it proposes and its logit. `unit` is as in `AttentionBox`.
    """

    def __init__(self, unit: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.unit = unit

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "unit": self.unit}

    def call(self, inputs: list[Tensor]) -> Tensor:
        """See the class."""
        answer, distances, logits = inputs
        height, width = distances.shape[1:3]
        cells = ops.concatenate(
            [cell_boxes(distances, self.unit), ops.reshape(logits, (-1, height * width, 1))], axis=-1
        )
        return ops.concatenate([answer, ops.reshape(cells, (-1, 5 * height * width))], axis=-1)

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """See the class."""
        batch, height, width, _ = input_shape[1]
        cells = None if height is None or width is None else 5 + 5 * height * width
        return (batch, cells)
