"""Faces by a cascade of three small neural networks, whose weights come with the package `mtcnn`.

The detector is that of K. Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks" (IEEE Signal Processing Letters, 2016): P-Net looks at every place of an image pyramid and proposes boxes,
R-Net refuses most of them and corrects the others, O-Net has the last word on both.

Two things go beyond the paper, since they make boxes more exact at little cost: O-Net sees each crop and its mirror
image, whose answers are averaged, and it is asked again about its own boxes.

The package runs its networks on TensorFlow and is never imported: its weights are read from its files and run by ONNX
Runtime on one thread.
"""

import functools
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes, files, params
from selfie_localizer.annotators.annotator import Annotator, version_of
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import Pixels, shrink

Scores = NDArray[np.float64]

# Larger images are searched in a copy of this long side. At 3:4 a face of an eighth of the shorter side still has about
# the 48 pixels that O-Net sees; more pixels took longer and found no more.
SEARCHED_SIDE = 480
# P-Net sees a square of CELL pixels, every STRIDE pixels of each level of the pyramid.
CELL = 12
STRIDE = 2
# Each level's size in that of the one before.
PYRAMID = 0.709
# A box that is more probable than this goes on to the next network; the last threshold is the caller's.
CANDIDATE = 0.5
# Of two boxes that overlap more, the less probable goes: within a level, and from then on.
LEVEL_OVERLAP = 0.5
OVERLAP = 0.7
# A photo has some hundred proposals. This bounds time and memory where a picture looks like faces all over.
MOST_BOXES = 500
# What lies outside the image is mid-grey, which is nearly zero for the networks.
GREY = 128
INSTALL = "pip install --force-reinstall 'mtcnn>=1,<2'"


@dataclass(frozen=True)
class _Network:
    """A network's file and what its weights do not tell: the side of its input, and the pooling after each convolution.

    A pooling is its side and how it treats an axis that its stride of 2 does not fill; None is no pooling.
    """

    file: str
    side: int
    pools: tuple[tuple[int, str] | None, ...]


P_NET = _Network("pnet.lz4", CELL, ((2, "SAME_UPPER"), None, None))
R_NET = _Network("rnet.lz4", 24, ((3, "SAME_UPPER"), (3, "VALID"), None))
O_NET = _Network("onet.lz4", 48, ((3, "SAME_UPPER"), (3, "VALID"), (2, "SAME_UPPER"), None))


class Mtcnn(Annotator):
    """The largest face that the last network is confident of; the score is its probability."""

    Parameters = params.Mtcnn
    parameters: params.Mtcnn

    def version(self) -> str:
        return version_of(__name__, "numpy", "opencv-python-headless", data=version().encode())

    def prepare(self) -> None:
        check()

    def locate(self, pixels: Pixels) -> tuple[boxes.Boxes, float] | None:
        return detect(pixels, self.parameters.smallest_face, self.parameters.confidence)


def check() -> None:
    """Makes sure that the three networks can be used by running each once.

    Raises:
        UserError: The package `mtcnn` is not installed, or its weights are missing or damaged.
    """
    for network in (P_NET, R_NET, O_NET):
        _load(network)


def version() -> str:
    """Returns what the answers hang on besides the arguments: ONNX Runtime's version and a digest of the weights.

    Raises:
        UserError: The package `mtcnn` is not installed, or its weights are missing.
    """
    import onnxruntime

    return f"{onnxruntime.__version__} {files.digest(*(_read(network.file) for network in (P_NET, R_NET, O_NET)))}"


def detect(image: Pixels, smallest_face: float = 0.1, confidence: float = 0.7) -> tuple[boxes.Boxes, float] | None:
    """Finds the largest face that O-Net is confident of.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        smallest_face: Least longer side of a face, relative to the image's shorter side. A smaller one takes more time.
        confidence: Least probability of a face, 0..1.

    Returns:
        The box in pixels of `image`, not rounded, float64, shape (4,), and its probability, 0..1; None if there is no
        face.

    Raises:
        UserError: The package `mtcnn` is not installed, or its weights are missing or damaged.
    """
    height, width = image.shape[:2]
    small = shrink(image, SEARCHED_SIDE)
    least = smallest_face * min(small.shape[:2])
    found = _propose(small, least)
    found, _ = _refine(small, found, R_NET, CANDIDATE)
    found, _ = _refine(small, found, O_NET, min(CANDIDATE, confidence))
    found, probabilities = _refine(small, found, O_NET, confidence)
    sides = (found[:, 2:] - found[:, :2]).max(axis=1, initial=0)
    found = boxes.clip(boxes.scale(found, width / small.shape[1], height / small.shape[0]), width, height)
    areas = np.where(boxes.is_box(found) & (sides >= least), boxes.area(found), 0)
    if not areas.any():
        return None
    best = np.argmax(areas)
    return found[best], float(probabilities[best])


def _propose(image: Pixels, smallest: float) -> boxes.Boxes:
    """Returns what P-Net takes for faces of at least `smallest` pixels, in pixels of `image`, shape (N, 4)."""
    found, probabilities = [np.zeros((0, 4))], [np.zeros(0)]
    for width, height in _pyramid(image.shape[1], image.shape[0], smallest):
        level = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        offsets, probability = _load(P_NET)(np.asarray(level)[None])
        rows, columns = np.nonzero(probability[0, 0] > CANDIDATE)
        corners = np.stack([columns, rows], axis=1) * STRIDE
        cells = np.concatenate([corners, corners + CELL], axis=1)
        moved = _move(cells, offsets[0, :, rows, columns])
        sure = probability[0, 0, rows, columns].astype(np.float64)
        kept = _suppress(moved, sure, LEVEL_OVERLAP)
        found.append(boxes.scale(moved[kept], image.shape[1] / width, image.shape[0] / height))
        probabilities.append(sure[kept])
    together = np.concatenate(found)
    return together[_suppress(together, np.concatenate(probabilities), OVERLAP)]


def _pyramid(width: int, height: int, smallest: float) -> list[tuple[int, int]]:
    """Returns the sizes `width, height` in which P-Net sees faces of `smallest` pixels and more."""
    factor = CELL / max(smallest, CELL)
    sizes = []
    while min(width, height) * factor >= CELL:
        sizes.append((round(width * factor), round(height * factor)))
        factor *= PYRAMID
    return sizes


def _refine(image: Pixels, proposals: boxes.Boxes, network: _Network, confidence: float) -> tuple[boxes.Boxes, Scores]:
    """Has R-Net or O-Net look at each proposal.

    Returns:
        The corrected boxes that are more probable than `confidence`, in pixels of `image`, shape (N, 4), without those
        that mean the same face, and their probabilities, shape (N,); the most probable comes first.
    """
    if not len(proposals):
        return np.zeros((0, 4)), np.zeros(0)
    squares = _square(proposals)
    crops = _crop(image, squares, network.side)
    offsets, probability = _load(network)(crops)
    if network is O_NET:
        # R-Net's answers about mirror images, averaged as well, lost faces.
        mirrored, probability_mirrored = _load(network)(np.ascontiguousarray(crops[:, :, ::-1]))
        offsets = (offsets + mirrored[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]) / 2
        probability = (probability + probability_mirrored) / 2
    sure = probability[:, 0] > confidence
    found, probabilities = _move(squares[sure], offsets[sure]), probability[sure, 0].astype(np.float64)
    kept = _suppress(found, probabilities, OVERLAP, of_smaller=network is O_NET)
    return found[kept], probabilities[kept]


def _move(found: ArrayLike, offsets: ArrayLike) -> boxes.Boxes:
    """Returns boxes whose sides are moved by `offsets`, in units of the box's width and height, shape (N, 4)."""
    b = np.asarray(found, np.float64)
    return b + np.tile(b[:, 2:] - b[:, :2], 2) * np.asarray(offsets, np.float64)


def _square(found: boxes.Boxes) -> NDArray[np.int64]:
    """Returns squares in whole pixels around the centres of boxes, as large as their longer sides, shape (N, 4)."""
    sides = np.maximum(np.round((found[:, 2:] - found[:, :2]).max(axis=1, keepdims=True)), 1)
    corners = np.round(boxes.centre(found) - sides / 2)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.int64)


def _crop(image: Pixels, squares: NDArray[np.int64], side: int) -> Pixels:
    """Returns each square of `image`, grey outside of it, resized to `side` pixels, shape (N, side, side, 3)."""
    crops = np.empty((len(squares), side, side, 3), np.uint8)
    for index, (x1, y1, x2, y2) in enumerate(squares.tolist()):
        inside = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        if inside.shape[:2] != (y2 - y1, x2 - x1):
            whole = np.full((y2 - y1, x2 - x1, 3), GREY, np.uint8)
            top, left = max(-y1, 0), max(-x1, 0)
            whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
            inside = whole
        smaller = x2 - x1 > side
        interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        crops[index] = cv2.resize(inside, (side, side), interpolation=interpolation)
    return crops


def _suppress(found: boxes.Boxes, scores: Scores, overlap: float, of_smaller: bool = False) -> NDArray[np.intp]:
    """Keeps the most probable of boxes that overlap (greedy non-maximum suppression).

    Args:
        found: Boxes, shape (N, 4).
        scores: Their probabilities, shape (N,); of equal ones the first goes first.
        overlap: Most intersection over union of two boxes that stay.
        of_smaller: Count the intersection in shares of the smaller box instead, so that none lies inside another.

    Returns:
        The indices of those that stay, the most probable first; at most MOST_BOXES.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_BOXES]
    b = found[order]
    if of_smaller:
        smaller = np.minimum(boxes.area(b)[:, None], boxes.area(b))
        shared = boxes.area(boxes.intersection(b[:, None], b)) / np.maximum(smaller, np.finfo(float).tiny)
    else:
        shared = boxes.iou(b[:, None], b)
    over = shared > overlap
    stays = np.ones(len(b), bool)
    for index in range(len(b)):
        if stays[index]:
            stays[index + 1 :] &= ~over[index, index + 1 :]
    return order[stays]


@functools.cache
def _load(network: _Network) -> Any:
    """Loads a network, once in each process.

    Returns:
        A function from images, RGB, uint8, shape (N, height, width, 3), to the offsets of the boxes' sides, float32,
        shape (N, 4), or of P-Net (N, 4, rows, columns), and the probabilities of a face, (N, 1) or
        (N, 1, rows, columns).
    """
    import joblib
    import onnxruntime

    data = _read(network.file)
    try:
        options = onnxruntime.SessionOptions()
        # Several processes ask at once, one for each core.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Each size of image would leave memory behind: 100 MB more after a thousand photos.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        graph = _build(network, joblib.load(io.BytesIO(data)))
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        offsets, _ = session.run(None, {"pixels": np.zeros((1, network.side, network.side, 3), np.uint8)})
        if offsets.size != 4 or not np.isfinite(offsets).all():
            raise ValueError("not the weights of this network")
    # A damaged pickle raises nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"package mtcnn: {network.file} cannot be used ({reason}); install it anew: {INSTALL}"
        ) from None
    return lambda pixels: session.run(None, {"pixels": pixels})


def _read(name: str) -> bytes:
    """Reads a file of weights without importing the package."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the annotator mtcnn needs the package of this name, which is not installed: {INSTALL}")
    try:
        return (Path(next(iter(spec.submodule_search_locations))) / "assets/weights" / name).read_bytes()
    except OSError as error:
        raise UserError(
            f"package mtcnn: its weights {name} cannot be read ({error.strerror}); install it anew: {INSTALL}"
        ) from None


def _build(network: _Network, weights: list[NDArray[np.float32]]) -> bytes:
    """Builds a network in ONNX form.

    Args:
        network: Which of the three.
        weights: In Keras' order: kernel, bias and slopes of each hidden layer, then kernel and bias of each output. The
            first output are the offsets, the last one the scores of no face and face.
    """
    from onnx import NodeProto, TensorProto, helper, numpy_helper

    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    left = iter(weights)

    def add(kind: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        output = f"{kind}{len(nodes)}"
        names = []
        for one in inputs:
            if not isinstance(one, str):
                constants.append(numpy_helper.from_array(np.ascontiguousarray(one), f"constant{len(constants)}"))
                one = constants[-1].name
            names.append(one)
        nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def affine(inputs: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        if kernel.ndim == 2:
            return add("Gemm", inputs, kernel, bias)
        return add("Conv", inputs, kernel.transpose(3, 2, 0, 1), bias)

    last = add("Cast", "pixels", to=TensorProto.FLOAT)
    last = add("Transpose", last, perm=[0, 3, 1, 2])
    last = add("Sub", last, np.array(127.5, np.float32))
    last = add("Mul", last, np.array(1 / 128, np.float32))
    for pool in network.pools:
        last = affine(last, next(left), next(left))
        last = add("PRelu", last, next(left).reshape(-1, 1, 1))
        if pool:
            last = add("MaxPool", last, kernel_shape=[pool[0]] * 2, strides=[2, 2], auto_pad=pool[1])
    if network is not P_NET:
        # The dense layer's weights go by columns, then rows, then channels.
        last = add("Flatten", add("Transpose", last, perm=[0, 3, 2, 1]))
        last = affine(last, next(left), next(left))
        last = add("PRelu", last, next(left))
    outputs = list(left)
    kernel, bias = outputs[-2:]
    offsets = affine(last, *outputs[:2])
    # The softmax of two scores is the logistic function of their difference.
    probability = add("Sigmoid", affine(last, kernel[..., 1:] - kernel[..., :1], bias[1:] - bias[:1]))
    graph = helper.make_graph(
        nodes,
        network.file,
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (offsets, probability)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
