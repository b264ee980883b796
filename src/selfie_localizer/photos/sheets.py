"""Sheets of small images with boxes on them: what every report with pictures of single images is drawn by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import files
from selfie_localizer.photos.decode import Photo, Pixels, read
from selfie_localizer.photos.limits import ImageError

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# They differ also for people who do not see red and green apart.
LABEL, TRUTH, PREDICTION, REJECTED = "#0a78ff", "#00b86b", "#e65a00", "#e6492d"
LEGEND = {"prediction": PREDICTION, "label": LABEL, "truth": TRUTH}
SHOWN, COLUMNS = 24, 6
TILE, GAP, CAPTION, HEAD = 200, 14, 36, 44


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, with two lines below it.

    Attributes:
        image: Its path or its pixels (RGB, uint8); None where there is none.
        heading: First line below it.
        detail: Second line.
        boxes: Pairs of a colour and a box in pixels of the image, shape (4,); NaN is not drawn.
    """

    image: Path | Pixels | None
    heading: str
    detail: str = ""
    boxes: Sequence[tuple[str, ArrayLike]] = ()


def draw_sheet(
    tiles: Sequence[Tile],
    path: Path,
    title: str = "",
    legend: Mapping[str, str] | None = None,
    columns: int = COLUMNS,
) -> None:
    """Lays images out in a grid and writes it as a PNG.

    A box that reaches out of its image is drawn on the grey beside it; an image that cannot be read is an empty tile
    with the reason.

    Args:
        tiles: What to show, row by row.
        path: The file to write.
        title: Stands above the grid.
        legend: Names of boxes with their colours, beside the title.
        columns: Tiles in a row.
    """
    top = HEAD if title or legend else 0
    lines = -(-len(tiles) // columns)
    width, height = columns * (TILE + GAP) + GAP, top + lines * (TILE + CAPTION + GAP) + GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = plt.figure(figsize=(width / 100, height / 100))
    axis = figure.add_axes((0, 0, 1, 1))
    _head(axis, title, legend or {}, width)
    for position, tile in enumerate(tiles):
        left = GAP + position % columns * (TILE + GAP)
        _draw_tile(axis, canvas, tile, left, top + GAP + position // columns * (TILE + CAPTION + GAP))
    axis.imshow(canvas, extent=(0, width, height, 0), interpolation="none", zorder=-1)
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.axis("off")
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png", pil_kwargs={"compress_level": 3})
    plt.close(figure)


def spread(count: int, shown: int = SHOWN) -> NDArray[np.int64]:
    """Returns at most `shown` positions of `count`, spread evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, shown)).round().astype(np.int64))


def _head(axis: Any, title: str, legend: Mapping[str, str], width: int) -> None:
    axis.text(GAP, HEAD / 2 + 4, title, fontsize=14, va="center", color="#24292f", parse_math=False)
    left = width - GAP
    for name, colour in reversed(list(legend.items())):
        left -= 30 + 8 * len(name)
        axis.add_patch(plt.Rectangle((left, HEAD / 2 - 4), 16, 16, fill=False, edgecolor=colour, lw=2.2))
        axis.text(left + 22, HEAD / 2 + 4, name, fontsize=10.5, va="center", color="#24292f", parse_math=False)
        left -= 18


def _draw_tile(axis: Any, canvas: Pixels, tile: Tile, left: int, top: int) -> None:
    area = canvas[top : top + TILE, left : left + TILE]
    area[:] = 232
    below: dict[str, Any] = {"fontsize": 9.5, "va": "top", "parse_math": False}
    axis.text(left, top + TILE + 4, _fit(tile.heading), color="#24292f", weight="bold", **below)
    axis.text(left, top + TILE + 19, _fit(tile.detail), color="#57606a", **below)
    try:
        if tile.image is None:
            raise ImageError("no such file")
        photo = read(tile.image) if isinstance(tile.image, Path) else _whole(tile.image)
    except ImageError as error:
        centre: dict[str, Any] = {"fontsize": 9.5, "ha": "center", "va": "center", "parse_math": False}
        axis.text(left + TILE / 2, top + TILE / 2, _fit(str(error)), color="#57606a", **centre)
        return
    boxes = [(colour, np.asarray(box, np.float64)) for colour, box in tile.boxes]
    boxes = [(colour, box) for colour, box in boxes if np.isfinite(box).all()]
    scale, shift = _place(photo, [box for _, box in boxes])
    small = _shrink(photo, scale)
    x, y = (round(value) for value in shift)
    area[y : y + small.shape[0], x : x + small.shape[1]] = small[: TILE - y, : TILE - x]
    frame = plt.Rectangle((left, top), TILE, TILE, transform=axis.transData)
    for colour, box in boxes:
        x1, y1, x2, y2 = box * scale + np.tile(shift, 2) + np.array([left, top, left, top])
        line = plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=1.8)
        axis.add_patch(line)
        line.set_clip_path(frame)


def _whole(picture: Pixels) -> Photo:
    return Photo(picture, picture.shape[1], picture.shape[0])


def _place(photo: Photo, boxes: Sequence[NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    """Returns scale and shift that bring the image, and its boxes up to half an image outside, into the tile."""
    size = np.array([photo.width, photo.height], dtype=np.float64)
    points = [np.zeros(2), size]
    for box in boxes:
        points += [np.clip(corner, -size / 2, size * 1.5) for corner in (box[:2], box[2:])]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    margin = 0.0 if (low >= 0).all() and (high <= size).all() else 6.0
    scale = float((TILE - 2 * margin) / (high - low).max())
    return scale, (TILE - (high - low) * scale) / 2 - low * scale


def _shrink(photo: Photo, scale: float) -> Pixels:
    size = [max(1, round(side * scale)) for side in (photo.width, photo.height)]
    smaller = size[0] < photo.pixels.shape[1]
    resized = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _fit(text: str, length: int = 30) -> str:
    # The fonts at hand may lack a letter of a file's name, and a warning for each helps nobody.
    plain = text.encode("ascii", "replace").decode().replace("\n", " ")
    return plain if len(plain) <= length else plain[: length - 3] + "..."
