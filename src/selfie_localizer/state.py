"""What lies outside every stage's outputs: the state of unfinished work, and what is kept since it was dear to make."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from selfie_localizer.progress import say

STATE = Path(".state")
CACHE = Path(".cache")


def cache_folder(root: Path = Path(".")) -> Path:
    """Returns the folder of what can be made again at any time, at some cost; nothing there is ever needed.

    `dvc exp run --temp` works in a copy of the project, and finds that of the real one, which DVC names in `DVC_ROOT`.
    """
    return Path(os.environ.get("DVC_ROOT", root)).resolve() / CACHE


@contextmanager
def exclusive(path: Path, waiting: str) -> Iterator[None]:
    """Lets one process at a time go on; another says `waiting` and waits for the first to end.

    The operating system frees the lock when its process ends, however it ends.

    Args:
        path: The lock's file, in an existing folder.
        waiting: One line.

    Raises:
        OSError: The file cannot be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_state(stage: str, fingerprint: str, root: Path = STATE) -> Iterator[Path]:
    """Gives the folder of the unfinished work that `fingerprint` names, under an exclusive lock.

    A killed `dvc repro` leaves its stage running; the next one waits here until that process has ended, then
    goes on from what it left. State of the same stage under another fingerprint is stale and is deleted.

    Args:
        stage: Name of the stage, e.g. `annotate` or `train-resnet18`.
        fingerprint: Digest of everything that the state depends on: parameters, data and code.
        root: Folder of all state.

    Yields:
        An existing folder that no other process is using.
    """
    root.mkdir(parents=True, exist_ok=True)
    waiting = f"{stage}: another process is running this stage here; waiting for it to end"
    with exclusive(root / f"{stage}.lock", waiting):
        home = root / stage
        home.mkdir(exist_ok=True)
        for other in home.iterdir():
            if other.name != fingerprint[:32]:
                shutil.rmtree(other, ignore_errors=True)
        folder = home / fingerprint[:32]
        folder.mkdir(exist_ok=True)
        yield folder
