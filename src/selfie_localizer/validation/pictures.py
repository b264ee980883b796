"""Pictures of boxes for people: where they lie, how large they are, which ones fell and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import boxes
from selfie_localizer.photos import sheets

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BAR = "#4a7fb5"
CELLS = 100


@dataclass(frozen=True)
class Picture:
    """A picture beside `index.html`, with what to write above it."""

    file: str
    title: str
    caption: str


def draw(folder: Path, source: Path, frame: pd.DataFrame, rejected: pd.DataFrame) -> list[Picture]:
    """Draws every picture that there are rows for.

    Args:
        folder: Where the pictures go.
        source: Where the images lie.
        frame: All rows, as `validate.derive` returned them.
        rejected: Columns `row`, `image`, `rule` and `value`.
    """
    accepted = frame[~frame.index.isin(rejected["row"])]
    drawn: list[Picture] = []

    def add(file: str, title: str, caption: str) -> Path:
        drawn.append(Picture(file, title, caption))
        return folder / file

    if len(accepted):
        caption = "Accepted rows; the share of the boxes that cover each place, in images stretched to a square."
        _positions(accepted, add("positions.png", "Where the boxes lie", caption))
        caption = "Rows whose box can be measured; face size is the square root of box area / image area."
        _shapes(frame, accepted, add("shapes.png", "How large they are", caption))
    if len(rejected):
        chosen = _from_each_rule(rejected)
        caption = f"{len(chosen):,} of {rejected['row'].nunique():,}, taken from each rule in turn."
        headings = [f"row {row}: {rule}" for row, rule in zip(chosen["row"], chosen["rule"], strict=True)]
        tiles = _tiles(source, frame.loc[chosen["row"]], headings, chosen["value"], {sheets.REJECTED: boxes.SIDES})
        sheets.draw_sheet(tiles, add("rejected.png", "Rejected rows", caption))
    if len(accepted):
        chosen = accepted.iloc[sheets.spread(len(accepted))]
        caption = f"{len(chosen):,} of {len(accepted):,}, evenly from the whole file."
        tiles = _tiles(
            source, chosen, [f"row {row}" for row in chosen.index], chosen["image"], {sheets.LABEL: boxes.SIDES}
        )
        sheets.draw_sheet(tiles, add("accepted.png", "Accepted rows", caption))
    return drawn


def _tiles(
    source: Path, rows: pd.DataFrame, headings: Iterable[str], details: Iterable[str], columns: dict[str, list[str]]
) -> list[sheets.Tile]:
    # A row may name any path; only what was found below `source` is opened.
    present = rows["file"] == "present"
    paths = [source / image if found else None for image, found in zip(rows["image"], present, strict=True)]
    colours = [[(colour, box) for box in rows[names].to_numpy(np.float64)] for colour, names in columns.items()]
    return [sheets.Tile(*parts) for parts in zip(paths, headings, details, zip(*colours, strict=True), strict=True)]


def coverage(relative: NDArray[np.float64], cells: int = CELLS) -> NDArray[np.float64]:
    """Counts for each cell of the unit square the boxes that cover its centre.

    Args:
        relative: Boxes relative to their images, shape (N, 4).
        cells: Cells on a side.

    Returns:
        Counts, float64, shape (cells, cells), the first axis from top to bottom.
    """
    # A box adds 1 at two corners of a table of differences and takes 1 at the others; two sums make counts of it.
    corners = np.clip(np.ceil(relative * cells - 0.5), 0, cells).astype(int)
    x1, y1, x2, y2 = corners.T
    changes = np.zeros((cells + 1, cells + 1))
    for y, x, step in ((y1, x1, 1), (y1, x2, -1), (y2, x1, -1), (y2, x2, 1)):
        np.add.at(changes, (y, x), step)
    return changes.cumsum(axis=0).cumsum(axis=1)[:cells, :cells]


def _positions(accepted: pd.DataFrame, path: Path) -> None:
    names = accepted["annotator"].unique()
    figure, axes = plt.subplots(1, len(names), figsize=(5.6 * len(names), 4.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        rows = accepted[accepted["annotator"] == name]
        size = rows[["width", "height", "width", "height"]].to_numpy(dtype=np.float64)
        counts = coverage(rows[boxes.SIDES].to_numpy(dtype=np.float64) / size)
        shown = axis.imshow(100 * counts / len(rows), cmap="magma", vmin=0, extent=(0, 1, 1, 0))
        axis.set(title=f"{name}: {len(rows):,} boxes", xlabel="x / width", ylabel="y / height")
        figure.colorbar(shown, ax=axis, label="% of the boxes that cover the place", fraction=0.046, pad=0.03)
    _save(figure, path)


def _shapes(frame: pd.DataFrame, accepted: pd.DataFrame, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11.2, 3.8))
    for axis, column, label in ((axes[0], "face_size", "face size"), (axes[1], "aspect", "aspect (width / height)")):
        fell = frame.loc[~frame.index.isin(accepted.index), column].dropna()
        low, high = (0.0, 1.0) if column == "face_size" else (0.0, max(2.0, float(accepted[column].max())))
        bins = np.linspace(low, high, 51).tolist()
        # Rejected boxes of absurd size land in the last bar, so that they do not squeeze the rest.
        parts = [accepted[column].clip(low, high), fell.clip(low, high)]
        axis.hist(parts, bins=bins, stacked=True, color=[BAR, sheets.REJECTED], label=["accepted", "rejected"])
        axis.axvline(
            accepted[column].median(), color="#24292f", lw=1, ls="--", label=f"median {accepted[column].median():.2f}"
        )
        axis.set(xlabel=label, ylabel="rows", xlim=(low, high))
        axis.legend(frameon=False)
    _save(figure, path)


def _from_each_rule(rejected: pd.DataFrame) -> pd.DataFrame:
    """Takes the first row of each rule, then the second of each, up to a sheet; each row once, under its first rule."""
    first = rejected.drop_duplicates("row")
    turn = first.groupby("rule", sort=False).cumcount()
    return first.assign(turn=turn).sort_values(["turn", "row"]).head(sheets.SHOWN).sort_values("row")


def _save(figure: plt.Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 3})
    plt.close(figure)
