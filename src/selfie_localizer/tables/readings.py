"""Notices a table of boxes that is wrong as a whole: its boxes are held against a detector's on the same photos.

Single bad rows are no concern of this module; `validate` names them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from selfie_localizer import boxes
from selfie_localizer.errors import UserError

SAME_FACE = 0.3
FEWEST_PAIRS = 8
# Photos with an EXIF turn are judged by themselves; all of a few that are wrong in the same way are no chance.
FEWEST_TURNED = 4
OVERRIDE = "annotate.check_boxes: false takes the table as it is"

Numbers = NDArray[np.float64]
# Which picture boxes are meant on: as it is displayed, or as it is stored, before its EXIF turn.
Picture = Literal["displayed", "stored"]


@dataclass(frozen=True)
class Reading:
    """One way to understand the four numbers of a row.

    Attributes:
        name: For messages, e.g. `x,y,width,height`.
        boxes: From the four numbers, shape (n, 4), and the sizes of their pictures, width and height in pixels, shape
            (n, 2), to boxes in pixels of these pictures, shape (n, 4).
        advice: What to do about it.
    """

    name: str
    boxes: Callable[[Numbers, Numbers], Numbers]
    advice: str


def convert_stored(boxes: ArrayLike, orientation: ArrayLike, width: ArrayLike, height: ArrayLike) -> Numbers:
    """Converts boxes in pixels of the picture as it is stored to pixels of the picture as displayed.

    Args:
        boxes: `x1,y1,x2,y2` in pixels of the stored picture, shape (..., 4).
        orientation: EXIF orientation, 1 to 8, shape (...); anything else counts as 1, as for a decoder.
        width: Of the picture as displayed in pixels, shape (...); with orientation 5 to 8 the stored height.
        height: Of the picture as displayed in pixels, shape (...).

    Returns:
        Float64, shape (..., 4); a box stays in order.
    """
    stored = np.asarray(boxes, dtype=np.float64)
    turn = np.asarray(orientation)
    w, h = np.asarray(width, dtype=np.float64), np.asarray(height, dtype=np.float64)
    swapped = np.isin(turn, (5, 6, 7, 8))[..., None]
    b = np.where(swapped, stored[..., [1, 0, 3, 2]], stored)
    mirrored, flipped = np.isin(turn, (2, 3, 6, 7)), np.isin(turn, (3, 4, 7, 8))
    return np.stack(
        [
            np.where(mirrored, w - b[..., 2], b[..., 0]),
            np.where(flipped, h - b[..., 3], b[..., 1]),
            np.where(mirrored, w - b[..., 0], b[..., 2]),
            np.where(flipped, h - b[..., 1], b[..., 3]),
        ],
        axis=-1,
    )


class NoFaceError(UserError):
    """Most boxes of a table are where a detector sees no face, and no other reading of them fits."""


def check_reading(
    path: Path, found: pd.DataFrame, reference: pd.DataFrame, sizes: pd.DataFrame, picture: Picture = "displayed"
) -> None:
    """Stops where most boxes of a table are not on the face, and says how the table would have to be read.

    A detector is wrong now and then and has a convention of its own, so a box counts as on the face where its IoU with
    the detector's is over 0.3. Where fewer than 8 images have both, nothing is said. A table passes where at least half
    of its boxes are on the face as written and no other reading fits clearly more. Photos with an EXIF turn are judged
    by themselves as well: a tool that ignores it is wrong on these alone.

    Args:
        path: The table, for messages.
        found: Its rows with four numbers, in order or not: `image`, `x1,y1,x2,y2` as written (float64). Of several for
            an image the largest counts, under each reading. `BoxTable.numbers()` returns them.
        reference: A detector's boxes, one for each image: `image`, `x1,y1,x2,y2` in pixels as displayed.
        sizes: `image`, `width`, `height` (pixels as displayed) and, if known, `orientation` (EXIF, 1 to 8).
        picture: The parameter `annotate.boxes`: what the boxes are said to be meant on.

    Raises:
        NoFaceError: Most boxes are elsewhere than the detector's, and no reading fits.
        UserError: Another reading fits clearly more.
    """
    pairs = _Pairs(found, reference, sizes)
    if pairs.count < FEWEST_PAIRS:
        return
    written = pairs.fitting(_AS_WRITTEN, picture)
    _check_turned(path, pairs, written, picture)
    total, agreeing = pairs.count, int(written.sum())
    mostly_right = 2 * agreeing >= total
    candidates = _candidates(pairs, picture, with_resized=not mostly_right)
    scores = [(int(pairs.fitting(reading, other).sum()), reading, other) for reading, other in candidates]
    best, reading, other = max(scores, key=lambda score: score[0])
    start = f"{path}: {total - agreeing:,} of {total:,} boxes are not on the face as written"
    # Where half is right as written, as with two axes swapped on faces near the middle, it takes more to say otherwise.
    needed = max(8, total / 5) if mostly_right else max(4, total / 4)
    if 2 * best >= total and best - agreeing >= needed:
        name = reading.name if other == "displayed" else f"{reading.name} of the picture as it is stored"
        advice = reading.advice if other == picture else f"{reading.advice}, and set annotate.boxes: {other}"
        raise UserError(f"{start}, {best:,} would be if they were {name}; {advice} ({OVERRIDE})")
    # Far enough below half that a detector with three wrong boxes of ten is not the reason.
    if agreeing / total + 1 / np.sqrt(total) < 0.5:
        raise NoFaceError(
            f"{start}: most are where a detector sees no face, and no other reading of the numbers fits; "
            f"look at some of them ({OVERRIDE})"
        )


def _check_turned(path: Path, pairs: "_Pairs", written: NDArray[np.bool_], picture: Picture) -> None:
    total = int(pairs.turned.sum())
    if total < FEWEST_TURNED:
        return
    other: Picture = "stored" if picture == "displayed" else "displayed"
    as_written = int(written[pairs.turned].sum())
    otherwise = int(pairs.fitting(_AS_WRITTEN, other)[pairs.turned].sum())
    if 2 * otherwise >= total and otherwise - as_written >= max(3, total / 4):
        raise UserError(
            f"{path}: on photos that EXIF turns, {as_written:,} of {total:,} boxes are on the face as written, "
            f"{otherwise:,} of {total:,} fit the picture as it is {other}; set annotate.boxes: {other} ({OVERRIDE})"
        )


class _Pairs:
    """The images that have numbers in the table and a box of the detector.

    Attributes:
        count: How many images.
        turned: Whether EXIF turns or mirrors the image, bool, shape (count,).
    """

    def __init__(self, found: pd.DataFrame, reference: pd.DataFrame, sizes: pd.DataFrame) -> None:
        renamed = {side: f"reference_{side}" for side in boxes.SIDES}
        one_each = reference.drop_duplicates("image").rename(columns=renamed)[["image", *renamed.values()]]
        columns = [name for name in ("image", "width", "height", "orientation") if name in sizes]
        both = found[["image", *boxes.SIDES]].merge(one_each, on="image")
        both = both.merge(sizes[columns].drop_duplicates("image"), on="image")
        self._numbers = both[boxes.SIDES].to_numpy(np.float64)
        self._size = both[["width", "height"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        orientation = both["orientation"] if "orientation" in both else pd.Series(1, index=both.index)
        self._orientation = pd.to_numeric(orientation, errors="coerce").fillna(1).to_numpy(np.float64)
        self._image, images = pd.factorize(both["image"])
        self.count = len(images)
        first = np.unique(self._image, return_index=True)[1]
        self._reference = both[list(renamed.values())].to_numpy(np.float64)[first]
        self.turned = np.isin(self._orientation[first], (2, 3, 4, 5, 6, 7, 8))

    def fitting(self, reading: Reading, picture: Picture) -> NDArray[np.bool_]:
        """Returns for each image whether its largest box under a reading is on the detector's face, shape (count,)."""
        size = self._size
        if picture == "stored":
            size = np.where(np.isin(self._orientation, (5, 6, 7, 8))[:, None], size[:, ::-1], size)
        read = reading.boxes(self._numbers, size)
        if picture == "stored":
            read = convert_stored(read, self._orientation, self._size[:, 0], self._size[:, 1])
        area = np.where(boxes.is_box(read), boxes.area(read), -1)
        order = np.lexsort((-area, self._image))
        largest = order[np.unique(self._image[order], return_index=True)[1]]
        return np.asarray((area[largest] > 0) & (boxes.iou(read[largest], self._reference) > SAME_FACE))

    def resized(self) -> Iterator[Reading]:
        """Yields the readings as boxes of resized copies whose scale the centres tell."""
        centre = np.maximum(boxes.centre(self._numbers), 1e-9)
        wanted = boxes.centre(self._reference[self._image])
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = _middle(wanted / centre)
            side = _middle(centre * self._size.max(axis=1, keepdims=True) / wanted)
            square = _middle(centre * self._size / wanted)
        advice = "give boxes in pixels of the images in data/images"
        # A scale near 1 is the written reading; what remains has to be something that people resize to.
        if np.isfinite(scale) and not 0.8 < scale < 1.25:
            name = f"pixels of copies at about {1 / scale:.3g} times the size"
            yield Reading(name, lambda b, size: b * scale, advice)
        if np.isfinite(side):
            yield Reading(
                f"pixels of copies with a long side of about {side:.0f}",
                lambda b, size: b * size.max(axis=1, keepdims=True) / side,
                advice,
            )
        if np.isfinite(square):
            yield Reading(
                f"pixels of copies stretched to about {square:.0f} x {square:.0f}",
                lambda b, size: b * np.tile(size, 2) / square,
                advice,
            )


def _middle(ratios: Numbers) -> float:
    usable = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.median(usable)) if len(usable) else float("nan")


def _candidates(pairs: _Pairs, picture: Picture, with_resized: bool) -> Iterator[tuple[Reading, Picture]]:
    """Yields the other readings, the likelier ones first, and the picture that each is of."""
    readings = list(_READINGS)
    # These are fitted to the detector's boxes, so that they come near them by themselves.
    if with_resized and (picture == "displayed" or not pairs.turned.any()):
        readings += pairs.resized()
    yield from ((reading, picture) for reading in readings)
    if pairs.turned.any():
        other: Picture = "stored" if picture == "displayed" else "displayed"
        yield from ((reading, other) for reading in (_AS_WRITTEN, *_READINGS))


def _permuted(order: Sequence[int]) -> Callable[[Numbers], Numbers]:
    return lambda b: b[:, list(order)]


def _as_is(b: Numbers) -> Numbers:
    return b


def _from_corner(b: Numbers) -> Numbers:
    return np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1)


def _from_centre(b: Numbers) -> Numbers:
    return np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], axis=1)


def _centre_taken_for_corner(b: Numbers) -> Numbers:
    # What becomes of a centre and a size under the names x,y,width,height.
    return b - np.tile((b[:, 2:] - b[:, :2]) / 2, 2)


def _scaled(arrange: Callable[[Numbers], Numbers], whole: float) -> Callable[[Numbers, Numbers], Numbers]:
    # The parts are arranged first: a share of the width is no number of pixels to add to one of the height.
    return lambda b, size: arrange(b) * np.tile(size, 2) / whole


def _pixels(arrange: Callable[[Numbers], Numbers]) -> Callable[[Numbers, Numbers], Numbers]:
    return lambda b, size: arrange(b)


_CORNERS = "x1,y1,x2,y2"
_ARRANGEMENTS = {
    "x,y,width,height": (_from_corner, "name the columns x,y,width,height or convert them to x1,y1,x2,y2"),
    "centre x, centre y, width, height": (
        _from_centre,
        "name the columns x_center,y_center,width,height or convert them to x1,y1,x2,y2",
    ),
    "x,y,width,height with x,y the centre": (
        _centre_taken_for_corner,
        "name the columns x_center,y_center,width,height or convert them to x1,y1,x2,y2",
    ),
    "y1,x1,y2,x2": (_permuted((1, 0, 3, 2)), "name the columns y1,x1,y2,x2"),
    "x1,x2,y1,y2": (_permuted((0, 2, 1, 3)), "name the columns x1,x2,y1,y2"),
    "y1,y2,x1,x2": (_permuted((2, 0, 3, 1)), "name the columns y1,y2,x1,x2"),
    "top,right,bottom,left": (_permuted((3, 0, 1, 2)), "name the columns top,right,bottom,left"),
}
_AS_WRITTEN = Reading(_CORNERS, _pixels(_as_is), "give them in pixels of the images as displayed")
_UNITS = {"percentages": 100.0, "fractions": 1.0, "thousandths": 1000.0}
_IN_PIXELS = "convert them to pixels of the images as displayed, x1,y1,x2,y2"
_READINGS = [
    *(Reading(name, _pixels(arrange), advice) for name, (arrange, advice) in _ARRANGEMENTS.items()),
    *(
        Reading(f"{unit} of the image, {name}", _scaled(arrange, whole), _IN_PIXELS)
        for unit, whole in _UNITS.items()
        for name, arrange in {
            _CORNERS: _as_is,
            **{name: arrange for name, (arrange, _) in _ARRANGEMENTS.items()},
        }.items()
    ),
]
