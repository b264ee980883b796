"""The localizer: backbone, neck, vectorizer and head as one Keras model from pixels to a box with a score."""

import math
from typing import Any

import keras
from keras import layers as kl

from selfie_localizer import params
from selfie_localizer.errors import UsageError
from selfie_localizer.network import backbones, starter_weights
from selfie_localizer.network.layers import FIRST_HALF_SIDE, UNIT, AttentionBox, CentreSizeBox, ResizeLike, WithCells

Tensor = Any
BACKBONE = "backbone"


def build(backbone: params.Backbone, network: params.Network, image_size: int | None) -> keras.Model:
    """Builds a localizer under Keras' current precision policy and random seed.

    Args:
        backbone: Architecture and weights.
        network: What stands on it.
        image_size: Side of the square image in pixels; None takes any size, which `flatten` cannot.

    Returns:
        A functional model from RGB pixels, uint8, (B, S, S, 3), to float32 (B, 5): `x1, y1, x2, y2` relative to the
        image, in order, and a score in 0..1, the IoU it expects. A box may reach a little over the image's edge.
        Float images are cut down to whole numbers. It normalises by itself and holds no Lambda layer.

    Raises:
        UsageError: The parts do not fit together; one line says which.
        UserError: Pretrained weights cannot be fetched or read.
    """
    loaded = backbones.load(backbone)
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    # In float32, since a bfloat16 has too few digits for the offset.
    pixels = kl.Rescaling(loaded.scale, loaded.offset, dtype="float32", name="normalise")(image)
    features = backbones.features(loaded.backbone, network.vectorizer == "attention", image_size, BACKBONE)
    maps = features(pixels)
    *shallow, deep = maps if isinstance(maps, list | tuple) else (maps,)
    if network.neck == "conv":
        deep = _neck(deep, network.neck_filters)
    if network.vectorizer == "attention":
        box, vector = _attention(shallow[0], deep, network.head_width)
    else:
        box, vector = _pooled(deep, network)
    score = kl.Dense(1, activation="sigmoid", dtype="float32", name="head_score")(vector)
    output = kl.Concatenate(dtype="float32", name="box_and_score")([box, score])
    model = keras.Model(image, output, name="localizer")
    if backbone.weights == "starter":
        starter_weights.load(model, backbone.architecture)
    return model


def with_cells(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers that answers with each cell of its attention as well, see `WithCells`.

    For training only; what is saved and served is `model` itself.

    Args:
        model: As `build` returns it, with the attention vectorizer and an image size.
    """
    cells = [model.get_layer(name).output for name in ("head_distances", "head_attention")]
    unit = model.get_layer("head_box").unit
    return keras.Model(
        model.input, WithCells(unit, name="with_cells")([model.output, *cells]), name="localizer_with_cells"
    )


def freeze(model: keras.Model, frozen: bool = True, stride: int = 0) -> None:
    """Freezes or releases the backbone; compile the model afterwards.

    A frozen BatchNormalization uses its moving statistics and leaves them alone, also in training.

    Args:
        model: As `build` returns it.
        frozen: Whether the whole backbone is frozen.
        stride: Its layers with feature maps of at most this stride stay frozen in any case; 0 is none.
    """
    backbone = model.get_layer(BACKBONE)
    backbone.trainable = not frozen
    kept = [layer.name for layer in backbones.layers_up_to(backbone, stride)]
    # One by one, since Keras does not pass on to its layers what a model is already.
    for layer in backbone.layers:
        layer.trainable = not frozen and layer.name not in kept


def _neck(features: Tensor, filters: int) -> Tensor:
    """The article's extra convolution: 3 x 3, stride 2, ReLU, unpadded."""
    if any(side is not None and side < 3 for side in features.shape[1:3]):
        raise UsageError(
            f"neck: conv needs 3 x 3 cells and the backbone leaves {features.shape[1]} x {features.shape[2]}; "
            "set neck to none, or raise prepare.image_size"
        )
    return kl.Conv2D(filters, 3, strides=2, activation="relu", name="neck_conv")(features)


def _pooled(features: Tensor, network: params.Network) -> tuple[Tensor, Tensor]:
    """The article's vectorizers with its fully connected head; returns box (B, 4) and hidden vector (B, head_width)."""
    if network.vectorizer == "flatten":
        if None in features.shape[1:3]:
            raise UsageError("vectorizer: flatten needs a fixed image size; set vectorizer to gap or attention")
        vector = kl.Flatten(name="vectorizer_flatten")(features)
    else:
        vector = kl.GlobalAveragePooling2D(name="vectorizer_gap")(features)
    hidden = kl.Dense(network.head_width, activation="relu", name="head_dense")(vector)
    numbers = kl.Dense(4, kernel_initializer=_small(), dtype="float32", name="head_regression")(hidden)
    return CentreSizeBox(name="head_box")(numbers), hidden


def _attention(middle: Tensor, deep: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The attention vectorizer with its head; returns box (B, 4) and pooled features (B, width)."""
    deep = kl.Conv2D(width, 1, name="vectorizer_deep")(deep)
    middle = kl.Conv2D(width, 1, name="vectorizer_middle")(middle)
    deep = ResizeLike(name="vectorizer_resize")([deep, middle])
    x = kl.Add(name="vectorizer_add")([middle, deep])
    for index in (1, 2):
        x = kl.Conv2D(width, 3, padding="same", use_bias=False, name=f"vectorizer_conv{index}")(x)
        x = kl.BatchNormalization(momentum=0.9, name=f"vectorizer_norm{index}")(x)
        x = kl.Activation("relu", name=f"vectorizer_relu{index}")(x)
    # Where the size is open, the first box is that of an image of as many cells as the unit.
    half = FIRST_HALF_SIDE * (middle.shape[1] or UNIT) / UNIT
    first = keras.initializers.Constant(math.log(math.expm1(half)))
    distances = kl.Conv2D(
        4, 1, kernel_initializer=_small(), bias_initializer=first, dtype="float32", name="head_distances"
    )(x)
    logits = kl.Conv2D(1, 1, kernel_initializer=_small(), dtype="float32", name="head_attention")(x)
    return AttentionBox(UNIT, name="head_box")([distances, logits, x])


def _small() -> keras.initializers.Initializer:
    """Starts every image from the same box, whatever the backbone's random features say."""
    return keras.initializers.RandomNormal(stddev=0.01)
