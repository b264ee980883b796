"""Measures annotate, validate and prepare: speed beside a plain loop and beside the bound, and how they grow.

    python benchmarks/dataset.py [--images DIR] [--counts 1000 10000 46836] [--out DIR]

Makes as many different selfies as asked for from those in DIR by random crops, runs every stage in a process of its
own, and prints a table for people and one line of JSON for scripts. The machine may be noisy: compare figures of one
run with each other, not with those of another.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil

from selfie_localizer import params
from selfie_localizer.parallel import map_in_order, worker_count
from selfie_localizer.photos.decode import read, resize
from selfie_localizer.photos.listing import SUFFIXES
from selfie_localizer.progress import track

SIZE = 128
CHUNK = 64


def make_images(source: list[Path], folder: Path, count: int) -> None:
    """Fills a folder with `count` different images, each a random crop of one in `source`."""
    (folder / "data/images").mkdir(parents=True)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    work = partial(_crop_chunk, source, folder / "data/images")
    for _ in track(map_in_order(work, chunks), len(chunks), f"making {count:,} images", unit="chunks"):
        pass


def _crop_chunk(source: list[Path], folder: Path, chunk: range) -> None:
    for index in chunk:
        rng = np.random.default_rng(index)
        image = cv2.cvtColor(read(source[index % len(source)]).pixels, cv2.COLOR_RGB2BGR)
        height, width = image.shape[:2]
        top, left = rng.integers(0, height // 6 + 1), rng.integers(0, width // 6 + 1)
        bottom, right = height - rng.integers(0, height // 6 + 1), width - rng.integers(0, width // 6 + 1)
        cut = image[top:bottom, left:right]
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        cut = cv2.convertScaleAbs(cut, alpha=rng.uniform(0.8, 1.2), beta=rng.uniform(-20, 20))
        cv2.imwrite(str(folder / f"{index:06d}.jpg"), cut, [cv2.IMWRITE_JPEG_QUALITY, 88])


def decode_and_resize(paths: list[Path]) -> int:
    """The bound: nothing but what cannot be left out."""
    for path in paths:
        resize(read(path).pixels, SIZE)
    return len(paths)


def detect_all(paths: list[Path]) -> int:
    """The plain loop of `annotate`: the detector alone, one image after the other."""
    from selfie_localizer.annotators.haar import Haar

    cv2.setNumThreads(1)
    annotator = Haar("haar", params.Haar())
    for path in paths:
        annotator.locate(read(path).pixels)
    return len(paths)


def run_part(part: str, root: Path, workers: int) -> None:
    """Runs one part; called in a process of its own so that its memory can be measured."""
    paths = sorted((root / "data/images").iterdir())
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    if part == "annotate":
        from selfie_localizer.annotators.annotate import annotate

        annotate(params.Annotate(annotators={"haar": params.Haar()}), workers, root)
    elif part == "validate":
        from selfie_localizer.validation.validate import validate

        validate(params.Validate(max_rejected=1.0), root)
    elif part == "prepare":
        from selfie_localizer.dataset.prepare import prepare

        prepare(params.Prepare(image_size=SIZE), workers, root)
    elif part == "annotate-loop":
        detect_all(paths)
    elif part == "prepare-loop":
        cv2.setNumThreads(1)
        decode_and_resize(paths)
    elif part == "bound":
        list(map_in_order(decode_and_resize, chunks, workers))


def measure(part: str, root: Path, workers: int) -> dict[str, float]:
    """Runs a part and returns seconds and peak memory in MB, the sum over its processes sampled 20 times a second."""
    command = [sys.executable, __file__, "--part", part, "--root", str(root), "--workers", str(workers)]
    start = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            tree = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(_resident(one) for one in tree))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if process.wait() != 0:
        raise SystemExit(f"{part} failed; run it by hand: {' '.join(command)}")
    return {"seconds": time.monotonic() - start, "peak_mb": peak / 1e6}


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def speeds(root: Path, count: int) -> dict[str, float]:
    """Returns images/s of every part on 1 worker and on all cores."""
    cores = worker_count()
    parts: list[tuple[str, str, int]] = [
        ("annotate, plain loop", "annotate-loop", 1),
        ("annotate, 1 worker", "annotate", 1),
        (f"annotate, {cores} workers", "annotate", cores),
        ("validate", "validate", 1),
        ("prepare, plain loop", "prepare-loop", 1),
        ("prepare, 1 worker", "prepare", 1),
        (f"prepare, {cores} workers", "prepare", cores),
        (f"bound: decode + resize, {cores} workers", "bound", cores),
    ]
    found = {}
    for label, part, workers in parts:
        shutil.rmtree(root / ".state", ignore_errors=True)
        found[label] = count / measure(part, root, workers)["seconds"]
    return found


def growth(root: Path, count: int) -> dict[str, dict[str, float]]:
    """Returns seconds and peak memory of each stage, and of the bound, at one number of images."""
    return {part: measure(part, root, 0) for part in ("annotate", "validate", "prepare", "bound")}


def verdicts(table: dict[str, float], grown: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Returns what the figures come to: ratios within this run."""
    least, most = grown[min(grown, key=int)], grown[max(grown, key=int)]
    cores = worker_count()
    found = {
        f"annotate: {cores} workers / 1 worker": table[f"annotate, {cores} workers"] / table["annotate, 1 worker"],
        "prepare / bound, speed, at the most images": most["bound"]["seconds"] / most["prepare"]["seconds"],
    }
    for part in ("annotate", "validate", "prepare"):
        found[f"{part}: peak memory, most / least images"] = most[part]["peak_mb"] / least[part]["peak_mb"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path("data/images"), help="selfies to start from")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 46_836])
    parser.add_argument("--speed-count", type=int, default=2000, help="images for the table of speeds")
    parser.add_argument("--out", type=Path, help="scratch folder; by default a temporary one")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        run_part(args.part, args.root, args.workers)
        return
    source = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not source:
        raise SystemExit(f"{args.images}: no images here; run `dvc pull -r sample data.dvc` or give --images")
    with tempfile.TemporaryDirectory(dir=args.out) as scratch:
        result = _run(source, Path(scratch), args.speed_count, args.counts)
    print(json.dumps(result))


def _run(source: list[Path], scratch: Path, speed_count: int, counts: list[int]) -> dict[str, object]:
    speed_root = scratch / "speed"
    make_images(source, speed_root, speed_count)
    table = speeds(speed_root, speed_count)
    print(f"\nImages/s over {speed_count:,} images, process start included")
    for label, rate in table.items():
        print(f"  {label:40}{rate:10.1f}")
    shutil.rmtree(speed_root)
    grown: dict[str, dict[str, dict[str, float]]] = {}
    print("\n" + f"{'images':>10}{'stage':>12}{'seconds':>10}{'ms/image':>10}{'peak MB':>10}")
    for count in counts:
        root = scratch / str(count)
        make_images(source, root, count)
        grown[str(count)] = growth(root, count)
        for part, figures in grown[str(count)].items():
            each = figures["seconds"] / count * 1000
            print(f"{count:>10,}{part:>12}{figures['seconds']:>10.1f}{each:>10.2f}{figures['peak_mb']:>10.0f}")
        shutil.rmtree(root)
    ratios = verdicts(table, grown)
    print()
    for label, ratio in ratios.items():
        print(f"  {label:44}{ratio:6.2f}")
    return {"images_per_second": table, "growth": grown, "ratios": ratios}


if __name__ == "__main__":
    main()
