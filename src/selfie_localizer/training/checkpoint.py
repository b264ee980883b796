"""What an interrupted training goes on from: one file for the last epoch, and one for the best."""

import errno
import itertools
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write
from selfie_localizer.progress import say

Arrays = Iterable[NDArray[Any]]


class Checkpoint:
    """The checkpoints of one training in a folder of its own.

    Each file is whole or absent, and its checksums are read with it: a damaged one counts as none. The last epoch
    names the best one, whose file is older and never written again, so that both always belong together.

    Args:
        folder: An existing folder that nothing else uses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last = folder / "last.npz"

    def best_path(self, epoch: int) -> Path:
        """Returns the file of the best weights, of an epoch from 1."""
        return self.folder / f"best-{epoch:03d}.npz"

    def save(self, arrays: Arrays, progress: Mapping[str, Any]) -> None:
        """Replaces the last epoch: its arrays, and what else there is to know as JSON-like values.

        Raises:
            UserError: The disk is full; the checkpoint before is still there.
        """
        _write(self._last, arrays, progress)

    def save_best(self, arrays: Arrays, epoch: int) -> None:
        """Writes the best weights; call `save` next and `prune` after it.

        Raises:
            UserError: The disk is full.
        """
        _write(self.best_path(epoch), arrays, {"epoch": epoch})

    def prune(self, best: int) -> None:
        """Deletes weights that were the best once."""
        for path in self.folder.glob("best-*.npz"):
            if path != self.best_path(best):
                path.unlink()

    def load(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]], dict[str, Any]] | None:
        """Returns the last epoch's arrays, the best weights and the progress; None where there is nothing whole."""
        if not self._last.exists():
            return None
        try:
            arrays, progress = _read(self._last)
            best, _ = _read(self.best_path(progress["best_epoch"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            say(f"{self.folder}: the checkpoint is damaged ({error}) and is not used; beginning anew")
            return None
        return arrays, best, progress


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Turns a full disk into one line that says what could not be written."""
    try:
        yield
    except OSError as error:
        # HDF5 tells the reason in its text only.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
            raise
        raise UserError(
            f"{what}: the disk is full; free some space and run the same command again, "
            "which goes on from the last whole checkpoint"
        ) from None


def _write(path: Path, arrays: Arrays, progress: Mapping[str, Any]) -> None:
    text = np.frombuffer(json.dumps(progress, allow_nan=False).encode(), dtype=np.uint8)
    with saving(str(path)), atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        # One by one, unlike `np.savez`: weights and moments together take several times the memory of the model.
        for index, array in enumerate(itertools.chain([text], arrays)):
            with file.open(f"arr_{index}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read(path: Path) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    with np.load(path) as content:
        text, *arrays = (content[f"arr_{index}"] for index in range(len(content.files)))
    return arrays, json.loads(text.tobytes())
