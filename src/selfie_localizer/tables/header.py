"""Which column of a table means what: the contract's names, those of common tools, or no header at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selfie_localizer.tables.numbers import is_number, split_list, with_point

FORM = "either image,x1,y1,x2,y2, or two columns: a path, and a text [x1, y1, x2, y2]"

Meaning = Literal["corners", "corner and size", "centre and size"]

# Names without anything but letters and digits; of several in one table, the first of a list counts.
_IMAGE = (
    *("image", "filename", "file", "path", "imagepath", "filepath", "img", "imgpath", "imagefile", "imagefilename"),
    *("imagename", "imageid", "imgname", "imgid", "name", "photo", "picture"),
)
_BOX = ("box", "bbox", "boundingbox", "bndbox", "boxes", "bboxes", "coordinates", "coords", "face", "rect", "rectangle")
_LEFT = ("x1", "xmin", "minx", "left", "xleft", "x0", "xstart", "x")
_TOP = ("y1", "ymin", "miny", "top", "ytop", "y0", "ystart", "y")
_RIGHT = ("x2", "xmax", "maxx", "right", "xright", "xend")
_BOTTOM = ("y2", "ymax", "maxy", "bottom", "ybottom", "yend")
_CENTRE_X = ("xcenter", "xcentre", "centerx", "centrex", "cx", "xc", "xmid", "midx")
_CENTRE_Y = ("ycenter", "ycentre", "centery", "centrey", "cy", "yc", "ymid", "midy")
# A table may hold the size of the image beside that of the box: the short name is the box's then.
_WIDTH = ("w", "boxwidth", "bboxwidth", "facewidth", "width")
_HEIGHT = ("h", "boxheight", "bboxheight", "faceheight", "height")
_OWNER = re.compile(r"^(bbox|box|bndbox|boundingbox|face|rect)(?=.)")
_ORDERS: dict[str, Meaning] = {"": "corners", "xyxy": "corners", "xywh": "corner and size", "cxcywh": "centre and size"}
_LISTS = {box + order: meaning for box in ("", *_BOX) for order, meaning in _ORDERS.items() if box + order}


@dataclass(frozen=True)
class Layout:
    """Where a table has what.

    Attributes:
        image: Index of the column with the path.
        numbers: Indices of the four numbers, or of the one column that holds them as a list.
        meaning: What the four numbers are.
        columns: How many columns the header has; 0 where there is no header and the first row is data.
        names: The header's names of the four numbers, for messages.
    """

    image: int
    numbers: tuple[int, ...]
    meaning: Meaning
    columns: int
    names: tuple[str, ...] = ()


def find_layout(first: Sequence[str]) -> Layout | None:
    """Returns the layout that the first row of a table shows, None where it makes no sense as header or as data.

    Args:
        first: The cells of the first row.
    """
    if len(first) < 2:
        return None
    return _without_header(first) or _named_columns(first) or _listed_column(first)


def plausibility(first: Sequence[str]) -> int:
    """Returns 2 where a first row says what its columns are, 1 where it may be any header of two columns, else 0."""
    layout = find_layout(first)
    if layout is None:
        return 0
    names = [_plain(name) for name in first]
    anonymous = layout.columns == 2 and (_place(names, _IMAGE) is None and not set(names) & set(_LISTS))
    return 1 if anonymous else 2


def missing_columns(first: Sequence[str]) -> list[str]:
    """Returns which of `image,x1,y1,x2,y2` a header lacks, by any of their names."""
    names = [_plain(name) for name in first]
    wanted = {"image": _IMAGE, "x1": _LEFT, "y1": _TOP, "x2": _RIGHT, "y2": _BOTTOM}
    return [name for name, others in wanted.items() if _place(names, others) is None]


def _without_header(first: Sequence[str]) -> Layout | None:
    if len(first) >= 5 and all(is_number(with_point(cell)) for cell in first[1:5]):
        return Layout(0, (1, 2, 3, 4), "corners", 0)
    if split_list(",".join(first[1:]).rstrip(","))[1]:
        return Layout(0, (1,), "corners", 0)
    return None


def _named_columns(first: Sequence[str]) -> Layout | None:
    names = [_plain(name) for name in first]
    image = _place(names, _IMAGE)
    if image is None:
        return None
    if {"x0", "y0", "x1", "y1"} <= set(names) and not {"x2", "y2"} & set(names):
        found: list[int | None] = [names.index(name) for name in ("x0", "y0", "x1", "y1")]
        return _layout(first, image, found, "corners")
    left, top = _place(names, _LEFT), _place(names, _TOP)
    size = [_place(names, _WIDTH), _place(names, _HEIGHT)]
    return (
        _layout(first, image, [left, top, _place(names, _RIGHT), _place(names, _BOTTOM)], "corners")
        or _layout(first, image, [_place(names, _CENTRE_X), _place(names, _CENTRE_Y), *size], "centre and size")
        or _layout(first, image, [left, top, *size], "corner and size")
    )


def _listed_column(first: Sequence[str]) -> Layout | None:
    names = [re.sub(r"[\W_]+", "", name.lower()) for name in first]
    place = next((place for place, name in enumerate(names) if name in _LISTS), None)
    image = _place(names, _IMAGE)
    if len(first) == 2:
        # The article's two columns, whatever they are called.
        place = place if place is not None else int(image != 1)
        image = 1 - place
    if place is None or image is None or image == place:
        return None
    return Layout(image, (place,), _LISTS.get(names[place], "corners"), len(first), (first[place],))


def _layout(first: Sequence[str], image: int, found: Sequence[int | None], meaning: Meaning) -> Layout | None:
    places = tuple(place for place in found if place is not None)
    if len(places) < 4:
        return None
    return Layout(image, places, meaning, len(first), tuple(first[place] for place in places))


def _plain(name: str) -> str:
    letters = re.sub(r"[\W_]+", "", name.lower())
    without_owner = _OWNER.sub("", letters)
    # `box_x1` is x1, but `box_width` stays, since `width` alone may be the image's; `facename` is no image.
    return without_owner if without_owner in _COORDINATES else letters


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


_COORDINATES = {"w", "h", *_LEFT, *_TOP, *_RIGHT, *_BOTTOM, *_CENTRE_X, *_CENTRE_Y}
