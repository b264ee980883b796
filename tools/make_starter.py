"""Learns starter weights from renders alone and writes them with their card.

    python tools/make_starter.py [--backbone resnet18] [--count 10000] [--scenes 1000] [--seed 1000] [--epochs 10]

Renders selfies with exact boxes and scenes without anybody straight into a store, fits a localizer on them, and writes
`starter/<backbone>.npz` and `starter/<backbone>.json`. The store is kept in --work, and the training goes on after an
interruption. Seeds below 1000 are left to samples and tests, so that nothing that is judged was learned.
"""

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import selfie_renderer
from selfie_localizer import boxes, files, parallel, params
from selfie_localizer.dataset.store import NEGATIVE, Store, open_store, write_store
from selfie_localizer.photos.decode import square
from selfie_localizer.progress import Progress, say
from selfie_renderer.render import render_image, render_scene

# Larger than what the network sees, so that the photo app's blur and noise are as in a real selfie made smaller.
LONG_SIDE = 192
VALIDATION = 0.05
CHUNK = 16
# Renders hold few faces as small as in a photo of several people; and what is not like life should not be learned.
AUGMENT = '{"zoom": [0.6, 1.8], "rotate": 15, "blur": 0.5, "cutout": 0.2}'


def make_store(path: Path, count: int, scenes: int, seed: int, size: int) -> Store:
    """Renders into a store, all cores; the first images are the validation split."""
    code = (file.read_bytes() for file in sorted(Path(selfie_renderer.__file__).parent.glob("*.py")))
    wanted = files.digest(count, scenes, seed, size, *code)
    marker = path.parent / "made-by.txt"
    if path.exists() and marker.exists() and marker.read_text() == wanted:
        return open_store(path)
    pixels = np.empty((count + scenes, size, size, 3), np.uint8)
    rows: list[tuple] = []
    chunks = [range(start, min(start + CHUNK, count + scenes)) for start in range(0, count + scenes, CHUNK)]
    with Progress("render", count + scenes) as progress:
        for made in parallel.map_in_order(partial(_render, count, seed, size), chunks):
            for image, row in made:
                pixels[len(rows)] = image
                rows.append(row)
                progress.update()
    columns = ["image", *boxes.SIDES, "width", "height", "verdict"]
    table = pd.DataFrame(rows, columns=columns).assign(sha256="", annotators="renderer", spread=np.nan)
    table["split"] = ["validation" if row < VALIDATION * count else "train" for row in range(len(table))]

    def fill(file: Path) -> None:
        np.load(file, mmap_mode="r+")[:] = pixels

    write_store(path, table, size, fill)
    marker.write_text(wanted)
    return open_store(path)


def _render(count: int, seed: int, size: int, indices: range) -> list[tuple[NDArray[np.uint8], tuple]]:
    return list(_rendered(count, seed, size, indices))


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
    parser.add_argument("--seed", type=int, default=1000, help="of renders and training; at least 1000")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--augment", default=AUGMENT, help="changes of the section `augment`, as JSON (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=Path(".state/starter"), help="folder of unfinished work")
    parser.add_argument("--out", type=Path, default=Path("starter"))
    args = parser.parse_args()
    if args.seed < 1000:
        parser.error("seeds below 1000 are left to samples and tests")

    from selfie_localizer.network import starter_weights
    from selfie_localizer.training.calibrate import calibrate
    from selfie_localizer.training.fit import fit_backbone

    begin = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    store = make_store(args.work / "store", args.count, args.scenes, args.seed, args.size)
    minutes = (time.monotonic() - begin) / 60
    whole = params.load()
    settings = whole.model_copy(
        update={
            "backbones": {args.backbone: params.Backbone(architecture=args.backbone)},
            "train": whole.train.model_copy(update={"epochs": args.epochs, "learning_rate": args.learning_rate}),
        }
    )
    settings = params.replace(settings, {f"augment.{k}": v for k, v in json.loads(args.augment).items()})
    rows = np.sort(np.concatenate([store.indices("train"), store.negatives("train")]))
    state = args.work / "state" / files.digest(settings.model_dump(by_alias=True), store.digest)[:16]
    state.mkdir(parents=True, exist_ok=True)
    result = fit_backbone(settings, args.backbone, store, rows, store.indices("validation"), state=state)
    calibrate(result.model, store, store.indices("validation"), store.negatives("validation"))
    starter_weights.save(result.model, args.out / f"{args.backbone}.npz")
    card = {
        "architecture": args.backbone,
        "learned_from": f"{args.count:,} rendered selfies and {args.scenes:,} rendered scenes without anybody",
        "seed": args.seed,
        "image_size": args.size,
        "epochs": args.epochs,
        "rendering_minutes": round(minutes, 1),
        "training_minutes": round(result.minutes, 1),
        "iou_on_other_renders": round(result.val_iou, 4),
        "settings": settings.model_dump(include={"seed", "network", "augment", "train"}),
        "licence": "Apache-2.0, as the project; the head's geometry is CC0",
    }
    files.write_json(args.out / f"{args.backbone}.json", card)
    say(f"{args.out / args.backbone}.npz: IoU {result.val_iou:.3f} on renders that it was not trained on")


if __name__ == "__main__":
    main()
