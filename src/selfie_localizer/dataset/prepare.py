"""The prepare stage: decodes and resizes the images once, and keeps what learns apart from what judges."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import files, parallel, params
from selfie_localizer.dataset.store import COLUMNS, FIT, NEGATIVE, TEST, write_store
from selfie_localizer.dependencies import code_digest
from selfie_localizer.errors import UserError
from selfie_localizer.labels.contents import read_output
from selfie_localizer.photos.decode import Pixels, read_bytes, square
from selfie_localizer.photos.limits import ImageError, Limits
from selfie_localizer.progress import Progress, say

CHUNK = 64


def prepare(
    settings: params.Prepare, workers: int = 0, root: Path = Path("."), photos: params.Photos | None = None
) -> None:
    """Reads `build/labels.csv` and writes `build/store/fit/` and `build/store/test/`.

    `fit` has the labelled images of the training and the validation split, and their images without a face. `test` has
    every usable image of the test split, labelled or not: what annotators missed is part of the test. Images that a
    store of before holds, of the same content, size and code, are not decoded again.

    Args:
        settings: The section `prepare` of the parameters.
        workers: Number of processes; 0 means all cores.
        root: The project's folder.
        photos: The section `photos` of the parameters; None is its defaults.

    Raises:
        UserError: An input is missing, an image has changed, or the disk is too small.
    """
    table = read_output(root / "build/labels.csv", "label")
    limits = Limits(**(photos or params.Photos()).model_dump())
    in_test = (table["split"] == "test").to_numpy()
    fits = ~in_test & (table["x1"].notna() | (table["verdict"] == NEGATIVE)).to_numpy()
    parts = {FIT: table[fits].reset_index(drop=True), TEST: table[in_test].reset_index(drop=True)}
    _check_disk(root / FIT, sum(map(len, parts.values())) * settings.image_size**2 * 3)
    earlier = _Earlier(root, settings.image_size, code_digest("selfie_localizer.photos.decode"))
    todo = sum(int((earlier.find(part["sha256"])[0] < 0).sum()) for part in parts.values())
    with Progress("prepare", todo) as progress:
        for path, part in parts.items():
            fill = functools.partial(_fill, part, earlier, root, workers, limits, progress)
            write_store(root / path, part[COLUMNS], settings.image_size, fill, made_by=earlier.made_by)
    taken = sum(map(len, parts.values())) - todo
    over = f", {taken:,} taken over from before" if taken else ""
    say(f"prepare: {len(parts[FIT]):,} images to fit on and {len(parts[TEST]):,} to test on{over}")


class _Earlier:
    """The images of the stores of before that are as new ones would be.

    Args:
        root: The project's folder.
        size: Side of the stored square in pixels.
        made_by: Digest of the code that makes pixels.
    """

    def __init__(self, root: Path, size: int, made_by: str) -> None:
        self.made_by = made_by
        self._images: list[NDArray[np.uint8]] = []
        digests, places = [], []
        for path in (root / FIT, root / TEST):
            try:
                meta = json.loads((path / "store.json").read_text())
                table = pd.read_csv(path / "index.csv", usecols=["sha256"], dtype=str)
                images_before = np.load(path / "images.npy", mmap_mode="r")
            except (OSError, ValueError):
                continue
            if (meta.get("made_by"), meta.get("image_size")) == (made_by, size) and len(table) == len(images_before):
                digests += table["sha256"].tolist()
                places += [(len(self._images), row) for row in range(len(table))]
                self._images.append(images_before)
        first = ~pd.Index(digests).duplicated()
        self._index = pd.Index(digests)[first]
        self._places = np.array(places, np.int64).reshape(-1, 2)[first]

    def find(self, sha256: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns in which of the stores each content is, -1 for none, and in which row."""
        found = self._index.get_indexer(sha256)
        store, row = np.full(len(found), -1, np.int64), np.full(len(found), -1, np.int64)
        store[found >= 0], row[found >= 0] = self._places[found[found >= 0]].T
        return store, row

    def copy(self, sha256: pd.Series, target: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Copies the images that are there to their rows of `target`, and returns the other rows."""
        store, row = self.find(sha256)
        for start in range(0, len(target), CHUNK):
            for number, source in enumerate(self._images):
                wanted = np.flatnonzero(store[start : start + CHUNK] == number) + start
                if len(wanted):
                    target[wanted] = source[row[wanted]]
        return np.flatnonzero(store < 0)


def _fill(
    part: pd.DataFrame, earlier: _Earlier, root: Path, workers: int, limits: Limits, progress: Progress, path: Path
) -> None:
    if part.empty:
        return
    store = np.load(path, mmap_mode="r+")
    rows = earlier.copy(part["sha256"], store)
    store.flush()
    chunks = [
        (rows[start : start + CHUNK], part.loc[rows[start : start + CHUNK], ["image", "sha256"]].to_numpy().tolist())
        for start in range(0, len(rows), CHUNK)
    ]
    work = functools.partial(_fill_chunk, path, root / "data/images", limits)
    for count in parallel.map_in_order(work, chunks, workers if len(rows) > CHUNK else 1):
        progress.update(count)


def _fill_chunk(
    path: Path, folder: Path, limits: Limits, chunk: tuple[NDArray[np.int64], list[tuple[str, str]]]
) -> int:
    rows, contents = chunk
    # Each process writes its own rows of the file: no pixels travel between processes.
    store = np.load(path, mmap_mode="r+")
    for row, (name, sha256) in zip(rows, contents, strict=True):
        store[row] = _read(folder, name, sha256, store.shape[1], limits)
    return len(rows)


def _read(folder: Path, name: str, sha256: str, size: int, limits: Limits) -> Pixels:
    try:
        data = read_bytes(folder / name, limits)
        if files.sha256(data) != sha256:
            raise UserError(f"{folder / name}: changed since it was annotated; run `dvc repro` again")
        return square(data, size, limits)[0]
    except ImageError as error:
        raise UserError(f"{folder / name}: {error}; run `dvc repro` again, which leaves it out") from None


def _check_disk(path: Path, needed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(
            f"{path.parent}: needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "free some space or lower prepare.image_size"
        )
