"""Which image file a path in a table means, however the tool that wrote it spells paths."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".bmp", ".gif", ".tif", ".tiff")
_FOLDER = ("data", "images")
_DRIVE = re.compile(r"[a-zA-Z]:")


class ImageNames:
    """The image files that there are, found by what tables call them.

    A file is meant by its own name, first of all. Then by its path with `./`, `images/`, `data/images/`, backslashes
    and blanks around, absolute or not, and in either Unicode form. Then, only where one file alone can be meant, by a
    path whose end is the file's, by the end of the file's path (its bare name), without regard to capitals, or without
    a suffix. Paths whose folders contradict the file's do not match.

    Args:
        names: Paths relative to the folder of images, with `/`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._exact = set(self._names)
        self._canonical = _index((canonical(name), name) for name in self._names)
        self._spellings: list[_Spelling] | None = None

    def match(self, written: str) -> str | None:
        """Returns the name of the file that a path means by itself, None where there is none or more than one."""
        return self._strict(written) or self._loose(canonical(written))

    def match_all(self, written: Sequence[str]) -> list[str | None]:
        """Returns the names of the files that a table's paths mean, in their order.

        Different paths of one table are different images: where two of them could only be loosely matched to the same
        file, as `train/1.jpg` and `test/1.jpg` to a `1.jpg`, neither is.
        """
        found: dict[str, str | None] = {}
        meant: defaultdict[str, set[str]] = defaultdict(set)
        loose = set()
        for path in dict.fromkeys(written):
            found[path] = name = self._strict(path)
            if name is None:
                found[path] = name = self._loose(canonical(path))
                loose.add(path)
            if name is not None:
                meant[name].add(canonical(path if path in loose else name).casefold())
        for path in loose:
            name = found[path]
            if name is not None and len(meant[name]) > 1:
                found[path] = None
        return [found[path] for path in written]

    def _strict(self, written: str) -> str | None:
        if written in self._exact:
            return written
        path = canonical(written)
        for spelled in (path, _without_folder(path)):
            if self._canonical.get(spelled):
                return self._canonical[spelled]
        return None

    def _loose(self, path: str) -> str | None:
        if not path:
            return None
        if self._spellings is None:
            self._spellings = [_Spelling(self._names, fold) for fold in (False, True)]
        for stem in (False, True):
            if stem and PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
                break
            for spelling in self._spellings:
                candidates = spelling.find(path, stem)
                if candidates:
                    return candidates.pop() if len(candidates) == 1 and None not in candidates else None
        return None


def canonical(written: str) -> str:
    """Returns a path with `/` and in Unicode form NFC, without blanks around, `.` and empty parts, drive and root.

    Example:
        >>> canonical("  .\\\\sub\\\\a.jpg ")
        'sub/a.jpg'
    """
    path = unicodedata.normalize("NFC", written).strip().replace("\\", "/")
    path = path.removeprefix("file://")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    while parts and (parts[0] == ".." or _DRIVE.fullmatch(parts[0])):
        parts.pop(0)
    return "/".join(parts)


def _without_folder(path: str) -> str:
    """Returns what stands after the last `data/images/`, or after an `images/` at the beginning."""
    parts = path.split("/")
    for place in range(len(parts) - 2, 0, -1):
        if tuple(parts[place - 1 : place + 1]) == _FOLDER:
            return "/".join(parts[place + 1 :])
    return "/".join(parts[1:]) if parts[0] == _FOLDER[1] else path


class _Spelling:
    """Files by the ends of their paths, with or without regard to capitals."""

    def __init__(self, names: Iterable[str], fold: bool) -> None:
        self._fold = fold
        spelled = [(self._fold_name(canonical(name)), name) for name in names]
        self._whole = _index(spelled)
        self._ends = _index((end, name) for path, name in spelled for end in _ends(path))
        self._whole_stems = _index((_stem(path), name) for path, name in spelled)
        self._end_stems = _index((_stem(end), name) for path, name in spelled for end in _ends(path))

    def find(self, path: str, stem: bool) -> set[str | None]:
        """Returns the files that a path may mean; None among them stands for several."""
        whole, ends = (self._whole_stems, self._end_stems) if stem else (self._whole, self._ends)
        spelled = self._fold_name(path)
        if spelled in whole:
            return {whole[spelled]}
        shorter = _without_folder(spelled)
        keys = {spelled, shorter}
        found = {ends[key] for key in keys if key in ends}
        return found | {whole[end] for end in [shorter, *_ends(spelled)] if end in whole}

    def _fold_name(self, path: str) -> str:
        return path.casefold() if self._fold else path


def _ends(path: str) -> list[str]:
    """Returns the path without its first folder, without its first two and so on, down to the bare name."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _stem(path: str) -> str:
    pure = PurePosixPath(path)
    return path[: -len(pure.suffix)] if pure.suffix else path


def _index(pairs: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Returns a name for each key, None where different names have it."""
    found: dict[str, str | None] = {}
    for key, name in pairs:
        if found.setdefault(key, name) != name:
            found[key] = None
    return found
