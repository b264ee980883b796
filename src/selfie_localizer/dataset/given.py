"""Boxes that somebody already has: `annotations.csv` in either of its two forms, read without evaluating anything."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer import boxes, files
from selfie_localizer.errors import UserError

COLUMNS = ("image", "x1", "y1", "x2", "y2")
FORMS = "either image,x1,y1,x2,y2, or two columns: a path, and a text [x1, y1, x2, y2]"

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LIST = re.compile(r"\[(.*)\]|\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A row as it was given.

    Attributes:
        image: Path relative to `images/`.
        texts: The four coordinates as they were written; the first is the whole text where it is not four.
        area: In square pixels; None where the texts are no box.
    """

    image: str
    texts: tuple[str, str, str, str]
    area: float | None


def read_given(path: Path) -> list[Row]:
    """Reads boxes in the order of the file.

    Numbers stay as they were written. What is no box is kept as it is, for `validate` to name.

    Args:
        path: The file `annotations.csv`.

    Returns:
        One row for each of the file that is not blank.

    Raises:
        UserError: The file cannot be read, has neither form, or has no rows.
    """
    files.check_regular(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in csv.reader(stream) if any(cell.strip() for cell in line))
            header = [name.strip() for name in next(lines, [])]
            rows = list(_rows(path, header, lines))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error}); it needs {FORMS}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not rows:
        raise UserError(f"{path}: no rows; fill it, or remove it and the boxes will be drawn")
    return rows


def keep_largest(rows: list[Row]) -> tuple[list[Row], int]:
    """Leaves the largest box of each image; rows that are no box stay.

    Returns:
        The rows that stay, in their order, and the number of images of which some box was dropped.
    """
    largest: dict[str, Row] = {}
    several = set()
    for row in rows:
        if row.area is None:
            continue
        best = largest.setdefault(row.image, row)
        if best is not row:
            several.add(row.image)
            if best.area is None or row.area > best.area:
                largest[row.image] = row
    return [row for row in rows if row.area is None or largest[row.image] is row], len(several)


def _rows(path: Path, header: list[str], lines: Iterator[list[str]]) -> Iterator[Row]:
    missing = [name for name in COLUMNS if name not in header]
    if not missing:
        places = [header.index(name) for name in COLUMNS]
        for line in lines:
            name, *texts = (line[place] if place < len(line) else "" for place in places)
            yield _row(name, [text.strip() for text in texts])
    elif len(header) == 2 and _split(header[1])[1]:
        raise UserError(f"{path}: the first line is a row of its own; put a line `image,box` above it")
    elif len(header) == 2:
        for name, *rest in lines:
            # A list that was written without quotes has been cut at its commas.
            yield _row(name, _split(",".join(rest)))
    elif header:
        found = ", ".join(header[:10])
        raise UserError(f"{path}: no column {', '.join(missing)} (found: {found}); it needs {FORMS}")


def _split(text: str) -> list[str]:
    """Returns the four members of a list as texts, or the whole text and three empty ones."""
    found = _LIST.fullmatch(text.strip())
    inside = (found[1] or found[2] or "") if found else ""
    # Commas as Python writes a list, or blanks as NumPy writes an array.
    members = [member.strip() for member in inside.split(",")] if "," in inside else inside.split()
    return members if len(members) == 4 else [text.strip(), "", "", ""]


def _row(name: str, texts: list[str]) -> Row:
    area = None
    if all(_NUMBER.fullmatch(text) for text in texts):
        corners = [float(text) for text in texts]
        area = float(boxes.area(corners)) if boxes.is_box(corners) else None
    return Row(name, (texts[0], texts[1], texts[2], texts[3]), area)
