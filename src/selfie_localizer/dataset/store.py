"""The stores: every image decoded and resized once, in a form that training reads at memory speed.

There are two, so that what judges never reaches what learns: `fit` with the training and validation splits, and `test`.
Each is a folder with `images.npy` (uint8, N x size x size x 3, memory-mapped so that it need not fit in memory),
`index.csv` (one row for each image, boxes in pixels of the original) and `store.json` (image size and digest). Neither
holds truth.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes, files
from selfie_localizer.errors import UserError

Split = Literal["train", "validation", "test"]
FIT, TEST = Path("build/store/fit"), Path("build/store/test")
# `verdict` of an image without any face.
NEGATIVE = "negative"
# The file beside a trained model, and among the artifacts of a served one, that names the images of its train split:
# their SHA-256 in hex, one a line.
TRAINED_ON = "trained_on.txt"
COLUMNS = ["image", "sha256", "split", "width", "height", "verdict", "annotators", "spread", *boxes.SIDES]


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes:
        images: RGB, uint8, shape (N, size, size, 3), memory-mapped.
        boxes: Labels relative to the image (0..1), float32, shape (N, 4); NaN where an image has no label.
        table: The columns `COLUMNS`; labels in pixels of the original images.
        digest: Names the content: equal digests mean equal images, labels and splits.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    table: pd.DataFrame
    digest: str

    @property
    def size(self) -> int:
        """Side of the stored square in pixels."""
        return int(self.images.shape[1])

    def indices(self, split: Split, labelled: bool = True) -> NDArray[np.int64]:
        """Returns the positions of a split's images that show a face; with `labelled`, only of those with a label."""
        chosen = ((self.table["split"] == split) & (self.table["verdict"] != NEGATIVE)).to_numpy()
        if labelled:
            chosen = chosen & np.isfinite(self.boxes).all(axis=1)
        return np.flatnonzero(chosen)

    def negatives(self, split: Split) -> NDArray[np.int64]:
        """Returns the positions of a split's images without any face."""
        return np.flatnonzero((self.table["split"] == split) & (self.table["verdict"] == NEGATIVE))


def open_store(path: Path) -> Store:
    """Opens a store for reading.

    Raises:
        UserError: There is none, or it is not whole.
    """
    try:
        meta = json.loads((path / "store.json").read_text())
        table = pd.read_csv(path / "index.csv", keep_default_na=False, na_values=[""], dtype=_TEXTS)
        images = np.load(path / "images.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no usable store here ({error}); run `dvc repro prepare`") from None
    return Store(images, _relative(table), table, meta["digest"])


_TEXTS = {"image": str, "sha256": str, "split": str, "verdict": str, "annotators": str}


def write_store(path: Path, table: pd.DataFrame, size: int, fill: Callable[[Path], None], made_by: str = "") -> None:
    """Writes a store; it is whole or absent.

    Args:
        path: The store's folder; one that is there is replaced at the end.
        table: The rows, with the columns `COLUMNS`.
        size: Side of the stored square in pixels.
        fill: Is given the path of `images.npy`, already of its full size, and writes the images into it.
        made_by: Digest of the code that makes pixels, a part of the store's digest.
    """
    with files.atomic_write(path) as temporary:
        temporary.mkdir()
        shape = (len(table), size, size, 3)
        if len(table):
            images = np.lib.format.open_memmap(temporary / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
            del images
        else:
            # An empty file cannot be mapped for writing.
            np.save(temporary / "images.npy", np.empty(shape, np.uint8))
        fill(temporary / "images.npy")
        text = table[COLUMNS].to_csv(index=False, lineterminator="\n")
        (temporary / "index.csv").write_text(text, encoding="utf-8")
        meta = {"digest": files.digest(text, size, made_by), "image_size": size, "images": len(table)}
        files.write_json(temporary / "store.json", meta | {"made_by": made_by})


def _relative(table: pd.DataFrame) -> NDArray[np.float32]:
    sides = table[boxes.SIDES].to_numpy(dtype=np.float64)
    size = table[["width", "height", "width", "height"]].to_numpy(dtype=np.float64)
    return (sides / size).astype(np.float32)
