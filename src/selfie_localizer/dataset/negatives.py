"""Images without any face, from which the score learns when not to believe a box."""

from pathlib import Path

import pandas as pd

from selfie_localizer import files, images
from selfie_localizer.dataset.listing import list_images
from selfie_localizer.dataset.store import NEGATIVE
from selfie_localizer.progress import say

FOLDER = Path("data/negatives")
COLUMNS = ["image", "sha256", "width", "height", "source"]


def read_negatives(root: Path = Path(".")) -> tuple[pd.DataFrame, int]:
    """Lists the readable images in `data/negatives/`, each content once.

    Args:
        root: The project's folder.

    Returns:
        Columns `image` (path relative to `data/images/`), `sha256`, `width`, `height` and `source`; and the number of
        files that cannot be used, which are named on stderr. Without the folder, no rows.
    """
    rows, unusable = [], 0
    for entry in list_images(root / FOLDER)[0] if (root / FOLDER).is_dir() else []:
        try:
            data = images.read_bytes(root / FOLDER / entry.name)
            height, width = images.decode(data).shape[:2]
        except images.ImageError as error:
            say(f"prepare: {FOLDER}/{entry.name}: {error}; left out")
            unusable += 1
            continue
        rows.append((f"../negatives/{entry.name}", files.sha256(data), width, height, NEGATIVE))
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates("sha256", ignore_index=True), unusable
