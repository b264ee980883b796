"""The store: every image decoded and resized once, in a form that training reads at memory speed.

A folder with `images.npy` (uint8, N x size x size x 3, memory-mapped so that it need not fit in memory), `index.csv`
(one row for each image, boxes in pixels of the original) and `store.json` (image size and digest).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import files
from selfie_localizer.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
STORE = Path("build/store")
BOX = ["x1", "y1", "x2", "y2"]
# `source` of boxes that came with the data, which nobody corrects, and of an image without any face.
GIVEN = "given"
NEGATIVE = "negative"
TRUTH = ["truth_x1", "truth_y1", "truth_x2", "truth_y2"]
# What a first model says of each image content: its box and how sure it is of it.
REVIEWED = Path("build/review.csv")
REVIEW = ["review_x1", "review_y1", "review_x2", "review_y2"]
SCORE = "review_score"
TRUSTED = ["trusted_x1", "trusted_y1", "trusted_x2", "trusted_y2"]


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes:
        images: RGB, uint8, shape (N, size, size, 3), memory-mapped.
        boxes: Labels relative to the image (0..1), float32, shape (N, 4); NaN where an image has no label.
        truth: Trusted boxes, in the same form; NaN where there is none.
        table: Columns `image`, `split`, `sha256`, `width`, `height`, `source`, and label and truth in pixels.
        digest: Names the content: equal digests mean equal images, boxes and splits.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    truth: NDArray[np.float32]
    table: pd.DataFrame
    digest: str

    @property
    def size(self) -> int:
        """Side of the stored square in pixels."""
        return int(self.images.shape[1])

    def indices(self, split: Split, labelled: bool = True) -> NDArray[np.int64]:
        """Returns the positions of a split's images that show a face; with `labelled`, only of those with a label."""
        chosen = ((self.table["split"] == split) & (self.table["source"] != NEGATIVE)).to_numpy()
        if labelled:
            chosen = chosen & np.isfinite(self.boxes).all(axis=1)
        return np.flatnonzero(chosen)

    def negatives(self, split: Split) -> NDArray[np.int64]:
        """Returns the positions of a split's images without any face."""
        return np.flatnonzero((self.table["split"] == split) & (self.table["source"] == NEGATIVE))


def open_store(path: Path = STORE) -> Store:
    """Opens a store for reading.

    Raises:
        UserError: There is none, or it is not whole.
    """
    try:
        meta = json.loads((path / "store.json").read_text())
        table = pd.read_csv(path / "index.csv", keep_default_na=False, na_values=[""], dtype={"image": str})
        images = np.load(path / "images.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no usable store here ({error}); run `dvc repro prepare`") from None
    return Store(images, _relative(table, BOX), _relative(table, TRUTH), table, meta["digest"])


def write_store(path: Path, table: pd.DataFrame, size: int, fill: Callable[[Path], None], made_by: str = "") -> None:
    """Writes a store; it is whole or absent.

    Args:
        path: The store's folder; one that is there is replaced at the end.
        table: The rows, as in `Store.table`.
        size: Side of the stored square in pixels.
        fill: Is given the path of `images.npy`, already of its full size, and writes the images into it.
        made_by: Digest of the code that makes pixels, a part of the store's digest.
    """
    with files.atomic_write(path) as temporary:
        temporary.mkdir()
        shape = (len(table), size, size, 3)
        images = np.lib.format.open_memmap(temporary / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        del images
        fill(temporary / "images.npy")
        text = table.to_csv(index=False, lineterminator="\n")
        (temporary / "index.csv").write_text(text, encoding="utf-8")
        digest = files.digest(text, size, made_by)
        files.write_json(temporary / "store.json", {"digest": digest, "image_size": size, "images": len(table)})


def _relative(table: pd.DataFrame, columns: list[str]) -> NDArray[np.float32]:
    boxes = table[columns].to_numpy(dtype=np.float64)
    size = table[["width", "height", "width", "height"]].to_numpy(dtype=np.float64)
    return (boxes / size).astype(np.float32)
