"""Renders selfies with exact boxes: `render` writes a folder of them, `render_image` returns one."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import parallel, progress
from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write
from selfie_localizer.synthetic import background, camera, shot

Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]
T = TypeVar("T")

LONG_SIDE = 306  # Pixels, as in the UCF Selfie dataset.
_CHUNK = 8  # Images that one call of a worker renders.


def _generator(seed: int, index: int, scene: bool = False) -> np.random.Generator:
    return np.random.default_rng([seed, index, int(scene)])


def _size(rng: np.random.Generator, long_side: int) -> tuple[int, int]:
    """Draws width and height: squares, upright 3:4 and 2:3, seldom landscapes."""
    short = rng.choice([1.0, 0.75, 2 / 3, 0.5625], p=[0.5, 0.32, 0.12, 0.06])
    width, height = round(long_side * short), long_side
    return (height, width) if rng.random() < 0.12 else (width, height)


def render_image(seed: int, index: int, long_side: int = LONG_SIDE) -> tuple[Bytes, Box]:
    """Renders image `index` of a seed.

    Returns:
        uint8 (H, W, 3) RGB, and x1, y1, x2, y2 of the largest face in pixels, in the convention of `truth`.
    """
    image, box, _ = _render(seed, index, long_side)
    return image, box


def _render(seed: int, index: int, long_side: int) -> tuple[Bytes, Box, np.random.Generator]:
    rng = _generator(seed, index)
    width, height = _size(rng, long_side)
    kind = shot.choose(rng)
    place = str(rng.choice(["room", "bathroom", "wall"], p=[0.5, 0.35, 0.15])) if kind == "mirror" else None
    picture, box = shot.take(rng, background.draw(rng, width, height, place), kind)
    return camera.develop(rng, picture), box, rng


def render_scene(seed: int, index: int, long_side: int = LONG_SIDE) -> Bytes:
    """Renders a picture without a person, uint8 (H, W, 3) RGB."""
    return _render_scene(seed, index, long_side)[0]


def _render_scene(seed: int, index: int, long_side: int) -> tuple[Bytes, np.random.Generator]:
    rng = _generator(seed, index, scene=True)
    width, height = _size(rng, long_side)
    return camera.develop(rng, background.draw(rng, width, height)), rng


def _encoded(indices: range, seed: int) -> list[tuple[bytes, Box, int, int]]:
    """Renders some images; returns each one's JPEG, box, width and height."""
    cv2.setNumThreads(1)
    made = []
    for index in indices:
        image, box, rng = _render(seed, index, LONG_SIDE)
        made.append((camera.encode(rng, image), box, image.shape[1], image.shape[0]))
    return made


def _encoded_scenes(indices: range, seed: int) -> list[bytes]:
    cv2.setNumThreads(1)
    made = []
    for index in indices:
        scene, rng = _render_scene(seed, index, LONG_SIDE)
        made.append(camera.encode(rng, scene))
    return made


def _all(work: Callable[[range], list[T]], count: int, workers: int) -> Iterator[T]:
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    for chunk in parallel.map_in_order(work, chunks, workers):
        yield from chunk


def render(count: int, seed: int, out: Path, workers: int = 0, scenes: int = 0) -> None:
    """Renders `count` selfies into `out`: `images/*.jpg` and `truth.csv` (image,x1,y1,x2,y2,width,height).

    With `scenes`, so many pictures without anybody go into `negatives/`.

    Image i of a seed is the same bytes for any count and any number of workers. The folder appears when it is whole.

    Raises:
        UserError: `out` exists and is not an empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: give a new or empty folder with --out")
    try:
        with atomic_write(out) as temporary:
            (temporary / "images").mkdir(parents=True)
            rows = []
            for index, (data, box, width, height) in enumerate(
                progress.track(_all(partial(_encoded, seed=seed), count, workers), count, "render")
            ):
                name = f"{seed:04d}-{index:06d}.jpg"
                (temporary / "images" / name).write_bytes(data)
                rows.append((name, *(round(v, 1) for v in box), width, height))
            for index, scene in enumerate(_all(partial(_encoded_scenes, seed=seed), scenes, workers)):
                (temporary / "negatives").mkdir(exist_ok=True)
                (temporary / "negatives" / f"{seed:04d}-{index:06d}.jpg").write_bytes(scene)
            columns = ["image", "x1", "y1", "x2", "y2", "width", "height"]
            pd.DataFrame(rows, columns=columns).to_csv(temporary / "truth.csv", index=False)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
