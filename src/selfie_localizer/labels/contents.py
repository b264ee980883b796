"""Images by their content, as the stages before list them."""

from pathlib import Path

import numpy as np
import pandas as pd

from selfie_localizer import boxes
from selfie_localizer.errors import UserError

LISTING = Path("build/images.csv")
# How `build/images.csv` names what lies in `data/negatives`.
NEGATIVES = "../negatives/"
_TEXTS = ("image", "other", "error", "sha256", "annotator", "phash", "taken", "split", "verdict", "annotators")


def read_output(path: Path, stage: str) -> pd.DataFrame:
    """Reads a table that an earlier stage wrote; empty texts are missing values.

    Raises:
        UserError: It is not there.
    """
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXTS, str))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run `dvc repro {stage}` first") from None


def read_contents(root: Path = Path(".")) -> pd.DataFrame:
    """Returns the usable images of `build/images.csv`, each content once, under its first path.

    Returns:
        The columns of the file, and `negative`: whether it lies in `data/negatives` alone.
    """
    listing = read_output(root / LISTING, "annotate")
    listing = listing[listing["error"].isna()]
    listing = listing.assign(negative=listing["image"].str.startswith(NEGATIVES))
    # A photo that lies in both folders shows a face.
    first = listing.sort_values(["negative", "image"], kind="stable").drop_duplicates("sha256")
    return first.sort_values("image", ignore_index=True)


def of_contents(table: pd.DataFrame, digests: pd.Series) -> boxes.Boxes:
    """Returns the boxes of `table` (columns `sha256`, `x1` to `y2`) for these contents, shape (N, 4), NaN for none."""
    found: boxes.Boxes = table.set_index("sha256")[boxes.SIDES].reindex(digests).to_numpy(np.float64)
    return found
