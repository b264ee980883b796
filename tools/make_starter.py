"""Learns starter weights from renders alone and writes them with their card.

    python tools/make_starter.py --backbone resnet18 --count 10000 --scenes 1000 --phases 96:6 128:4

Renders selfies with exact boxes and scenes without anybody straight into a store, fits a localizer on them in phases of
growing size, then further heads on its backbone, and writes `starter/<backbone>.npz` and `starter/<backbone>.json`; of
the first model's backbone also `starter/<backbone>.onnx`, with which `predict` answers before anything was trained. The
store is kept in --work for other backbones, and everything goes on after an interruption. Seeds below 1000 are left to
samples and tests, so that nothing that is judged was learned.
"""

import argparse
import inspect
import json
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, dependencies, files, parallel, params
from selfie_localizer.dataset.store import NEGATIVE, Store, open_store, write_store
from selfie_localizer.photos.decode import square
from selfie_localizer.progress import Progress, say
from selfie_localizer.quiet import hush_tensorflow
from selfie_renderer.render import render_image, render_scene

# Larger than what the network sees, so that the photo app's blur and noise are as in a real selfie made smaller.
LONG_SIDE = 192
VALIDATION = 0.05
CHUNK = 64
# Renders hold few faces as small as in a photo of several people; and what is not like life should not be learned.
AUGMENT = (
    '{"zoom": [0.6, 1.8], "rotate": 15, "blur": 0.5, "cutout": 0.2, "collage": 0.2, "closeup": 0.2, '
    '"brightness": 0.25, "contrast": 0.4, "saturation": 0.5, "hue": 0.05, "grey": 0.15}'
)


def make_store(work: Path, count: int, scenes: int, seed: int, size: int) -> tuple[Store, float]:
    """Renders into a store, all cores; the first selfies and the first scenes are the validation split.

    Returns:
        The store, and how many minutes one core would have taken for it.
    """
    code = dependencies.code_digest("selfie_renderer.render"), inspect.getsource(_rendered), LONG_SIDE
    wanted = files.digest(count, scenes, seed, size, VALIDATION, *code)
    path, made = work / "store", work / "rendered.json"
    if path.exists() and made.exists() and (told := json.loads(made.read_text()))["made_by"] == wanted:
        return open_store(path), told["minutes"]
    parts = work / f"rendered-{wanted[:16]}"
    total = count + scenes
    chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    with Progress("render", total) as progress:
        for done in parallel.map_in_order(partial(_render, parts, count, seed, size), chunks):
            progress.update(done)
    rows: list[tuple] = []
    seconds = 0.0
    for chunk in chunks:
        with np.load(_part(parts, chunk)) as part:
            rows += json.loads(str(part["rows"]))
            seconds += float(part["seconds"])
    columns = ["image", *boxes.SIDES, "width", "height", "verdict"]
    table = pd.DataFrame(rows, columns=columns).assign(sha256="", annotators="renderer", spread=np.nan)
    judged = [*range(round(VALIDATION * count)), *range(count, count + round(VALIDATION * scenes))]
    table["split"] = np.where(table.index.isin(judged), "validation", "train")

    def fill(file: Path) -> None:
        pixels = np.load(file, mmap_mode="r+")
        for chunk in chunks:
            with np.load(_part(parts, chunk)) as part:
                pixels[chunk.start : chunk.stop] = part["images"]

    write_store(path, table, size, fill, made_by=wanted)
    files.write_json(made, {"made_by": wanted, "minutes": round(seconds / 60, 1)})
    shutil.rmtree(parts)
    return open_store(path), round(seconds / 60, 1)


def _part(folder: Path, indices: range) -> Path:
    return folder / f"{indices.start:07d}.npz"


def _render(folder: Path, count: int, seed: int, size: int, indices: range) -> int:
    """Renders images into a file of their own, unless an earlier process has done so; returns their number."""
    path = _part(folder, indices)
    if not path.exists():
        begin = time.monotonic()
        images, rows = zip(*_rendered(count, seed, size, indices), strict=True)
        seconds = time.monotonic() - begin
        with files.atomic_write(path) as temporary:
            np.savez(temporary, images=np.stack(images), rows=json.dumps(rows), seconds=seconds)
    return len(indices)


def _rendered(count: int, seed: int, size: int, indices: range) -> Iterator[tuple[NDArray[np.uint8], tuple]]:
    for index in indices:
        box: tuple[float, ...] = (np.nan,) * 4
        if index < count:
            image, box = render_image(seed, index, LONG_SIDE)
        else:
            image = render_scene(seed, index - count, LONG_SIDE)
        # JPEG leaves its traces before anything is made smaller, as in a real selfie.
        quality = int(np.random.default_rng([seed, index, 2]).integers(25, 95))
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        verdict = "trusted" if index < count else NEGATIVE
        row = (f"{index:06d}", *box, image.shape[1], image.shape[0], verdict)
        yield square(data, size)[0], row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="an architecture")
    parser.add_argument("--count", type=int, default=10_000, help="selfies to render")
    parser.add_argument("--scenes", type=int, default=1_000, help="scenes without anybody to render")
    parser.add_argument("--seed", type=int, default=1000, help="of the renders; at least 1000")
    parser.add_argument("--size", type=int, default=128, help="side of the rendered images in pixels")
    parser.add_argument(
        "--phases",
        nargs="+",
        default=["128:10"],
        metavar="SIZE:EPOCHS[:RATE]",
        help="side of the images, epochs and learning rate of each phase (default: %(default)s, rate 1e-3)",
    )
    parser.add_argument("--head-epochs", type=int, default=4, help="of the head of each further width; 0 makes none")
    parser.add_argument(
        "--augment", default=AUGMENT, help="changes of the section `augment`, as JSON (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=Path(".state/starter"), help="folder of unfinished work")
    parser.add_argument("--out", type=Path, default=Path("starter"))
    args = parser.parse_args()
    if args.seed < 1000:
        parser.error("seeds below 1000 are left to samples and tests")
    settings = params.load()
    settings = params.replace(
        settings.model_copy(update={"backbones": {args.backbone: params.Backbone(architecture=args.backbone)}}),
        {f"augment.{key}": value for key, value in json.loads(args.augment).items()},
    )

    hush_tensorflow()
    # It takes seconds to import; what is wrong above is said at once.
    from selfie_localizer.network import localizer, starter_network, starter_weights
    from selfie_localizer.training.hardware import CPU_BFLOAT16, cpu_flags
    from starter_training import Phase, train

    try:
        phases = [Phase.parse(text) for text in args.phases]
    except (TypeError, ValueError):
        parser.error(f"--phases {' '.join(args.phases)}: each is SIZE:EPOCHS or SIZE:EPOCHS:RATE, e.g. 96:6:5e-4")
    if max(phase.size for phase in phases) > args.size:
        parser.error(f"--phases: the images are rendered at {args.size} pixels; raise --size")
    args.work.mkdir(parents=True, exist_ok=True)
    store, rendering = make_store(args.work, args.count, args.scenes, args.seed, args.size)
    trained = train(settings, store, phases, args.head_epochs, args.work)
    model, *others = trained.models.values()
    starter_weights.save(model, args.out / f"{args.backbone}.npz", others)
    if args.backbone == starter_network.ARCHITECTURE:
        row, network = params.Backbone(architecture=args.backbone), settings.network
        first = localizer.build(row, network, starter_network.IMAGE_SIZE)
        # What the first model says is what a training begins with.
        starter_weights.load(first, args.backbone, path=args.out / f"{args.backbone}.npz")
        starter_network.write(first, args.out / starter_network.NETWORK.name)
    iou = {width: round(value, 4) for width, value in trained.iou.items()}
    flags = cpu_flags()
    card = {
        "architecture": args.backbone,
        "learned_from": f"{args.count:,} rendered selfies and {args.scenes:,} rendered scenes without anybody",
        "made_by": _command(args),
        "phases": [asdict(phase) for phase in phases],
        "head_epochs": args.head_epochs,
        "head_widths": list(iou),
        "iou_on_other_renders": iou,
        "rendering_minutes_of_one_core": rendering,
        "training_minutes": round(trained.minutes, 1),
        "cpu": {"cores": parallel.worker_count(), **{flag: flag in flags for flag in CPU_BFLOAT16}},
        "versions": {name: version(name) for name in ("keras", "keras-hub", "tensorflow", "opencv-python-headless")},
        "data_digest": store.digest,
        "settings": settings.model_dump(include={"seed", "network", "augment", "train"}),
        "licence": "Apache-2.0, as the project; the head's geometry is CC0",
    }
    files.write_json(args.out / f"{args.backbone}.json", card)
    shown = ", ".join(f"{value:.3f} with a head of width {width}" for width, value in iou.items())
    say(f"{args.out / args.backbone}.npz: IoU on renders that it was not trained on: {shown}")


def _command(args: argparse.Namespace) -> str:
    """Returns the command line that makes the same weights on the same kind of machine, all defaults written out."""
    words = ["python", "tools/make_starter.py"]
    for name, value in vars(args).items():
        if name not in ("work", "out"):
            values = value if isinstance(value, list) else [value]
            words += ["--" + name.replace("_", "-"), *map(str, values)]
    return shlex.join(words)


if __name__ == "__main__":
    main()
