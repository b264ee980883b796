"""Measures how long one image takes in every form of the network, on one core, beside OpenCV's Haar cascades.

    python benchmarks/latency.py [--model models/resnet18 | --starter resnet18] [--images DIR] [--seconds 2]

Network only: pixels of its size in, five numbers out; Haar gets the decoded image. Speed does not depend on the
weights, so without a model a ResNet18 with random ones is measured, at 128 px. With a trained one, and a truth.csv in
DIR or beside it, the table also says what each form does to the boxes: by how many pixels of the network's image they
differ from Keras' in float32, and their IoU with the truth. Of DIR, the development half of `quality.py` is taken;
calibration takes other images of it than the comparison. The forms take turns, and the least median of all rounds
counts, in processor time, since a busy machine only ever adds to it; compare figures of one run only.
"""

import os

CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
if CORE is not None:
    # Before TensorFlow counts the cores.
    os.sched_setaffinity(0, {CORE})
os.environ["OMP_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import contextlib  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from selfie_localizer import boxes, params  # noqa: E402
from selfie_localizer.annotators import haar  # noqa: E402
from selfie_localizer.network import litert_file, onnx_file  # noqa: E402
from selfie_localizer.network.onnx_file import Network  # noqa: E402
from selfie_localizer.photos.decode import Pixels, read, resize  # noqa: E402
from selfie_localizer.photos.listing import SUFFIXES  # noqa: E402
from selfie_localizer.progress import say  # noqa: E402
from selfie_localizer.serving import network_formats  # noqa: E402

REAL_SELFIES = Path(__file__).parents[2] / "shared/real-selfies"
IMAGE_SIZE = 128
ROUNDS = 4
HAAR, PLAIN_HAAR = "Haar, as annotate uses it", "Haar, default cascade"


def build(folder: Path | None, starter: str | None) -> tuple[Any, int, params.Backbone, params.Network]:
    """Returns a Keras model in float32, its image size, and what it is made of."""
    from selfie_localizer.network import inference, localizer

    if folder is None:
        weights = "none" if starter is None else "starter"
        backbone, network = params.Backbone(architecture=starter or "resnet18", weights=weights), params.Network()
        return localizer.build(backbone, network, IMAGE_SIZE), IMAGE_SIZE, backbone, network
    meta = json.loads((folder / "meta.json").read_text())
    backbone = params.Backbone(**meta["settings"]["backbone"] | {"weights": "none"})
    network = params.Network(**meta["settings"]["network"])
    return inference.load(folder / "model.keras"), meta["image_size"], backbone, network


def keras_forms(
    model: Any, size: int, backbone: params.Backbone, network: params.Network
) -> Iterator[tuple[str, Network]]:
    import keras

    from selfie_localizer.network import localizer

    yield "Keras", lambda pixels: np.asarray(model.predict_on_batch(pixels))
    keras.config.set_dtype_policy("mixed_bfloat16")
    short = localizer.build(backbone.model_copy(update={"weights": "none"}), network, size)
    keras.config.set_dtype_policy("float32")
    short.set_weights(model.get_weights())
    yield "Keras, bfloat16", lambda pixels: np.asarray(short.predict_on_batch(pixels))


def tensorflow_forms(model: Any, size: int, work: Path) -> Iterator[tuple[str, Network]]:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    folder = work / "savedmodel"
    network_formats.write(model, "savedmodel", size, folder, "model")
    yield "SavedModel", network_formats.load_savedmodel(folder)
    loaded = tf.saved_model.load(str(folder))
    frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    yield "SavedModel, weights frozen", lambda pixels: frozen(tf.constant(pixels))[0].numpy()


def onnx_forms(model: Any, size: int, work: Path, calibration: list[Pixels]) -> Iterator[tuple[str, Network]]:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._pixels = iter(calibration)

        def get_next(self) -> dict[str, Pixels] | None:
            pixels = next(self._pixels, None)
            return None if pixels is None else {"image": pixels[None]}

    path, ready = work / "model.onnx", work / "ready.onnx"
    network_formats.write(model, "onnx", size, path, "model")
    yield "ONNX Runtime", onnx_file.load(path)
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    quantize_dynamic(str(ready), str(work / "dynamic.onnx"), weight_type=QuantType.QUInt8)
    yield "ONNX Runtime, int8 dynamic", onnx_file.load(work / "dynamic.onnx")
    convolutions = [node for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
    first, names = convolutions[0].name, [node.name for node in convolutions]
    # Behind the backbone's come two of the vectorizer's maps, its two own and the head's two.
    excluded = {"": [], ", head float": names[-6:], ", first and head float": [first, *names[-6:]]}
    for remark, nodes in excluded.items():
        path = work / f"static{len(nodes)}.onnx"
        quantize_static(
            str(ready),
            str(path),
            Reader(),
            per_channel=True,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=nodes,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        yield f"ONNX Runtime, int8 static{remark}", onnx_file.load(path)


def litert_forms(model: Any, size: int, work: Path, calibration: list[Pixels]) -> Iterator[tuple[str, Network]]:
    import keras
    import tensorflow as tf

    small = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    settings: dict[str, dict[str, Any]] = {
        "LiteRT": {},
        "LiteRT, float16 weights": small | {"target_spec": {"supported_types": [tf.float16]}},
        "LiteRT, int8 dynamic": small,
        "LiteRT, int8 static": small | {"representative_dataset": lambda: ([pixels[None]] for pixels in calibration)},
    }
    signature = [keras.InputSpec(shape=(None, size, size, 3), dtype="uint8", name="image")]
    for number, (name, options) in enumerate(settings.items()):
        path = work / f"{number}.tflite"
        model.export(str(path), format="litert", input_signature=signature, verbose=False, **options)
        yield name, litert_file.load(path, threads=1)


def median_ms(call: Callable[[Any], object], items: list[Any], seconds: float) -> float:
    """Returns the median time of a call in ms, repeated for so long and at least 5 times, after one for warmth."""
    turn = itertools.cycle(items)
    call(next(turn))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        item = next(turn)
        start = time.process_time()
        call(item)
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3


def sample(folder: Path, count: int) -> tuple[list[Pixels], boxes.Boxes | None]:
    """Returns decoded images spread over the development half of a folder, and their true boxes where all have one."""
    from halves import half_of

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if half_of(path.read_bytes()) == "development"]
    truth = next((path for path in (folder / "truth.csv", folder.parent / "truth.csv") if path.exists()), None)
    table = None
    if truth is not None:
        table = pd.read_csv(truth).drop_duplicates("image").set_index("image")
        paths = [path for path in paths if path.name in table.index]
    paths = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    found = None if table is None else table.loc[[path.name for path in paths], ["x1", "y1", "x2", "y2"]].to_numpy()
    return [read(path).pixels for path in paths], found


def haar_forms() -> dict[str, Callable[[Pixels], Any]]:
    annotator = haar.Haar("haar", params.Haar())
    plain = cv2.CascadeClassifier(cv2.data.haarcascades + haar.FACES["default"])  # type: ignore[attr-defined]

    def default(image: Pixels) -> boxes.Boxes | None:
        hits = plain.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 5)
        if len(hits) == 0:
            return None
        x, y, width, height = max(hits, key=lambda hit: hit[2] * hit[3])
        return np.array([x, y, x + width, y + height], dtype=np.float64)

    def as_annotate(image: Pixels) -> boxes.Boxes | None:
        found = annotator.locate(image)
        return None if found is None else found[0]

    return {HAAR: as_annotate, PLAIN_HAAR: default}


def measure(model_folder: Path | None, starter: str | None, folder: Path, count: int, seconds: float) -> dict[str, Any]:
    """Runs everything; times in ms, differences in pixels of the images."""
    selfies, truth = sample(folder, 2 * count)
    # Every second one is for calibration.
    calibration, selfies = selfies[1::2], selfies[::2]
    trained = model_folder is not None or starter is not None
    truth = truth[::2] if truth is not None and trained else None
    model, size, backbone, network = build(model_folder, starter)
    pixels = [resize(image, size)[None] for image in selfies]
    small = [resize(image, size) for image in calibration]
    sides = np.array([image.shape[1::-1] for image in selfies])
    with tempfile.TemporaryDirectory() as holder:
        work = Path(holder)
        networks: dict[str, Network] = {}
        for made in (
            keras_forms(model, size, backbone, network),
            tensorflow_forms(model, size, work),
            onnx_forms(model, size, work, small),
            litert_forms(model, size, work, small),
        ):
            for name, form in made:
                say(f"made: {name}")
                networks[name] = form
        rows: dict[str, dict[str, float]] = {}
        reference = None
        failed: dict[str, str] = {}
        for name, form in networks.items():
            try:
                answers = np.concatenate([form(one) for one in pixels])
            except RuntimeError as error:
                # In eight bits a small sum may become 0, and the interpreter stops at dividing by it.
                failed[name] = str(error).splitlines()[0]
                continue
            found = boxes.scale(answers[:, :4], sides[:, 0], sides[:, 1])
            reference = answers if reference is None else reference
            difference = np.abs(answers - reference)[:, :4].max(axis=1) * size
            rows[name] = {
                "median_px": float(np.median(difference)),
                "p99_px": float(np.quantile(difference, 0.99)),
                "max_px": float(difference.max()),
                "over_1_px": float((difference > 1).mean()),
            }
            if truth is not None:
                rows[name]["iou"] = float(boxes.iou(found, truth).mean())
        cascades = haar_forms()
        for name, detect in cascades.items():
            hits = [hit if hit is not None else np.zeros(4) for hit in map(detect, selfies)]
            rows[name] = {} if truth is None else {"iou": float(boxes.iou(np.array(hits), truth).mean())}
        times: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(ROUNDS):
            say(f"round {turn + 1} of {ROUNDS}")
            for name in rows:
                call, items = (cascades[name], selfies) if name in cascades else (networks[name], pixels)
                times[name].append(median_ms(call, items, seconds / ROUNDS))
    for name, row in rows.items():
        row["ms"] = min(times[name])
    heights, widths = zip(*(image.shape[:2] for image in selfies), strict=True)
    side = f"{statistics.median(widths):.0f} x {statistics.median(heights):.0f}"
    return {"image_size": size, "images": len(selfies), "median_image": side, "forms": rows, "failed": failed}


def table(result: dict[str, Any]) -> str:
    rows = result["forms"]
    lines = [
        f"one core, batch 1, {result['image_size']} px; {result['images']} images of {result['median_image']} (median)",
        "",
        f"{'form':<48} {'ms':>7} {'x Haar':>8} {'off Keras by, px: median':>25} {'99 %':>6} {'max':>6} "
        f"{'over 1 px':>10} {'IoU with truth':>15}",
    ]
    for name, row in rows.items():
        cells = [f"{row['ms']:7.2f}", f"{rows[HAAR]['ms'] / row['ms']:8.1f}"]
        for key, width, digits in (
            ("median_px", 25, 2),
            ("p99_px", 6, 2),
            ("max_px", 6, 2),
            ("over_1_px", 10, 4),
            ("iou", 15, 4),
        ):
            cells.append(f"{row[key]:{width}.{digits}f}" if key in row else " " * width)
        lines.append(f"{name:<48} " + " ".join(cells).rstrip())
    lines += [f"{name:<48} gives no answer: {reason}" for name, reason in result["failed"].items()]
    return "\n".join(lines)


@contextlib.contextmanager
def rendered() -> Iterator[Path]:
    """Gives a folder with rendered selfies, for machines without real ones."""
    from selfie_localizer.acquire.render import render

    with tempfile.TemporaryDirectory() as holder:
        render(100, 0, Path(holder) / "rendered", workers=1)
        yield Path(holder) / "rendered"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, help="models/BACKBONE; random weights by default")
    parser.add_argument("--starter", help="an architecture whose starter weights are in ./starter")
    parser.add_argument("--images", type=Path, help="folder with selfies, by default the real ones, else rendered ones")
    parser.add_argument("--count", type=int, default=50, help="images to measure with (default: 50)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each form (default: 2)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    default = REAL_SELFIES if REAL_SELFIES.exists() else None
    folder = args.images or default
    with contextlib.nullcontext(folder) if folder is not None else rendered() as used:
        if not any(path.suffix.lower() in SUFFIXES for path in used.rglob("*")):
            sys.exit(f"no images in {used}")
        result = measure(args.model, args.starter, used, args.count, args.seconds)
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
