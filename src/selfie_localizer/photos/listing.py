"""Which files of a folder are photos, for `data/images`, `data/negatives` and `predict` alike."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer.errors import UserError
from selfie_localizer.photos.header import SNIFFED_BYTES, image_format

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".heic", ".heif")
MEND = "put JPEG, PNG or WebP files there, or run `dvc pull -r sample data.dvc` or `selfie-localizer fetch`"

# Why files are passed over: one and many of a kind, as `passed_over` writes them.
LINK, VIDEO, OTHER_IMAGE, UNREADABLE, OTHER = "folder link", "video", "image of another format", "unreadable", "other"
_PLURALS = {
    LINK: "links to folders",
    VIDEO: "videos",
    OTHER_IMAGE: "images of other formats",
    UNREADABLE: "that cannot be read",
    OTHER: "others",
}
_SINGULARS = {
    LINK: "link to a folder",
    VIDEO: "video",
    OTHER_IMAGE: "image of another format",
    UNREADABLE: "that cannot be read",
    OTHER: "other",
}
_VIDEOS = (".mp4", ".mov", ".m4v", ".3gp", ".avi", ".mkv", ".webm", ".mts")
_OTHER_IMAGES = (
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".dng",
    ".raw",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".svg",
    ".jp2",
    ".jxl",
)
# What Windows leaves in folders of photos; macOS hides what it leaves.
_CLUTTER = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Entry:
    """A file that is a photo by its suffix or its content.

    Attributes:
        name: Path relative to the folder, with `/`; bytes that are not UTF-8 are lone surrogates, as Python has them.
        size: In bytes; 0 where the file cannot be looked at, e.g. a link to nothing.
        changed: Time of the last change in nanoseconds.
    """

    name: str
    size: int
    changed: int


def list_photos(
    folder: Path, optional: bool = False, skip: Path | None = None
) -> tuple[list[Entry], dict[str, list[str]]]:
    """Lists the photos in a folder at any depth, and what else lies there.

    A file is a photo if it has an image's suffix, or if its first bytes are an image's. One with such a suffix and
    other content is listed as well: reading it says what is wrong. Hidden files and folders, and what Windows and macOS
    leave behind, are nobody's business. Links to files are followed; links to folders are not, since they may run in
    circles.

    Args:
        folder: Where to look.
        optional: A folder that is missing or without photos has none, instead of being an error.
        skip: A folder in it that is left out, e.g. where pictures are being written to.

    Returns:
        The photos; and the paths of everything else by the reason why it is passed over (`LINK`, `VIDEO`,
        `OTHER_IMAGE`, `UNREADABLE`, `OTHER`; a reason without files is absent). Both are sorted by the path as
        `printable` shows it.

    Raises:
        UserError: The folder cannot be read or, unless `optional`, is missing or holds no photo.
    """
    if not folder.is_dir():
        if optional and not os.path.lexists(folder):
            return [], {}
        raise UserError(f"{folder}: no such folder; {MEND}")
    entries: list[Entry] = []
    ignored: dict[str, list[str]] = {}
    left_out = None if skip is None else os.path.realpath(skip)
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        seen = [name for name in folders if not _is_hidden(name)]
        linked = [name for name in seen if os.path.islink(os.path.join(parent, name))]
        for name in linked:
            ignored.setdefault(LINK, []).append(printable(_relative(parent, name, folder)))
        folders[:] = [
            name for name in seen if left_out is None or os.path.realpath(os.path.join(parent, name)) != left_out
        ]
        for name in names:
            if _is_hidden(name):
                continue
            relative = _relative(parent, name, folder)
            reason = _why_not(os.path.join(parent, name))
            if reason is None:
                entries.append(_entry(folder, relative))
            else:
                ignored.setdefault(reason, []).append(printable(relative))
    if not entries and not optional:
        others = f"; {passed_over(ignored)}" if ignored else ""
        raise UserError(f"{folder}: no images{others}; {MEND}")
    return (
        sorted(entries, key=lambda entry: printable(entry.name)),
        {reason: sorted(ignored[reason]) for reason in sorted(ignored)},
    )


def passed_over(ignored: dict[str, list[str]]) -> str:
    """Returns what `list_photos` passed over in a few words, e.g. `3 files passed over: 2 videos, 1 other`, or ""."""
    if not ignored:
        return ""
    counts = {reason: len(names) for reason, names in ignored.items()}
    words = [f"{count:,} {(_SINGULARS if count == 1 else _PLURALS)[reason]}" for reason, count in counts.items()]
    total = sum(counts.values())
    return f"{total:,} {'file' if total == 1 else 'files'} passed over: {', '.join(words)}"


def printable(name: str) -> str:
    """Returns a path that any text file can hold: bytes that are not UTF-8 are written as `\\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _why_not(path: str) -> str | None:
    """Returns why a file is no photo, or None where it is one."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return None
    try:
        # A pipe would be waited for without end.
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as stream:
                if image_format(stream.read(SNIFFED_BYTES)):
                    return None
    except OSError:
        return UNREADABLE
    if suffix in _VIDEOS:
        return VIDEO
    return OTHER_IMAGE if suffix in _OTHER_IMAGES else OTHER


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
