"""A checkpoint is whole or counts as none."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.training import checkpoint
from selfie_localizer.training.checkpoint import Checkpoint

ARRAYS = [np.arange(1000, dtype=np.float32), np.array(7, np.int64), np.zeros((0, 3), np.uint32)]
BEST = [np.ones(500, np.float32)]


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    saved = Checkpoint(tmp_path)
    saved.save_best(BEST, 2)
    saved.save(iter(ARRAYS), {"epoch": 3, "best_epoch": 2, "history": [{"iou": 0.1}]})
    return saved


def test_what_was_saved_comes_back_to_the_bit(saved: Checkpoint) -> None:
    arrays, best, progress = saved.load()
    for given, found in zip(ARRAYS + BEST, arrays + best, strict=True):
        np.testing.assert_array_equal(given, found)
        assert given.dtype == found.dtype
    assert progress == {"epoch": 3, "best_epoch": 2, "history": [{"iou": 0.1}]}


def test_a_folder_without_checkpoint_has_none(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path).load() is None


@pytest.mark.parametrize("name", ["last.npz", "best-002.npz"])
@pytest.mark.parametrize("damage", ["bit", "truncated", "empty"])
def test_a_damaged_file_is_not_used_and_that_is_said(
    saved: Checkpoint, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved.folder / name
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
    path.write_bytes({"bit": data, "truncated": data[: len(data) // 2], "empty": b""}[damage])
    assert saved.load() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged" in line
    assert "beginning anew" in line


def test_the_best_weights_belong_to_the_last_epoch_at_every_moment(saved: Checkpoint) -> None:
    # A kill between the two writes of a new best leaves the old pair.
    saved.save_best([np.zeros(3)], 4)
    _, best, progress = saved.load()
    np.testing.assert_array_equal(best[0], BEST[0])
    saved.save(ARRAYS, progress | {"epoch": 4, "best_epoch": 4})
    saved.prune(4)
    assert sorted(path.name for path in saved.folder.iterdir()) == ["best-004.npz", "last.npz"]
    np.testing.assert_array_equal(saved.load()[1][0], np.zeros(3))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux' /dev/full")
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_saved(
    saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.atomic_write

    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        with whole(path) as temporary:
            temporary.symlink_to("/dev/full")
            yield temporary

    monkeypatch.setattr(checkpoint, "atomic_write", full)
    with pytest.raises(UserError, match="disk is full") as caught:
        saved.save(ARRAYS, {"epoch": 4, "best_epoch": 2})
    assert str(saved.folder / "last.npz") in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert saved.load()[2]["epoch"] == 3


def test_hdf5s_own_words_for_a_full_disk_are_understood() -> None:
    with pytest.raises(UserError, match=r"model.keras: the disk is full"), checkpoint.saving("model.keras"):
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")
    with pytest.raises(OSError, match="gone"), checkpoint.saving("model.keras"):
        raise OSError(errno.EIO, "gone")
