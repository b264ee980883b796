"""The two halves of a folder of photos with trusted boxes: one to look at, one to report."""

from pathlib import Path
from typing import Any

import pandas as pd

from selfie_localizer import boxes, files
from selfie_localizer.photos.decode import read_bytes
from selfie_localizer.tables.read import read as read_table

TRUTH = [f"truth_{side}" for side in boxes.SIDES]

HALVES = ("development", "reporting")


def half_of(data: bytes) -> str:
    """Returns the half that an image file belongs to, by its content alone."""
    return HALVES[int(files.sha256(data)[-1], 16) % 2]


def load_truth(folder: Path, half: str) -> pd.DataFrame:
    """Returns a half's images that have truth.

    Args:
        folder: Holds `images/` and `truth.csv`.
        half: One of `HALVES`, or `all`.

    Returns:
        `image`, relative to `images/`; the sides of its box, `TRUTH`, in pixels; and its `source`, empty where the file
        names none.
    """
    names = [path.relative_to(folder / "images").as_posix() for path in sorted((folder / "images").rglob("*.*"))]
    truth = read_table(folder / "truth.csv", names).boxes().rename(columns=dict(zip(boxes.SIDES, TRUTH, strict=True)))
    known = pd.read_csv(folder / "truth.csv", dtype={"image": str}).drop_duplicates("image")
    sources: dict[Any, Any] = known.set_index("image")["source"].to_dict() if "source" in known else {}
    truth["source"] = [sources.get(name, "") for name in truth["image"]]
    chosen = [half in ("all", half_of(read_bytes(folder / "images" / name))) for name in truth["image"]]
    if not any(chosen):
        raise SystemExit(f"{folder}: no image of this half ({half}) has a box in truth.csv")
    return truth[chosen].reset_index(drop=True)
