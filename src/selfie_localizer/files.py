"""Writing files so that each is whole or absent, and naming content by its digest."""

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfie_localizer.errors import UserError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there replaces `path` at the end.

    On an error nothing is left behind and `path` is as it was. The temporary path may become a file or a
    folder; a folder replaces a folder.

    Example:
        >>> with atomic_write("report.txt") as temporary:
        ...     temporary.write_text("whole or absent")
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    # The suffix stays last: pandas, NumPy and OpenCV choose a format by it.
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}-", dir=target.parent))
    temporary = holder / target.name
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            target.rename(holder / f"{target.name}.old")
        os.replace(temporary, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Removes what killed processes left of their writing of `target`."""
    import psutil

    for holder in target.parent.glob(f".{glob.escape(target.name)}.*-*"):
        owner = holder.name.removeprefix(f".{target.name}.").split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(holder, ignore_errors=True)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuses a path that is there and is no regular file; a pipe would be waited for without end.

    Raises:
        UserError: The path is a folder, a pipe or a device.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path}: not a regular file; put a file there or remove it")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `content` as JSON with sorted keys; the same content gives the same bytes.

    Raises:
        ValueError: `content` holds a NaN or an infinity, which JSON does not have.
    """
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def digest(*parts: Any) -> str:
    """Returns a SHA-256 hex digest of bytes, texts and JSON-like values; equal parts give equal digests."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of a file's bytes in hex, by which an image is known whatever its name."""
    return hashlib.sha256(data).hexdigest()
