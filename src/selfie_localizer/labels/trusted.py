"""The boxes of a person, in `data/truth.csv` and `data/trusted.csv`, by content."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from selfie_localizer import boxes, params
from selfie_localizer.labels.contents import LISTING, read_output
from selfie_localizer.progress import say
from selfie_localizer.tables.read import BoxTable, check_matched, read
from selfie_localizer.tables.readings import NoFaceError, Picture, check_reading, convert_stored

# More pairs tell no more of a table that is wrong as a whole.
COMPARED = 20_000


@dataclass(frozen=True)
class TableRules:
    """How a person's tables are meant, and what of them stops the pipeline.

    Attributes:
        picture: The parameter `annotate.boxes`.
        check_boxes: The parameter of this name of `annotate`.
        max_unmatched: The parameter `validate.max_rejected`: greatest share of the rows that may match no image.
    """

    picture: Picture = "displayed"
    check_boxes: bool = True
    max_unmatched: float = 1.0

    @classmethod
    def of(cls, settings: params.Params) -> "TableRules":
        """Returns what the parameters say."""
        return cls(settings.annotate.boxes, settings.annotate.check_boxes, settings.validation.max_rejected)


DEFAULT_RULES = TableRules()


def read_trusted(
    path: Path, root: Path = Path("."), rules: TableRules = DEFAULT_RULES, annotations: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Reads a person's boxes: `data/truth.csv` or `data/trusted.csv`.

    A person's boxes may well be on photos where annotators are wrong, so that nothing but another reading of the
    numbers, one that fits clearly more of the annotators' boxes, stops the pipeline.

    Args:
        path: The table, relative to `root`.
        root: The project's folder.
        rules: How the table is meant.
        annotations: What annotators say, as in `build/annotations.csv`, to hold the boxes against; None does not.

    Returns:
        Columns `sha256` and `x1` to `y2` (float64, pixels, clipped to the image), each content once, so that a copy
        under another name has the same box; no rows without the file.

    Raises:
        UserError: The file is no table of boxes, too many of its rows match no image, or its numbers mean something
            else.
    """
    listing = read_output(root / LISTING, "annotate")
    usable = listing[listing["error"].isna()].drop_duplicates("image")
    if not os.path.lexists(root / path):
        return pd.DataFrame({"sha256": pd.Series(dtype=str)} | {side: pd.Series(dtype=float) for side in boxes.SIDES})
    table = read(root / path, listing["image"].tolist())
    check_matched(table, rules.max_unmatched)
    if table.rows_that_are_no_box:
        say(f"{path}: {table.rows_that_are_no_box:,} of {len(table.rows):,} rows hold no box and are passed over")
    if annotations is not None and rules.check_boxes:
        _compare(table, annotations, usable, rules.picture)
    facts = ["image", "sha256", "width", "height", "orientation"]
    found = table.boxes().merge(usable[facts], on="image").drop_duplicates("sha256")
    if rules.picture == "stored":
        size = found["width"], found["height"]
        found[boxes.SIDES] = convert_stored(found[boxes.SIDES], found["orientation"], *size)
    found[boxes.SIDES] = boxes.clip(found[boxes.SIDES], found["width"], found["height"])
    inside = boxes.is_box(found[boxes.SIDES]) if len(found) else np.zeros(0, bool)
    return found.loc[inside, ["sha256", *boxes.SIDES]].reset_index(drop=True)


def _compare(table: BoxTable, annotations: pd.DataFrame, usable: pd.DataFrame, picture: Picture) -> None:
    """Holds a table against an annotator: the first that sees half of its faces, or else most of them.

    Raises:
        UserError: Another reading of the numbers fits clearly more boxes.
    """
    numbers = table.numbers()
    listed = usable[usable["image"].isin(numbers["image"])].sort_values("sha256").head(COMPARED)
    said = annotations[["image", "annotator"]].assign(
        **{side: pd.to_numeric(annotations[side], errors="coerce") for side in boxes.SIDES}
    )
    said = said[said["image"].isin(listed["image"]) & boxes.is_box(said[boxes.SIDES])]
    if said.empty:
        return
    counts = said.groupby("annotator", sort=False)["image"].nunique()
    seeing = counts[2 * counts >= len(listed)]
    reference = said[said["annotator"] == (seeing.index[0] if len(seeing) else counts.idxmax())]
    try:
        check_reading(table.path, numbers, reference, listed, picture)
    except NoFaceError as error:
        say(f"{error}")
