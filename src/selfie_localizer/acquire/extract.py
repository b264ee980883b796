"""Unpacks a .tar.gz from the internet: every byte checked, nothing outside the folder, no links, no bombs."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from selfie_localizer.errors import UserError
from selfie_localizer.progress import Progress

MB = 1_000_000
_HEADER_BYTES = MB
_CORRUPT = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, RecursionError, ValueError, OverflowError)


class BadArchiveError(UserError):
    """The archive is corrupt or hostile; the message says what was found."""


@dataclass(frozen=True)
class Limits:
    """What an honest archive of images stays under; photos hardly compress.

    Args:
        members: Number of files and folders.
        ratio: Unpacked bytes per byte of the archive.
        small: Unpacked bytes that are allowed whatever the ratio.
    """

    members: int = 200_000
    ratio: float = 20.0
    small: int = 50 * MB


def extract(
    archive: Path, folder: Path, place: Callable[[PurePosixPath], PurePosixPath | None], limits: Limits | None = None
) -> None:
    """Unpacks the files of a gzipped tar archive into an existing folder and reads it to its last byte.

    Every member is checked, wanted or not. After an error `folder` may hold a part of the files.

    Args:
        archive: The .tar.gz file.
        folder: Where to put the files.
        place: Takes a member's path in the archive and returns its path in `folder`, or None to leave it out.
        limits: What counts as a bomb.

    Raises:
        BadArchiveError: The archive is truncated, its checksum is wrong, it is no gzipped tar, or it holds a path
            outside the folder, a link, a device, or more than `limits` allow.
        OSError: A file cannot be written.
    """
    limits = limits or Limits()
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python cannot unpack archives safely; Python 3.11.4 or a later one can")
    total = archive.stat().st_size
    with (
        archive.open("rb") as raw,
        _Measured(raw, max(limits.small, int(limits.ratio * total))) as stream,
        Progress("extract", total=total // MB, unit="MB") as progress,
    ):
        try:
            # As a stream, tarfile can only go forward, whatever offsets the headers claim.
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for count, member in enumerate(tar, start=1):
                    if count > limits.members:
                        raise BadArchiveError(f"is refused: it holds more than {limits.members:,} members")
                    _check(member, folder, stream)
                    target = place(PurePosixPath(member.name))
                    if member.isreg() and target is not None:
                        tar.extract(member.replace(name=str(target)), folder, filter="data")
                    progress.update(raw.tell() // MB - progress.done)
            # The checksum stands at the very end, behind the padding.
            stream.expect(MB)
            while stream.read(MB):
                stream.expect(MB)
        except _CORRUPT as error:
            reason = str(error) or type(error).__name__
            raise BadArchiveError(f"is corrupt: {' '.join(reason.split())}") from None


def _check(member: tarfile.TarInfo, folder: Path, stream: "_Measured") -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise BadArchiveError(f"is refused: {member.name!r} points outside its folder")
    if member.issym() or member.islnk():
        raise BadArchiveError(f"is refused: {member.name!r} is a link to {member.linkname!r}")
    if not (member.isdir() or member.isreg()) or member.issparse() or member.size < 0:
        raise BadArchiveError(f"is refused: {member.name!r} is neither a file nor a folder")
    stream.expect(member.size)
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise BadArchiveError(f"is refused: {error}") from None


class _Measured(gzip.GzipFile):
    """Gives no more bytes than a member was expected to have, so that nothing huge is read into memory."""

    def __init__(self, archive: IO[bytes], limit: int) -> None:
        super().__init__(fileobj=archive, mode="rb")
        self._limit, self._count, self._granted = limit, 0, _HEADER_BYTES

    def expect(self, size: int) -> None:
        """Grants `size` more bytes and the headers that follow them, unless that goes over the limit."""
        if self._count + size > self._limit:
            raise BadArchiveError(f"is refused: it unpacks to more than {self._limit / MB:,.1f} MB")
        self._granted = self._count + size + _HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._count += len(data)
        if self._count > self._granted:
            raise BadArchiveError(f"is refused: a header of more than {_HEADER_BYTES / MB:,.1f} MB")
        return data
