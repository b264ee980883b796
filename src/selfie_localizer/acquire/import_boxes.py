"""Boxes of annotation tools into one of the tables of `data/`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from selfie_localizer import boxes, files
from selfie_localizer.acquire.box_formats import Form, FoundBox, read_boxes
from selfie_localizer.acquire.photo_sizes import PhotoSize, read_size
from selfie_localizer.errors import UserError
from selfie_localizer.photos import listing
from selfie_localizer.progress import say
from selfie_localizer.tables.names import ImageNames
from selfie_localizer.tables.readings import convert_stored

Kind = Literal["annotations", "truth", "trusted"]
KINDS = ("annotations", "truth", "trusted")
FORMS = ("coco", "yolo", "voc", "labelstudio")


def import_boxes(form: Form, source: Path, kind: Kind, root: Path = Path("."), replace: bool = False) -> None:
    """Reads boxes in another tool's form and writes `data/annotations.csv`, `data/truth.csv` or `data/trusted.csv`.

    The table is `image,x1,y1,x2,y2` in pixels of the image as displayed. Where the tool says for which size its boxes
    are, they are scaled to the photo; where that is the size before the photo's EXIF turn, they are turned as well. Of
    several classes only those with `face` in their name are taken, if there are any. What was taken, skipped and
    matched no image is said.

    Args:
        form: `coco` and `labelstudio` are JSON files, `yolo` and `voc` folders.
        source: The file or folder.
        kind: Which table to write.
        root: The project's folder.
        replace: Overwrite the table.

    Raises:
        UserError: The table is there and `replace` is not given, there are no images, `source` is not of this form, or
            none of its boxes belongs to an image.
    """
    target = root / "data" / f"{kind}.csv"
    if os.path.lexists(target) and not replace:
        raise UserError(f"{target}: is there already; add --replace to overwrite it")
    files.check_regular(target)
    folder = root / "data/images"
    images = [listing.printable(entry.name) for entry in listing.list_photos(folder)[0]]
    found, skipped = read_boxes(form, source)
    faces = _faces(found)
    matched = _match(faces, images)
    sizes: dict[str, PhotoSize] = {}
    lines, lost, taken = [], set(), set()
    for box, image in zip(faces, matched, strict=True):
        if image is None:
            lost.add(box.names[0])
            continue
        if image not in sizes:
            sizes[image] = read_size(folder / image)
        corners = _displayed(box, sizes[image])
        if not boxes.is_box(corners):
            skipped += 1
            continue
        taken.add(image)
        lines.append(",".join([_quoted(image), *(_shortest(corner) for corner in corners)]))
    skipped += len(found) - len(faces)
    if not lines:
        wanted = f"; looked for {folder / min(lost)}" if lost else ""
        raise UserError(f"{source}: 0 of {len(found) + skipped:,} boxes belong to an image{wanted}")
    with files.atomic_write(target) as temporary:
        temporary.write_text("\n".join(["image,x1,y1,x2,y2", *lines]) + "\n", encoding="utf-8", newline="")
    said = f"import: {len(lines):,} boxes on {len(taken):,} images written to {target}, {skipped:,} skipped"
    said += f" (of another class, or no box), {len(lost):,} of its images are not in {folder}"
    say(said + (f", the first {min(lost)}" if lost else ""))


def _faces(found: list[FoundBox]) -> list[FoundBox]:
    named = {box.label for box in found if "face" in box.label.casefold()}
    return [box for box in found if box.label in named] if named else found


def _match(found: Sequence[FoundBox], images: Sequence[str]) -> list[str | None]:
    """Returns the image of each box; the first of its names that is any image's counts."""
    names = ImageNames(images)
    matched: list[str | None] = [None] * len(found)
    for turn in range(max((len(box.names) for box in found), default=0)):
        open_places = [place for place, name in enumerate(matched) if name is None and turn < len(found[place].names)]
        meant = names.match_all([found[place].names[turn] for place in open_places])
        for place, name in zip(open_places, meant, strict=True):
            matched[place] = name
    # Label Studio keeps only letters, digits and `-_.` of an uploaded file's name.
    uploaded: dict[str, str | None] = {}
    for image in images:
        kept = _as_uploaded(image)
        uploaded[kept] = None if kept in uploaded else image
    for place, box in enumerate(found):
        if matched[place] is None and box.names[0] == _as_uploaded(box.names[0]):
            matched[place] = uploaded.get(box.names[0])
    return matched


def _as_uploaded(name: str) -> str:
    return re.sub(r"[^-\w.]", "", name.rsplit("/", 1)[-1].strip().replace(" ", "_"))


def _displayed(box: FoundBox, photo: PhotoSize) -> np.ndarray:
    """Returns a box in pixels of the photo as displayed, shape (4,)."""
    corners = np.array(box.corners, dtype=np.float64)
    if box.size is None:
        return corners
    if box.size == (1, 1):
        return boxes.scale(corners, photo.width, photo.height)
    width, height = box.size
    wanted = photo.width / photo.height
    # A photo whose sides are nearly equal does not tell whether its size is that before or after a turn.
    lies_across = abs(np.log(wanted)) > 0.02 and abs(np.log(width / height * wanted)) < 0.01
    turn = (box.view if box.view in (6, 8) else photo.orientation) if lies_across else 1
    if turn >= 5:
        corners = convert_stored(corners, turn, height, width)
        width, height = height, width
    return boxes.scale(corners, photo.width / width, photo.height / height)


def _shortest(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")


def _quoted(name: str) -> str:
    # The csv module leaves a carriage return in a name bare where lines end in a line feed alone.
    plain = name == name.strip() and not set(name) & set(',;"\r\n\t')
    return name if plain else '"' + name.replace('"', '""') + '"'
