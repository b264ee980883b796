"""Labels against truth: how good the boxes are that training will see. Truth rejects nothing."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from selfie_localizer import boxes, files
from selfie_localizer.dataset.store import BOX, TRUTH
from selfie_localizer.errors import UserError
from selfie_localizer.progress import say

CUTS = (0.4, 0.5, 0.75)


def read_boxes(path: Path, columns: list[str]) -> pd.DataFrame:
    """Reads trusted boxes: `data/truth.csv` or `data/trusted.csv`.

    Args:
        path: A table with the columns `image,x1,y1,x2,y2`; further ones are ignored.
        columns: What to call the four coordinates.

    Returns:
        Column `image` and the four of `columns` (float64, pixels), one row for each image; no rows without the file.
        Rows that hold no box are left out, and a line says so.

    Raises:
        UserError: The file is no table or lacks a column.
    """
    if not os.path.lexists(path):
        return pd.DataFrame({"image": pd.Series(dtype=str)} | {name: pd.Series(dtype=float) for name in columns})
    files.check_regular(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as CSV ({reason}); it needs image,x1,y1,x2,y2") from None
    missing = [name for name in ["image", *BOX] if name not in table]
    if missing:
        raise UserError(f"{path}: column {missing[0]} is missing; it needs image,x1,y1,x2,y2")
    numbers = table[BOX].apply(pd.to_numeric, errors="coerce").astype("float64")
    usable = boxes.is_box(numbers)
    if not usable.all():
        first = table.loc[~usable].iloc[0]
        shown = ",".join([first["image"], *first[BOX]])[:80]
        say(f"{path}: {int((~usable).sum()):,} of {len(table):,} rows hold no box and are passed over, first {shown}")
    found = pd.concat([table["image"], numbers.set_axis(columns, axis=1)], axis=1)
    return found[usable].drop_duplicates("image").reset_index(drop=True)


def compare(accepted: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Returns the accepted rows that have truth, with the columns of `truth` and `iou`, in the order of `accepted`."""
    both = accepted.merge(truth, on="image", how="inner")
    return both.assign(iou=boxes.iou(both[BOX], both[TRUTH]))


def summarise(both: pd.DataFrame, truth: pd.DataFrame, readable: pd.Series) -> dict[str, Any]:
    """Sums up the labels against truth.

    Args:
        both: What `compare` returned.
        truth: What `read_boxes` returned.
        readable: Names of the images that can be read; truth on others does not count.

    Returns:
        Counts, shares and IoU figures; the latter only where at least one image has both boxes.
    """
    known = int(truth["image"].isin(readable).sum())
    missed = known - len(both)
    report: dict[str, Any] = {
        "images_with_truth": known,
        "images_with_both": len(both),
        "without_label": missed,
        "share_without_label": round(missed / known, 4) if known else 0.0,
    }
    if len(both):
        report["mean_iou"] = round(float(both["iou"].mean()), 4)
        report["median_iou"] = round(float(both["iou"].median()), 4)
        report |= {f"share_over_{cut}": round(float((both["iou"] > cut).mean()), 4) for cut in CUTS}
    return report
