"""The `render` command: a folder of selfies with exact boxes, which nobody posed for."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from selfie_localizer import parallel, progress
from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write
from selfie_renderer.render import Box, encode_image, encode_scene

T = TypeVar("T")

_CHUNK = 8  # Images that one call of a worker renders.


def _selfies(indices: range, seed: int, look: str) -> list[tuple[bytes, Box, int, int]]:
    return [encode_image(seed, index, look) for index in indices]


def _scenes(indices: range, seed: int, look: str) -> list[bytes]:
    return [encode_scene(seed, index, look) for index in indices]


def _all(work: Callable[[range], list[T]], count: int, workers: int) -> Iterator[T]:
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    for chunk in parallel.map_in_order(work, chunks, workers):
        yield from chunk


def render(count: int, seed: int, out: Path, workers: int = 0, scenes: int = 0, look: str = "everyday") -> None:
    """Renders `count` selfies into `out`: `images/*.jpg` and `truth.csv` (image,x1,y1,x2,y2,width,height).

    With `scenes`, so many pictures without anybody go into `negatives/`. `look` is one of `selfie_renderer.looks`.

    Image i of a seed and a look is the same bytes for any count and any number of workers. The folder appears when it
    is whole.

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
                progress.track(_all(partial(_selfies, seed=seed, look=look), count, workers), count, "render")
            ):
                name = f"{seed:04d}-{index:06d}.jpg"
                (temporary / "images" / name).write_bytes(data)
                rows.append((name, *(round(v, 1) for v in box), width, height))
            for index, scene in enumerate(_all(partial(_scenes, seed=seed, look=look), scenes, workers)):
                (temporary / "negatives").mkdir(exist_ok=True)
                (temporary / "negatives" / f"{seed:04d}-{index:06d}.jpg").write_bytes(scene)
            columns = ["image", "x1", "y1", "x2", "y2", "width", "height"]
            pd.DataFrame(rows, columns=columns).to_csv(temporary / "truth.csv", index=False)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
