"""Pictures of boxes for people: where they lie, how large they are, which ones fell and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfie_localizer import images
from selfie_localizer.dataset.store import BOX, TRUTH

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LABEL, TRUTH_COLOUR, REJECTED = "#0a78ff", "#00b86b", "#e6492d"
BAR = "#4a7fb5"
SHEET, COLUMNS = 24, 6
TILE, GAP, CAPTION = 200, 14, 36
CELLS = 100


@dataclass(frozen=True)
class Picture:
    """A picture beside `index.html`, with what to write above it."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, with two lines below it; `boxes` are pairs of a colour and a box in pixels of the image."""

    path: Path | None
    heading: str
    detail: str
    boxes: Sequence[tuple[str, NDArray[np.float64]]]


def draw(
    folder: Path, source: Path, frame: pd.DataFrame, rejected: pd.DataFrame, labels: pd.DataFrame
) -> list[Picture]:
    """Draws every picture that there are rows for.

    Args:
        folder: Where the pictures go.
        source: Where the images lie.
        frame: All rows, as `validate.derive` returned them.
        rejected: Columns `row`, `image`, `rule` and `value`.
        labels: Accepted rows that have truth, as `quality.compare` returned them.
    """
    accepted = frame[~frame.index.isin(rejected["row"])]
    drawn: list[Picture] = []

    def add(file: str, title: str, caption: str) -> Path:
        drawn.append(Picture(file, title, caption))
        return folder / file

    if len(accepted):
        caption = "Accepted rows; the share of the boxes that cover each place, in images stretched to a square."
        _positions(accepted, labels, add("positions.png", "Where the boxes lie", caption))
        caption = "Rows whose box can be measured; face size is the square root of box area / image area."
        _shapes(frame, accepted, add("shapes.png", "How large they are", caption))
    if len(rejected):
        chosen = _from_each_rule(rejected)
        caption = f"{len(chosen):,} of {rejected['row'].nunique():,}, taken from each rule in turn."
        headings = [f"row {row}: {rule}" for row, rule in zip(chosen["row"], chosen["rule"], strict=True)]
        tiles = _tiles(source, frame.loc[chosen["row"]], headings, chosen["value"], {REJECTED: BOX})
        _sheet(tiles, add("rejected.png", "Rejected rows", caption))
    if len(accepted):
        chosen = accepted.iloc[_spread(len(accepted))]
        caption = f"{len(chosen):,} of {len(accepted):,}, evenly from the whole file."
        tiles = _tiles(source, chosen, [f"row {row}" for row in chosen.index], chosen["image"], {LABEL: BOX})
        _sheet(tiles, add("accepted.png", "Accepted rows", caption))
    if len(labels):
        _agreement(labels, add("iou.png", "Labels against truth", "Label quality; disagreement rejects no row."))
        worst = labels.sort_values("iou", kind="stable").head(SHEET)
        headings = [f"IoU {value:.2f}" for value in worst["iou"]]
        tiles = _tiles(source, worst, headings, worst["image"], {LABEL: BOX, TRUTH_COLOUR: TRUTH})
        _sheet(tiles, add("worst.png", "Greatest disagreement", "Label in blue, truth in green."))
    return drawn


def _tiles(
    source: Path, rows: pd.DataFrame, headings: Iterable[str], details: Iterable[str], columns: dict[str, list[str]]
) -> list[Tile]:
    boxes = {colour: rows[names].to_numpy(dtype=np.float64) for colour, names in columns.items()}
    return [
        # A row may name any path; only what was found below `source` is opened.
        Tile(source / image if found else None, heading, detail, [(colour, boxes[colour][at]) for colour in columns])
        for at, (image, found, heading, detail) in enumerate(
            zip(rows["image"], rows["file"] == "present", headings, details, strict=True)
        )
    ]


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


def _positions(accepted: pd.DataFrame, labels: pd.DataFrame, path: Path) -> None:
    panels = [("labels", accepted, BOX)] + ([("truth of the same images", labels, TRUTH)] if len(labels) else [])
    figure, axes = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), 4.8), squeeze=False)
    for axis, (name, rows, columns) in zip(axes[0], panels, strict=True):
        size = rows[["width", "height", "width", "height"]].to_numpy(dtype=np.float64)
        counts = coverage(rows[columns].to_numpy(dtype=np.float64) / size)
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
        axis.hist(parts, bins=bins, stacked=True, color=[BAR, REJECTED], label=["accepted", "rejected"])
        axis.axvline(
            accepted[column].median(), color="#24292f", lw=1, ls="--", label=f"median {accepted[column].median():.2f}"
        )
        axis.set(xlabel=label, ylabel="rows", xlim=(low, high))
        axis.legend(frameon=False)
    _save(figure, path)


def _agreement(labels: pd.DataFrame, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(11.2, 3.8))
    axis.hist(labels["iou"], bins=np.linspace(0, 1, 51).tolist(), color=BAR)
    axis.axvline(labels["iou"].mean(), color=REJECTED, label=f"mean {labels['iou'].mean():.3f}")
    axis.axvline(labels["iou"].median(), color="#24292f", ls="--", label=f"median {labels['iou'].median():.3f}")
    axis.set(xlabel="IoU of label and truth", ylabel="images", xlim=(0, 1))
    axis.legend(frameon=False, loc="upper left")
    _save(figure, path)


def _from_each_rule(rejected: pd.DataFrame) -> pd.DataFrame:
    """Takes the first row of each rule, then the second of each, up to a sheet; each row once, under its first rule."""
    first = rejected.drop_duplicates("row")
    turn = first.groupby("rule", sort=False).cumcount()
    return first.assign(turn=turn).sort_values(["turn", "row"]).head(SHEET).sort_values("row")


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, SHEET)).round().astype(np.int64))


def _sheet(tiles: Sequence[Tile], path: Path) -> None:
    """Lays images out in a grid; a box that reaches out of its image is drawn on the grey beside it."""
    lines = -(-len(tiles) // COLUMNS)
    width, height = COLUMNS * (TILE + GAP) + GAP, lines * (TILE + CAPTION + GAP) + GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = plt.figure(figsize=(width / 100, height / 100))
    axis = figure.add_axes((0, 0, 1, 1))
    for position, tile in enumerate(tiles):
        left = GAP + position % COLUMNS * (TILE + GAP)
        top = GAP + position // COLUMNS * (TILE + CAPTION + GAP)
        area = canvas[top : top + TILE, left : left + TILE]
        area[:] = 232
        below: dict[str, Any] = {"fontsize": 9.5, "va": "top", "parse_math": False}
        axis.text(left, top + TILE + 4, _fit(tile.heading), color="#24292f", weight="bold", **below)
        axis.text(left, top + TILE + 19, _fit(tile.detail), color="#57606a", **below)
        try:
            if tile.path is None:
                raise images.ImageError("no such file")
            picture = images.read(tile.path)
        except images.ImageError as error:
            axis.text(
                left + TILE / 2,
                top + TILE / 2,
                _fit(str(error)),
                fontsize=9.5,
                ha="center",
                va="center",
                color="#57606a",
                parse_math=False,
            )
            continue
        scale, shift = _place(picture, tile)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        small = _shrink(picture, scale)
        y, x = round(matrix[1, 2]), round(matrix[0, 2])
        area[y : y + small.shape[0], x : x + small.shape[1]] = small[: TILE - y, : TILE - x]
        frame = plt.Rectangle((left, top), TILE, TILE, transform=axis.transData)
        for colour, box in tile.boxes:
            if np.isfinite(box).all():
                x1, y1, x2, y2 = box * scale + np.tile(shift, 2) + np.array([left, top, left, top])
                line = plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=1.8)
                axis.add_patch(line)
                line.set_clip_path(frame)
    axis.imshow(canvas, extent=(0, width, height, 0), interpolation="none", zorder=-1)
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.axis("off")
    figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 3})
    plt.close(figure)


def _place(picture: images.Pixels, tile: Tile) -> tuple[float, NDArray[np.float64]]:
    """Returns scale and shift that bring the image, and its boxes up to half an image outside, into the tile."""
    height, width = picture.shape[:2]
    size = np.array([width, height], dtype=np.float64)
    points = [np.zeros(2), size]
    for _, box in tile.boxes:
        if np.isfinite(box).all():
            points += [np.clip(corner, -size / 2, size * 1.5) for corner in (box[:2], box[2:])]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    margin = 0.0 if (low >= 0).all() and (high <= size).all() else 6.0
    scale = float((TILE - 2 * margin) / (high - low).max())
    return scale, (TILE - (high - low) * scale) / 2 - low * scale


def _shrink(picture: images.Pixels, scale: float) -> images.Pixels:
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    smaller = scale < 1
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _fit(text: str, length: int = 30) -> str:
    # The fonts at hand may lack a letter of a file's name, and a warning for each helps nobody.
    plain = text.encode("ascii", "replace").decode().replace("\n", " ")
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def _save(figure: plt.Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 3})
    plt.close(figure)
