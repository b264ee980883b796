"""KerasHub backbones: from random weights without a network, or from a preset with its own normalisation."""

import inspect
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from selfie_localizer import params, progress
from selfie_localizer.errors import UsageError, UserError

Tensor = Any
# Large enough for every stride up to 64 to come out exact.
PROBE_SIDE = 1024
HANDLES = ("hf://", "kaggle://", "gs://", "modelscope://")


@dataclass(frozen=True)
class Known:
    """What a short name stands for: a KerasHub class, its arguments and its ImageNet preset."""

    class_name: str
    preset: str
    arguments: dict[str, Any]


# The depths and widths of He et al., "Deep Residual Learning", CVPR 2016, table 1, and of Simonyan and Zisserman,
# "Very Deep Convolutional Networks", ICLR 2015, table 1 A, B and D.
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_strides": [1, 2, 2, 2],
}
_VGG = {"stackwise_num_filters": [64, 128, 256, 512, 512]}
KNOWN = {
    "resnet18": Known(
        "ResNetBackbone",
        "resnet_18_imagenet",
        {**_RESNET, "stackwise_num_blocks": [2, 2, 2, 2], "block_type": "basic_block"},
    ),
    "resnet50": Known(
        "ResNetBackbone",
        "resnet_50_imagenet",
        {**_RESNET, "stackwise_num_blocks": [3, 4, 6, 3], "block_type": "bottleneck_block"},
    ),
    "vgg11": Known("VGGBackbone", "vgg_11_imagenet", {**_VGG, "stackwise_num_repeats": [1, 1, 2, 2, 2]}),
    "vgg13": Known("VGGBackbone", "vgg_13_imagenet", {**_VGG, "stackwise_num_repeats": [2, 2, 2, 2, 2]}),
    "vgg16": Known("VGGBackbone", "vgg_16_imagenet", {**_VGG, "stackwise_num_repeats": [2, 2, 3, 3, 3]}),
}


@dataclass(frozen=True)
class Loaded:
    """A KerasHub backbone and how its images are normalised: pixel x `scale` + `offset`."""

    backbone: keras.Model
    scale: float | list[float] = 1 / 127.5
    offset: float | list[float] = -1.0


def load(backbone: params.Backbone) -> Loaded:
    """Builds a backbone from constructor arguments, or loads a preset with its weights and normalisation.

    Random weights, and presets that bring no normalisation, take pixels scaled to -1..1.

    Raises:
        UsageError: The architecture, its arguments or the preset are not what KerasHub knows.
        UserError: The weights cannot be fetched or read.
    """
    # Starter weights are of the whole localizer, which takes them when it is built.
    own = backbone.weights in ("none", "starter")
    loaded = Loaded(_construct(backbone)) if own else _pretrained(backbone)
    if not _is_map(loaded.backbone.input):
        raise UsageError(f"{type(loaded.backbone).__name__} takes no images; choose a convolutional backbone")
    return loaded


def _pretrained(backbone: params.Backbone) -> Loaded:
    preset = backbone.weights
    if preset == "imagenet":
        if backbone.architecture not in KNOWN:
            raise UsageError(
                f"weights: imagenet is known for {', '.join(KNOWN)} only; for {backbone.architecture} "
                "set weights to a preset handle, to a local preset folder, or to none"
            )
        preset = KNOWN[backbone.architecture].preset
    return _from_preset(preset, backbone)


def _class(architecture: str) -> type[keras.Model]:
    import keras_hub

    name = KNOWN[architecture].class_name if architecture in KNOWN else architecture
    found = getattr(keras_hub.models, name, None)
    if not (isinstance(found, type) and issubclass(found, keras_hub.models.Backbone)):
        raise UsageError(
            f"unknown architecture {architecture!r}; use {', '.join(KNOWN)}, "
            "or a KerasHub backbone class such as DenseNetBackbone"
        )
    return found


def _construct(backbone: params.Backbone) -> keras.Model:
    model_class = _class(backbone.architecture)
    known = KNOWN[backbone.architecture].arguments if backbone.architecture in KNOWN else {}
    # The constructors swallow what they do not know, so that a misspelt argument would go unnoticed.
    if unknown := set(backbone.arguments) - set(inspect.signature(model_class).parameters):
        raise UsageError(
            f"arguments of {backbone.architecture} do not fit: {model_class.__name__} has no {min(unknown)}; "
            f"see the constructor of keras_hub.models.{model_class.__name__}"
        )
    try:
        model = model_class(**{**known, **backbone.arguments})
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise UsageError(
            f"arguments of {backbone.architecture} do not fit: {_first_line(error)}; "
            f"see the constructor of keras_hub.models.{model_class.__name__}"
        ) from None
    if model_class.__name__ == "VGGBackbone":
        _start_as_he(model)
    return model


def _start_as_he(model: keras.Model) -> None:
    """Draws the convolutions' weights with a variance of 2 / inputs, so that ReLUs pass the signal on undiminished.

    KerasHub's VGG begins with Glorot's smaller variance and has no BatchNormalization to make up for it. From
    He et al., "Delving deep into rectifiers", ICCV 2015, equation 10.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            # An initializer gives the same numbers each time it is called.
            layer.kernel.assign(keras.initializers.HeNormal()(layer.kernel.shape, layer.kernel.dtype))


def _from_preset(preset: str, backbone: params.Backbone) -> Loaded:
    import keras_hub

    local = Path(preset).is_dir()
    builtin = preset in keras_hub.models.Backbone.presets
    if not local and not builtin and not preset.startswith(HANDLES):
        raise UsageError(
            f"weights: {preset} is no folder here and no preset handle; "
            "set weights to none, imagenet, a KerasHub handle or a local preset folder"
        )
    try:
        with _quiet_retries():
            model = keras_hub.models.Backbone.from_preset(preset, **backbone.arguments)
    except Exception as error:
        verb = "read" if local else "fetched"
        raise UserError(
            f"weights {preset} cannot be {verb} ({_first_line(error)}); "
            "set weights to none in params.yaml, or to a local preset folder"
        ) from None
    if backbone.architecture and not isinstance(model, _class(backbone.architecture)):
        raise UsageError(
            f"weights {preset} are of a {type(model).__name__}, not of {backbone.architecture}; "
            "leave architecture empty, or change one of them"
        )
    try:
        with _quiet_retries():
            converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception:
        progress.say(f"weights {preset} bring no normalisation of their own: pixels are scaled to -1..1")
        return Loaded(model)
    return Loaded(model, _plain(converter.scale, 1.0), _plain(converter.offset, 0.0))


def _plain(values: Any, default: float) -> float | list[float]:
    if values is None:
        return default
    return [float(value) for value in values] if hasattr(values, "__len__") else float(values)


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Silences the Hugging Face client, which otherwise reports each of its retries."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 160 else text[:157] + "..."


def _is_map(tensor: Any) -> bool:
    return isinstance(tensor, keras.KerasTensor) and len(tensor.shape) == 4


def features(backbone: keras.Model, pyramid: bool, image_size: int | None, name: str) -> keras.Model:
    """Returns the part of a backbone that leads to its feature maps.

    Args:
        backbone: What `load` gave.
        pyramid: Whether the maps at strides 16 and 32 are wanted, or only the one at the end.
        image_size: Side of the images; None is any.
        name: Of the returned model.

    Raises:
        UsageError: The backbone has no such maps, takes other images, or cannot be saved.
    """
    kind = type(backbone).__name__
    side = backbone.input.shape[1]
    if side not in (None, image_size):
        raise UsageError(
            f"{kind} takes images of side {side} only; set prepare.image_size to {side}, "
            "or image_shape in the backbone's arguments"
        )
    try:
        outputs = stride_16_and_32(backbone) if pyramid else (deepest(backbone),)
        part = keras.Model(backbone.input, outputs, name=name)
        part.compute_output_shape((1, image_size or PROBE_SIDE, image_size or PROBE_SIDE, 3))
    except ValueError as error:
        raise UsageError(f"{kind} cannot be built for images of side {image_size}: {_first_line(error)}") from None
    if kind not in {known.class_name for known in KNOWN.values()}:
        _check_saving(part, kind)
    return part


def _check_saving(part: keras.Model, kind: str) -> None:
    """Finds out before the training what would otherwise end it: some layers of KerasHub refuse their own config."""
    try:
        keras.Model.from_config(part.get_config())
    except (TypeError, ValueError, NotImplementedError):
        raise UsageError(
            f"{kind} of this KerasHub cannot be loaded again once it is saved; choose another backbone"
        ) from None


def deepest(backbone: keras.Model) -> Tensor:
    """Returns the feature map at the backbone's end, (None, h, w, C).

    Raises:
        UsageError: The backbone ends in something else.
    """
    output = backbone.output
    if not _is_map(output):
        raise UsageError(f"{type(backbone).__name__} does not end in one feature map; choose a convolutional backbone")
    return output


def stride_16_and_32(backbone: keras.Model) -> tuple[Tensor, Tensor]:
    """Returns the last feature maps at 1/16 and 1/32 of the image's side.

    They are the backbone's `pyramid_outputs` P4 and P5, or else the outputs of its last layers at these strides.

    Raises:
        UsageError: The backbone has none.
    """
    pyramid = getattr(backbone, "pyramid_outputs", {})
    if "P4" in pyramid and "P5" in pyramid:
        return pyramid["P4"], pyramid["P5"]
    layers = _strides(backbone)
    found = {}
    for stride in (16, 32):
        at_stride = [layer.output for layer, own in layers if own == stride]
        if not at_stride:
            raise UsageError(
                f"{type(backbone).__name__} has no layer at stride {stride}, which vectorizer: attention needs; "
                "set vectorizer to gap or flatten, or choose another backbone"
            )
        found[stride] = at_stride[-1]
    return found[16], found[32]


def layers_up_to(part: keras.Model, stride: int) -> list[keras.layers.Layer]:
    """Returns the layers of a backbone whose feature maps have at most a stride, a whole power of two.

    They are the same whatever the size of the images; layers that give no map are none of them.

    Args:
        part: What `features` returned.
        stride: Pixels between two cells of a map.
    """
    return [layer for layer, own in _strides(part) if own <= stride] if stride else []


def _strides(model: keras.Model) -> list[tuple[keras.layers.Layer, int]]:
    """Returns the layers that give a feature map with its stride, a power of two.

    Unpadded convolutions leave a few cells less than a whole fraction.
    """
    layers = [layer for layer in model.layers if len(layer._inbound_nodes) == 1 and _is_map(layer.output)]
    if not layers:
        return []
    side = model.input.shape[1] or PROBE_SIDE
    outputs = [layer.output for layer in layers]
    shapes = keras.Model(model.input, outputs).compute_output_shape((1, side, side, 3))
    return [(layer, 2 ** round(math.log2(side / shape[1]))) for layer, shape in zip(layers, shapes, strict=True)]
