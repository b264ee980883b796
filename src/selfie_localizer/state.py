"""State of unfinished work: outside every stage output, named by a fingerprint, held by one process at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from selfie_localizer.progress import say

STATE = Path(".state")


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
    # The operating system frees the lock when its process ends, however it ends.
    lock = FileLock(root / f"{stage}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{stage}: another process is running this stage here; waiting for it to end")
        lock.acquire()
    try:
        home = root / stage
        home.mkdir(exist_ok=True)
        for other in home.iterdir():
            if other.name != fingerprint[:32]:
                shutil.rmtree(other, ignore_errors=True)
        folder = home / fingerprint[:32]
        folder.mkdir(exist_ok=True)
        yield folder
    finally:
        lock.release()
