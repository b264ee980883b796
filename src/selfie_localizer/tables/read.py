"""The one reader of `data/annotations.csv`, `data/truth.csv` and `data/trusted.csv`; it evaluates nothing.

What is no box is kept as it was written, for `validate` to name. What matches no image is kept as well, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from selfie_localizer import boxes
from selfie_localizer.errors import UserError
from selfie_localizer.progress import say
from selfie_localizer.tables.delimited import Row, read_rows
from selfie_localizer.tables.header import FORM, Layout, find_layout, missing_columns, plausibility
from selfie_localizer.tables.names import ImageNames, canonical
from selfie_localizer.tables.numbers import Four, corners, is_number, split_list, with_point


@dataclass(frozen=True)
class BoxTable:
    """A table of boxes as it was written, with the image that each row means.

    Attributes:
        path: The file.
        rows: In the order of the file: `line` (int64, where the row starts in the file, whose first line is 1), `image`
            (the matched file's name; as written where none matches), `matched` (bool), `x1,y1,x2,y2` (text as written;
            the first is the whole text where it is no list of four).
    """

    path: Path
    rows: pd.DataFrame

    def numbers(self) -> pd.DataFrame:
        """Returns `image` and `x1,y1,x2,y2` (float64) of the matched rows with four numbers, in order or not."""
        found = _numbers(self.rows)
        known = self.rows["matched"] & found.notna().all(axis=1)
        return pd.concat([self.rows["image"], found], axis=1)[known].reset_index(drop=True)

    def boxes(self) -> pd.DataFrame:
        """Returns `image` and `x1,y1,x2,y2` (float64, pixels), a row for each matched image with a box: its largest.

        Rows stay in the order of the file; of boxes of the same size the first is taken.
        """
        found = self.numbers()
        found = found[boxes.is_box(found[boxes.SIDES])]
        return found.loc[_largest(found)].reset_index(drop=True)

    def largest_rows(self) -> pd.DataFrame:
        """Returns `rows` with only the largest box of each image; rows that are no box stay, and those unmatched."""
        is_box = self._is_box()
        stays = ~is_box
        found = pd.concat([self.rows["image"], _numbers(self.rows)], axis=1)[is_box]
        stays[_largest(found)] = True
        return self.rows[stays].reset_index(drop=True)

    @property
    def rows_without_image(self) -> list[str]:
        """The images as written of the rows that match none, one for each row."""
        return self.rows.loc[~self.rows["matched"], "image"].tolist()

    @property
    def rows_that_are_no_box(self) -> int:
        """How many rows are not four finite numbers with x1 < x2 and y1 < y2."""
        return int((~self._is_box()).sum())

    @property
    def images_with_several(self) -> list[str]:
        """The names of the images with more than one box, in the order of the file."""
        names = self.rows.loc[self._is_box(), "image"]
        return names[names.duplicated()].drop_duplicates().tolist()

    def _is_box(self) -> pd.Series:
        return pd.Series(boxes.is_box(_numbers(self.rows)), index=self.rows.index)


def read(path: Path, images: Sequence[str]) -> BoxTable:
    """Reads a table of boxes in any of the forms that tools write.

    The four numbers may be columns (`image,x1,y1,x2,y2` or the names of common tools, or no header and this order) or
    a list in a column of its own. Where the header says so, `x,y,width,height` and a centre with a size become
    `x1,y1,x2,y2`, and a line says it. Further columns are ignored.

    Args:
        path: The file.
        images: The names of the image files, relative to the folder of images and with `/`.

    Raises:
        UserError: The file cannot be read, has none of the forms, or has no rows.

    Example:
        >>> table = read(Path("data/truth.csv"), ["a.jpg"])
        >>> table.boxes()
    """
    rows, separator = read_rows(path, plausibility, FORM)
    first = next(rows, None)
    layout = _layout(path, first)
    lines, names, texts = [], [], []
    # A decimal comma can only be meant where commas do not part the cells.
    decimal_comma = separator != ","
    for row in [first, *rows] if first and not layout.columns else rows:
        cells = _whole_list(row.cells, layout, separator)
        lines.append(row.line)
        names.append(_cell(cells, layout.image))
        texts.append(_four(cells, layout, decimal_comma))
    if not lines:
        raise UserError(f"{path}: no rows; fill it or remove it")
    if layout.meaning != "corners":
        shown = ",".join(layout.names)
        kind = "a centre and a size" if layout.meaning == "centre and size" else "a corner and a size"
        say(f"{path}: {shown} are {kind} by the header; read as x1,y1,x2,y2")
    matched = ImageNames(images).match_all(names)
    table = pd.DataFrame(
        {
            "line": np.array(lines, dtype=np.int64),
            "image": [found if found is not None else name for found, name in zip(matched, names, strict=True)],
            "matched": np.array([found is not None for found in matched], dtype=bool),
        }
    )
    for place, column in enumerate(boxes.SIDES):
        table[column] = pd.Series([four[place] for four in texts], dtype=table["image"].dtype)
    return BoxTable(path, table)


def check_matched(table: BoxTable, max_share: float) -> None:
    """Says how many rows match no image, with an example, and stops where they are too many.

    Args:
        table: What was read.
        max_share: The parameter `validate.max_rejected`: the greatest share of such rows, 0 to 1.

    Raises:
        UserError: More than `max_share` of the rows match no image.
    """
    lost = table.rows[~table.rows["matched"]]
    if lost.empty:
        return
    name, line = canonical(lost["image"].iloc[0]) or "(nothing)", lost["line"].iloc[0]
    wanted = f"looked for {table.path.parent / 'images' / name}"
    total = len(table.rows)
    if len(lost) / total <= max_share:
        say(f"{table.path}: {len(lost):,} of {total:,} rows match no image, the first in line {line}: {wanted}")
    elif len(lost) == total:
        raise UserError(
            f"{table.path}: 0 of {total:,} rows match an image; {wanted}; paths are relative to data/images"
        )
    else:
        raise UserError(
            f"{table.path}: {len(lost):,} of {total:,} rows ({len(lost) / total:.1%}) match no image, more than "
            f"validate.max_rejected ({max_share:.1%}), the first in line {line}: {wanted}"
        )


def _layout(path: Path, first: Row | None) -> Layout:
    if first is None:
        raise UserError(f"{path}: no rows; fill it or remove it")
    layout = find_layout(first.cells)
    if layout is None:
        missing = missing_columns(first.cells)
        found = ", ".join(first.cells[:10])[:200]
        raise UserError(f"{path}: no column {', '.join(missing)} (found: {found}); it needs {FORM}")
    return layout


def _four(cells: list[str], layout: Layout, decimal_comma: bool) -> Four:
    if len(layout.numbers) == 4:
        texts = [_cell(cells, place) for place in layout.numbers]
    else:
        texts = list(split_list(_cell(cells, layout.numbers[0])))
    if decimal_comma:
        texts = [with_point(text) for text in texts]
    if layout.meaning != "corners":
        return corners(texts, centred=layout.meaning == "centre and size")
    return texts[0], texts[1], texts[2], texts[3]


def _whole_list(cells: list[str], layout: Layout, separator: str) -> list[str]:
    """Returns the cells with a list in one of them that, written without quotes, was cut at its commas."""
    columns = layout.columns or 2
    if len(layout.numbers) != 1 or len(cells) <= columns:
        return cells
    place = layout.numbers[0]
    while len(cells) > columns and not cells[-1]:
        cells = cells[:-1]
    surplus = len(cells) - columns
    return [*cells[:place], separator.join(cells[place : place + surplus + 1]), *cells[place + surplus + 1 :]]


def _cell(cells: list[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the four coordinates as float64; NaN where a text is no finite number."""
    found = {name: [float(text) if is_number(text) else np.nan for text in rows[name]] for name in boxes.SIDES}
    numbers = pd.DataFrame(found, index=rows.index, dtype=np.float64)
    return numbers.where(np.isfinite(numbers))


def _largest(found: pd.DataFrame) -> pd.Index:
    """Returns the index of each image's largest box, in the order of the rows."""
    area = pd.Series(boxes.area(found[boxes.SIDES]), index=found.index)
    by_area = area.sort_values(ascending=False, kind="stable").index
    return found["image"].loc[by_area].drop_duplicates().index.sort_values()
