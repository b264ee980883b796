"""What lies in `data/images`: the files to read, and those that are nobody's business."""

import os
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer import images
from selfie_localizer.errors import UserError

MEND = "put JPEG, PNG or WebP files there, or run `dvc pull -r sample data.dvc` or `selfie-localizer fetch`"


@dataclass(frozen=True)
class Entry:
    """A file with an image's suffix.

    Attributes:
        name: Path relative to the folder, with `/`; bytes that are not UTF-8 are lone surrogates, as Python has them.
        size: In bytes; 0 where the file cannot be looked at, e.g. a link to nothing.
        changed: Time of the last change in nanoseconds.
    """

    name: str
    size: int
    changed: int


def list_images(folder: Path) -> tuple[list[Entry], list[str]]:
    """Lists a folder at any depth.

    Hidden files and folders are passed over. Links to files are followed; links to folders are not, since they may
    run in circles.

    Args:
        folder: The folder `data/images`.

    Returns:
        The files with an image's suffix, and the paths of all others and of linked folders; both sorted by the path
        as `printable` shows it.

    Raises:
        UserError: The folder is missing, cannot be read or has no file with an image's suffix.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {MEND}")
    entries, ignored = [], []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        ignored += [_relative(parent, name, folder) for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in names:
            if name.startswith("."):
                continue
            relative = _relative(parent, name, folder)
            if os.path.splitext(name)[1].lower() in images.SUFFIXES:
                entries.append(_entry(folder, relative))
            else:
                ignored.append(relative)
    if not entries:
        others = f" among its {len(ignored):,} files and links to folders" if ignored else ""
        raise UserError(f"{folder}: no images{others}; {MEND}")
    return sorted(entries, key=lambda entry: printable(entry.name)), sorted(printable(name) for name in ignored)


def printable(name: str) -> str:
    """Returns a path that any text file can hold: bytes that are not UTF-8 are written as `\\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _relative(parent: str, name: str, folder: Path) -> str:
    return Path(parent, name).relative_to(folder).as_posix()


def _entry(folder: Path, name: str) -> Entry:
    try:
        found = os.stat(folder / name)
    except OSError:
        return Entry(name, 0, 0)
    return Entry(name, found.st_size, found.st_mtime_ns)


def _refuse(error: OSError) -> None:
    raise UserError(f"{printable(str(error.filename))}: cannot be read ({error.strerror}); change its permissions")
