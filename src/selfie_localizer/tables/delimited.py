"""From a file's bytes to rows of cells, whatever program wrote it: encoding, separator and line numbers."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer import files
from selfie_localizer.errors import UserError

SEPARATORS = (",", ";", "\t")
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)
_WORKBOOK = b"PK\x03\x04"


@dataclass(frozen=True)
class Row:
    """A row that is not blank.

    Attributes:
        line: The line of the file where the row starts; the first is 1.
        cells: Texts without blanks around them.
    """

    line: int
    cells: list[str]


def read_rows(path: Path, plausibility: Callable[[list[str]], int], form: str) -> tuple[Iterator[Row], str]:
    """Reads a table whose separator is a comma, a semicolon or a tab.

    UTF-8 with or without a byte order mark and UTF-16 with one are read. Windows-1252 is refused rather than guessed:
    a name that was read wrongly matches no image, and nothing would say why.

    Args:
        path: The file.
        plausibility: Tells how much sense the first row's cells make; the separator is taken for which it is greatest,
            of equal ones the one that cuts the row into the most cells.
        form: What the table should look like, for messages.

    Returns:
        The rows that are not blank, read as they are asked for, and the separator. While rows are read, a `UserError`
        may be raised as below.

    Raises:
        UserError: Not a regular file, cannot be read, not such text, or not a CSV file.
    """
    files.check_regular(path)
    encoding = _encoding(path)
    separator, skipped = _separator(path, encoding, plausibility, form)
    return _rows(path, encoding, separator, skipped, form), separator


def _encoding(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if head.startswith(_WORKBOOK):
        raise UserError(f"{path}: an Excel workbook, not a CSV file; save it as CSV UTF-8")
    if b"\0" in head:
        raise UserError(f"{path}: not UTF-8 text (it has zero bytes, as UTF-16 does); save it as UTF-8")
    return "utf-8"


def _separator(path: Path, encoding: str, plausibility: Callable[[list[str]], int], form: str) -> tuple[str, int]:
    """Returns the separator and how many lines only name it: Excel writes `sep=;` above some tables."""
    named = None
    with _refusing(path, encoding, form), path.open(encoding=encoding, newline="") as stream:
        named = _SEPARATOR_LINE.fullmatch(stream.readline())
    if named and named[1] in SEPARATORS:
        return named[1], 1
    firsts = {}
    for separator in SEPARATORS:
        first = next(_rows(path, encoding, separator, 0, form), None)
        cells = first.cells if first else []
        firsts[separator] = (plausibility(cells), len(cells))
    return max(SEPARATORS, key=lambda separator: firsts[separator]), 0


def _rows(path: Path, encoding: str, separator: str, skipped: int, form: str) -> Iterator[Row]:
    with _refusing(path, encoding, form), path.open(encoding=encoding, newline="") as stream:
        lines = _Counted(stream)
        for _ in range(skipped):
            next(lines, None)
        # An initial blank would hide the quote of `a.jpg, "[1, 2, 3, 4]"`.
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        while True:
            start = lines.count + 1
            lines.quotes = 0
            cells = next(reader, None)
            if cells is None:
                return
            if lines.ended and lines.count > start and lines.quotes % 2:
                # The csv module would take the rest of the file for one cell and say nothing.
                raise UserError(f'{path}: line {start}: a quote (") is opened and never closed; close or remove it')
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield Row(start, cells)


class _Counted:
    """Lines of text that count themselves and their quotes."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.count = self.quotes = 0
        self.ended = False

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.count += 1
        self.quotes += line.count('"')
        return line


class _refusing:  # noqa: N801
    """Turns what goes wrong while a table is read into one line."""

    def __init__(self, path: Path, encoding: str, form: str) -> None:
        self._path, self._encoding, self._form = path, encoding, form

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeError):
            wanted = "UTF-16" if self._encoding == "utf-16" else "UTF-8"
            raise UserError(
                f"{self._path}: not {wanted} text (older Excel writes Windows-1252); save it as CSV UTF-8"
            ) from None
        if isinstance(error, csv.Error):
            raise UserError(f"{self._path}: not a CSV file ({error}); it needs {self._form}") from None
        if isinstance(error, OSError):
            raise UserError(f"{self._path}: cannot be read ({error.strerror})") from None
