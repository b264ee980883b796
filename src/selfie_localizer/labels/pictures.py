"""Pictures of labels for people: the most suspicious ones, those left out, and those that only one annotator saw."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from selfie_localizer import boxes
from selfie_localizer.labels import fusion
from selfie_localizer.photos import sheets

if TYPE_CHECKING:
    from selfie_localizer.labels.label import Opinions

COLOURS = (sheets.PREDICTION, "#9b51e0", "#d4a017", "#0aa3a3")


def draw(
    table: pd.DataFrame, ranked: pd.DataFrame, opinions: "Opinions", truth: boxes.Boxes, folder: Path, out: Path
) -> None:
    """Writes `suspicious.png`, `left-out.png` and `alone.png`, each only where there is something to show.

    Args:
        table: The rows of `labels.csv`.
        ranked: As `suspicion.rank` sorted them.
        opinions: What annotators say of the same contents, in the same order.
        truth: Trusted boxes of the same contents, shape (N, 4).
        folder: Where the images lie.
        out: Where the pictures go.
    """
    position = pd.Series(np.arange(len(table)), index=table["image"].to_numpy())
    train = ranked[ranked["split"] == "train"]
    sheets_of = {
        "suspicious": (ranked.head(sheets.SHOWN), f"The {min(len(ranked), sheets.SHOWN)} most suspicious labels"),
        "left-out": _some(train[train["verdict"] == fusion.LEFT_OUT], "labels left out: annotators see other faces"),
        "alone": _some(train[train["verdict"] == fusion.ALONE], "labels of a single annotator"),
    }
    legend = {"label": sheets.LABEL, "truth": sheets.TRUTH}
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(opinions.names)}
    for name, (rows, title) in sheets_of.items():
        if rows.empty:
            continue
        tiles = []
        for _, row in rows.iterrows():
            at = int(position[row["image"]])
            drawn = [(colour, opinions.boxes[at, place]) for place, colour in enumerate(colours.values())]
            drawn += [(sheets.TRUTH, truth[at]), (sheets.LABEL, table[boxes.SIDES].iloc[at].to_numpy(np.float64))]
            tiles.append(sheets.Tile(folder / row["image"], str(row["reason"]), str(row["image"]), drawn))
        sheets.draw_sheet(tiles, out / f"{name}.png", title, legend | colours)


def _some(rows: pd.DataFrame, what: str) -> tuple[pd.DataFrame, str]:
    shown = rows.iloc[sheets.spread(len(rows))] if len(rows) else rows
    some = f", {len(shown)} of them" if len(shown) < len(rows) else ""
    return shown, f"{len(rows):,} {what}{some}"
