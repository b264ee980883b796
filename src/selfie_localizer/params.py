"""`params.yaml` as frozen, typed objects: the only place that reads it.

Each object is one section of the file and documents its keys. Unknown keys, wrong types and values out of range
are refused with one line that names the key, what was given and what is allowed.
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from selfie_localizer.errors import UsageError

PARAMS = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Cascade = Literal["default", "alt", "alt2", "alt_tree", "profile"]


class Section(BaseModel):
    """A part of `params.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Photos(Section):
    """How much a photo may ask of the machine; what asks for more is refused before it is decoded.

    Attributes:
        max_bytes: Larger files are not read.
        max_pixels: Most pixels that decoding may hold at a time, each some 7 bytes. They are those of the whole image,
            but for a JPEG that is stored in one pass, which is shrunk while it is read.
        max_jpeg_pixels: Most pixels of a JPEG that is stored in one pass.
        max_scans: Most passes of a progressive JPEG.
        max_frames: Most pictures of an animation, of which only the first is decoded.
    """

    max_bytes: int = Field(default=50 * 2**20, ge=1)
    max_pixels: int = Field(default=80_000_000, ge=1)
    max_jpeg_pixels: int = Field(default=250_000_000, ge=1)
    max_scans: int = Field(default=32, ge=1)
    max_frames: int = Field(default=1_000, ge=1)


class Haar(Section):
    """OpenCV's Haar cascades.

    Attributes:
        smallest_face: Least side of a face, as a fraction of the image's shorter side.
        cascades: OpenCV's frontal or profile face cascades; the first that finds a face gives the box.
        scale_factor: Step between the sizes that are searched; smaller is slower and finds more.
        neighbours: Overlapping hits that a face needs; more is stricter.
        verify: What a face needs besides: `eye` (an eye in its upper 60 %), `cascade` (another cascade that agrees)
            or `none`.
    """

    smallest_face: float = Field(default=0.15, gt=0, le=1)
    cascades: tuple[Cascade, ...] = Field(default=("alt2",), min_length=1)
    scale_factor: float = Field(default=1.1, gt=1, le=2)
    neighbours: int = Field(default=3, ge=0, le=50)
    verify: Literal["none", "eye", "cascade"] = "cascade"


class Starter(Section):
    """The first model, learned from renders alone; it has no parameters."""


class Mtcnn(Section):
    """Three small neural networks, whose weights come with the package `mtcnn`.

    Attributes:
        smallest_face: Least side of a face, as a fraction of the image's shorter side.
        confidence: Least probability of a face.
    """

    smallest_face: float = Field(default=0.1, gt=0, le=1)
    confidence: float = Field(default=0.7, gt=0, le=1)


class Yunet(Section):
    """OpenCV's neural detector, whose weights OpenCV does not bring.

    Attributes:
        model: Its ONNX file, relative to the project.
        confidence: Least confidence of a face; the default is OpenCV's own.
        smallest_face: Least side of a face, as a fraction of the image's shorter side.
    """

    model: str = Field(min_length=1)
    confidence: float = Field(default=0.9, gt=0, le=1)
    smallest_face: float = Field(default=0.15, gt=0, le=1)


class RegistryVersion(Section):
    """A version of the registry, which is named by its number: `models:/selfie-localizer/3`; it has no parameters."""


ANNOTATORS: dict[str, type[Section]] = {"haar": Haar, "starter": Starter, "mtcnn": Mtcnn, "yunet": Yunet}
# What the name of a version of the registry begins with.
REGISTRY = "models:/"
# Packages add annotators of their own under this name; see `annotators.annotator`.
ENTRY_POINTS = "selfie_localizer.annotators"


class Annotate(Section):
    """Who is asked where the face is on each image.

    Attributes:
        annotators: Names, in the order of their rows, with the parameters of each. `models:/NAME/3` is a version of the
            registry, which is asked about photos that it was not trained on. Where `data/annotations.csv` exists,
            its boxes are taken, and annotators are asked about a few images only, to check them.
        boxes: Whether the boxes of the three tables in `data/` are meant on the image as it is `displayed`, or as it
            is `stored`, before its EXIF turn.
        check_boxes: Whether the pipeline stops where the boxes of one of these tables fit an annotator's only if their
            numbers mean something else, or where most of those of `data/annotations.csv` are on no face.
    """

    annotators: dict[str, SerializeAsAny[Section]] = Field(
        default_factory=lambda: {"haar": Haar(), "starter": Starter()}, min_length=1
    )
    boxes: Literal["displayed", "stored"] = "displayed"
    check_boxes: bool = True

    @field_validator("annotators", mode="before")
    @classmethod
    def _typed(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: _annotator(str(name), values) for name, values in given.items()}


def _annotator(name: str, values: Any) -> Section:
    """Returns the parameters of one annotator as an object of its own class."""
    section = RegistryVersion if name.startswith(REGISTRY) else ANNOTATORS.get(name)
    if section is RegistryVersion and not re.fullmatch(r"models:/[^/@:]+/[0-9]+", name):
        raise UsageError(
            f"annotate.annotators.{name}: not a version of the registry by its number, such as "
            "models:/selfie-localizer/3; an alias moves, and what it said would change with it"
        )
    if section is None:
        found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if name not in found:
            known = ", ".join(sorted({*ANNOTATORS, *found}))
            raise UsageError(f"unknown annotator annotate.annotators.{name}; there are: {known}")
        section = found[name].load().Parameters
    try:
        # `starter:` with nothing behind it is all defaults.
        return section.model_validate({} if values is None else values)
    except ValidationError as error:
        raise UsageError(_explain(error, ("annotate", "annotators", name), section)) from None


class Validate(Section):
    """Which rows are quarantined.

    Attributes:
        max_rejected: The pipeline stops when more than this share of the rows is rejected.
        smallest_face: Least square root of (box area / image area).
        largest_face: Greatest square root of (box area / image area).
        min_aspect: Least box width / height.
        max_aspect: Greatest box width / height.
        near_duplicate_bits: Images whose 64-bit perceptual hashes differ in at most this many bits are near duplicates.
    """

    max_rejected: Fraction = 0.2
    smallest_face: Fraction = 0.05
    largest_face: float = Field(default=1.0, gt=0, le=1)
    min_aspect: float = Field(default=0.4, gt=0, le=1)
    max_aspect: float = Field(default=1.6, ge=1, le=10)
    near_duplicate_bits: int = Field(default=4, ge=0, le=16)

    @model_validator(mode="after")
    def _check(self) -> "Validate":
        if self.smallest_face >= self.largest_face:
            raise ValueError("smallest_face must be below largest_face")
        return self


class Prepare(Section):
    """How images become arrays.

    Attributes:
        image_size: Side of the stored square in pixels.
    """

    image_size: int = Field(default=128, ge=32, le=1024)


class Label(Section):
    """How one label is made of what annotators say, and which split an image is in.

    Attributes:
        validation: Share of the images that early stopping and tuning judge on.
        test: Share of the images that nothing but the final evaluation sees.
        group: What falls into one split as a whole, besides near duplicates: `none`, the images of a `folder`, or those
            taken on one day (`time`, by their EXIF date). Images without a folder or a date stand alone.
        convention: `auto` moves the boxes of all annotators to where `data/trusted.csv` has them, or else to where the
            starter has them; `none` leaves them as drawn. The name of an annotator takes its boxes in the starter's
            place.
        same_face: Least IoU of two boxes, once moved, to be on one face.
        min_score: A box with a lower score neither stands alone nor contradicts another.
        disagreement: Where annotators see different faces and no majority: the label is left out (`leave_out`), or is
            that of the annotator with the greatest weight (`heaviest`).
        weights: Weight of each annotator in the mean of the boxes on one face; one that is not listed has 0.5.
            Those of the defaults were measured: the more an annotator's sides scatter, the less it weighs.
    """

    validation: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    group: Literal["none", "folder", "time"] = "none"
    convention: str = "auto"
    same_face: Fraction = 0.4
    min_score: Fraction = 0.5
    disagreement: Literal["leave_out", "heaviest"] = "leave_out"
    weights: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: {"haar": 0.1, "mtcnn": 1.0, "starter": 0.5}
    )


class Backbone(Section):
    """One row of `backbones`; its key in the file is the name that every stage and run carries.

    Attributes:
        architecture: `resnet18`, `resnet50`, `vgg11`, `vgg13`, `vgg16`, or the name of another KerasHub backbone class
            such as `DenseNetBackbone`. Empty where `weights` is a preset, which knows its own.
        arguments: Constructor arguments of a class named by `architecture`; the short names need none.
        weights: `none` (random), `starter` (learned from renders, for the whole localizer), `imagenet`, a KerasHub
            preset handle such as `hf://...`, or a local preset folder.
    """

    architecture: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str = Field(default="none", min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Backbone":
        if not self.architecture and self.weights in ("none", "starter", "imagenet"):
            raise ValueError(f"weights: {self.weights} needs an architecture, such as resnet18")
        return self


class Network(Section):
    """What stands on the backbone.

    Attributes:
        neck: `none`, or `conv`: the article's extra 3 x 3 convolution of stride 2.
        neck_filters: Channels of that convolution.
        vectorizer: `attention`, or the article's `gap` (global average pooling) or `flatten`.
        head_width: Units of the hidden Dense layer, or the channels of the attention vectorizer's convolutions.
    """

    neck: Literal["none", "conv"] = "none"
    neck_filters: int = Field(default=1024, ge=8, le=4096)
    vectorizer: Literal["attention", "gap", "flatten"] = "attention"
    head_width: int = Field(default=128, ge=8, le=4096)


class Augment(Section):
    """Random changes of a training image; 0 turns one off. The box follows to the pixel and is never lost.

    Attributes:
        zoom: Least and greatest side of the window that is cut out, relative to the image; above 1 zooms out.
        aspect: Greatest factor by which the window is stretched, as log(width / height).
        shift: Greatest shift of the window, relative to the image.
        flip: Probability of a left-right flip.
        brightness: Greatest change, relative to the full range.
        contrast: Greatest relative change.
        saturation: Greatest relative change.
        hue: Greatest rotation, in turns.
        grey: Probability of a grey image.
        rotate: Greatest turn, in degrees; the box is that of the turned ellipse that filled the old one.
        blur: Greatest share of a 3 x 3 mean that is mixed in; a third of the images is sharpened instead.
        cutout: Probability that a rectangle is covered.
        collage: Probability that another photo's face stands beside it; the larger of the two is the wanted one.
        closeup: Probability of a window of 1.3 to 2.6 times the face's longer side around it, as a second look sees it.
    """

    zoom: tuple[Annotated[float, Field(ge=0.2, le=3)], Annotated[float, Field(ge=0.2, le=3)]] = (0.6, 1.3)
    aspect: float = Field(default=0.2, ge=0, le=1)
    shift: Fraction = 0.2
    flip: Fraction = 0.5
    brightness: Fraction = 0.2
    contrast: Fraction = 0.3
    saturation: Fraction = 0.4
    hue: float = Field(default=0.04, ge=0, le=0.5)
    grey: Fraction = 0.1
    rotate: float = Field(default=0, ge=0, le=45)
    blur: Fraction = 0.0
    cutout: Fraction = 0.0
    collage: Fraction = 0.0
    closeup: Fraction = 0.2

    @model_validator(mode="after")
    def _check(self) -> "Augment":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom must be [least, greatest]")
        return self


class Train(Section):
    """How a localizer is fitted.

    Attributes:
        epochs: Passes over the training split, the frozen ones included.
        max_minutes: Cap on the time of fitting, for each backbone; 0 is none.
        batch_size: Images in a step; 0 chooses by the hardware.
        loss: What is minimised; `l1_ciou` is the sum of the L1 distance and the CIoU loss.
        dense_boxes: Weight of the same loss for each cell of the attention near the face's centre; 0 is none. Only the
            attention vectorizer has such cells.
        dense_attention: Weight of the loss that tells the attention to look there; 0 is none.
        optimizer: `adamw` or the article's `adam`.
        learning_rate: Peak of the schedule.
        schedule: `cosine` after a linear warm-up, or the article's `exponential` decay.
        warmup_epochs: Length of the warm-up of `cosine`.
        decay_steps: Steps after which `exponential` has multiplied the rate by `decay_rate`.
        decay_rate: See `decay_steps`.
        weight_decay: Of `adamw`.
        ema: Momentum of the moving average of the weights that is judged and kept; 0 is none.
        frozen_epochs: First epochs in which a pretrained backbone is not changed.
        frozen_stride: Layers of a pretrained backbone with feature maps of at most this stride are never changed; 0 is
            none. A step takes half the time with 8, and a long training becomes worse by it.
        patience: Epochs without a better validation IoU after which fitting stops; 0 is never.
        min_change: Least rise of the validation IoU that counts as better.
        keep_every_epoch: Keeps a checkpoint of each epoch, as the article does; else only the best is kept.
        precision: `auto` takes bfloat16 where the hardware has it, else float32.
    """

    epochs: int = Field(default=20, ge=1, le=10_000)
    max_minutes: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=0, ge=0, le=4096)
    loss: Literal["mse", "smooth_l1", "l1", "giou", "diou", "ciou", "l1_giou", "l1_ciou"] = "l1_ciou"
    dense_boxes: float = Field(default=1.0, ge=0, le=100)
    dense_attention: float = Field(default=0.5, ge=0, le=100)
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    schedule: Literal["cosine", "exponential"] = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0)
    decay_steps: int = Field(default=3600, ge=1)
    decay_rate: float = Field(default=0.8, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    frozen_epochs: int = Field(default=0, ge=0)
    frozen_stride: Literal[0, 2, 4, 8, 16, 32] = 0
    patience: int = Field(default=0, ge=0)
    min_change: float = Field(default=0.001, ge=0, le=1)
    keep_every_epoch: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class Search(Section):
    """What values a tuned parameter may take: either a range, or a list of choices.

    Attributes:
        low: Least value of the range.
        high: Greatest value of the range.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values, in place of a range.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[float | int | str | bool, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Search":
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs low above 0")
        return self


class Tune(Section):
    """How learning rate, head width and whatever else is listed are searched, for each backbone.

    Attributes:
        trials: Number of trials; 0 takes the values of `params.yaml` as they are.
        max_minutes: No trial begins after so many minutes of trials, for each backbone; 0 is no cap.
        epochs: Length of a trial that is not pruned.
        fraction: Share of the training split that trials see.
        space: What is searched: dotted names of keys in `train`, `network` or `augment`.
    """

    trials: int = Field(default=0, ge=0, le=10_000)
    max_minutes: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=4, ge=1)
    fraction: float = Field(default=1.0, gt=0, le=1)
    space: dict[str, Search] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Tune":
        tunable = [
            f"{name}.{key}"
            for name, section in (("train", Train), ("network", Network), ("augment", Augment))
            for key in section.model_fields
        ]
        for name in self.space:
            if name not in tunable:
                raise ValueError(f"{name} cannot be tuned; choose from {', '.join(tunable)}")
        return self


class Serving(Section):
    """What of a trained localizer is evaluated, registered and served.

    Attributes:
        form: `litert_int8`, weights of 8 bits in LiteRT, three times as fast and a quarter as large; `onnx`, float32 in
            ONNX Runtime; or `auto`, the first where its boxes stay within `max_shift_px` and LiteRT is installed, else
            the second.
        max_shift_px: How far a box may lie from that of the float32 network, in pixels of the network's image, on all
            validation images but one in a thousand, rounded up. Where two faces are as good as each other, the least
            change of a network makes it choose the other one.
        second_look: Whether the network is asked once more about a crop around its first answer, which makes the box
            more exact and an answer twice as long.
    """

    form: Literal["auto", "onnx", "litert_int8"] = "auto"
    max_shift_px: float = Field(default=1.0, gt=0)
    second_look: bool = True


class Promote(Section):
    """What a candidate must show to become champion.

    Attributes:
        floor: Test IoU that it must exceed: a number, or that of a baseline on the same images: `best_baseline`, the
            best of those that are not part of the judge; `mean_box`, the mean box of the training labels; or
            `first_model`, the starter weights as they are. Where these are part of the judge, the mean box is taken.
        margin: The lower end of the 95 % interval of its gain in test IoU over the champion must exceed this.
        slice_images: Slices of the test split with fewer images than this are not compared.
        slice_drop: Greatest loss of mean IoU against the champion on any slice.
        latency_ms: Greatest median time to answer one image, in milliseconds; 0 is no cap.
        from_experiments: Whether `dvc exp run` may change the champion; else it stops at the challenger.
    """

    floor: Literal["best_baseline", "mean_box", "first_model"] | Fraction = "best_baseline"
    margin: Fraction = 0.0
    slice_images: int = Field(default=30, ge=1)
    slice_drop: Fraction = 0.03
    latency_ms: float = Field(default=0.0, ge=0)
    from_experiments: bool = False


class Params(Section):
    """The whole of `params.yaml`.

    Attributes:
        seed: Of everything random.
    """

    seed: int = Field(default=0, ge=0)
    photos: Photos = Photos()
    annotate: Annotate = Annotate()
    validation: Validate = Field(default=Validate(), alias="validate")
    label: Label = Label()
    prepare: Prepare = Prepare()
    backbones: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Backbone] = Field(default_factory=dict)
    network: Network = Network()
    augment: Augment = Augment()
    train: Train = Train()
    tune: Tune = Tune()
    serving: Serving = Serving()
    promote: Promote = Promote()

    @model_validator(mode="after")
    def _check(self) -> "Params":
        vectorizer, dense = self.network.vectorizer, (self.train.dense_boxes, self.train.dense_attention)
        reference = self.label.convention
        if reference not in ("auto", "none", *self.annotate.annotators):
            raise UsageError(
                f"label.convention is {reference}; use auto, none or one of " + ", ".join(self.annotate.annotators)
            )
        if vectorizer != "attention" and any(dense):
            raise UsageError(
                f"network.vectorizer is {vectorizer}, which has no cells to train: "
                "set train.dense_boxes and train.dense_attention to 0"
            )
        return self


def load(path: str | os.PathLike[str] = PARAMS) -> Params:
    """Reads and checks a `params.yaml`.

    Raises:
        UsageError: The file is missing, is not YAML, or holds what is not allowed; one line says which key.
    """
    return _load(Path(path).resolve(), str(path))


@lru_cache(maxsize=8)
def _load(path: Path, shown: str) -> Params:
    try:
        # Version 1.2, as DVC reads it: there 1e-3 is a number.
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no {shown} here: run this in the project's folder, the one with dvc.yaml") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"{shown}{where}: not valid YAML ({getattr(error, 'problem', None) or 'unreadable'})"
        ) from None
    return parse(content, shown)


def parse(content: Any, shown: str = "params.yaml") -> Params:
    """Checks the content of a `params.yaml`; `shown` names it in errors.

    Raises:
        UsageError: The content is not allowed; one line says which key, what was given and what is allowed.
    """
    try:
        return Params.model_validate(_tuples(content if content is not None else {}))
    except ValidationError as error:
        raise UsageError(f"{shown}: {_explain(error)}") from None
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from None


def _tuples(content: Any) -> Any:
    """Turns lists into tuples, which frozen objects need and strict checking does not do."""
    if isinstance(content, dict):
        return {key: _tuples(value) for key, value in content.items()}
    return tuple(_tuples(item) for item in content) if isinstance(content, list) else content


_NOW_ANNOTATORS = "annotate.annotators: {haar: {...}, starter: {}} takes its place; see CHANGELOG.md"
# Keys of earlier versions.
_GONE: dict[tuple[int | str, ...], str] = {("review",): _NOW_ANNOTATORS} | {
    ("annotate", key): _NOW_ANNOTATORS for key in ("method", "model", "confidence", *Haar.model_fields)
}


def _explain(error: ValidationError, above: tuple[str, ...] = (), section: type[Section] | None = None) -> str:
    """Returns the first problem in one line; `section` is where it was found, `above` the keys that lead there."""
    problem = error.errors()[0]
    loc = problem["loc"]
    key = ".".join(str(part) for part in (*above, *loc)) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if loc in _GONE and section is None:
        return f"{key} is gone: {_GONE[loc]}"
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_keys(loc[:-1], section or Params)) or "nothing"
        return f"unknown key {key}; allowed here: {known}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key} is {_shown(problem['input'])}: {message[0].lower() + message[1:]}{more}"


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(path: tuple[int | str, ...], section: Any) -> list[str]:
    for part in path:
        if get_origin(section) is dict:
            section = get_args(section)[1]
            continue
        fields = getattr(section, "model_fields", {})
        found = [field for name, field in fields.items() if part in (name, field.alias)]
        section = found[0].annotation if found else None
    return sorted(field.alias or name for name, field in getattr(section, "model_fields", {}).items())


def replace(whole: Params, values: Mapping[str, Any]) -> Params:
    """Returns `whole` with single values replaced, e.g. `{"train.learning_rate": 1e-4}`.

    Raises:
        UsageError: A dotted name is unknown or a value is not allowed.
    """
    content = whole.model_dump(by_alias=True)
    for name, value in values.items():
        *path, key = name.split(".")
        section = content
        for part in path:
            section = section.setdefault(part, {})
        section[key] = value
    return parse(content, "tuned values")
