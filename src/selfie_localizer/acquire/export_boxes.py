"""Labels, or one of the tables of `data/`, in the formats of annotation tools."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pandas as pd

from selfie_localizer import boxes, files
from selfie_localizer.acquire.box_formats import Form
from selfie_localizer.acquire.photo_sizes import read_size
from selfie_localizer.errors import UserError
from selfie_localizer.photos import listing
from selfie_localizer.progress import say
from selfie_localizer.tables.read import read

TABLES = ("labels", "annotations", "truth", "trusted")
LABEL = "face"
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def export_boxes(form: Form, out: Path, root: Path = Path("."), table: str = "labels") -> None:
    """Writes boxes in another tool's form; whole or not at all.

    Images are named by their paths below `data/images`. For Label Studio they are local files: start it with
    `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` set to the folder `data`.

    Args:
        form: `coco` and `labelstudio` write a JSON file; `yolo` a folder with `labels/`, `classes.txt` and
            `data.yaml`; `voc` a folder of XML files.
        out: The file or folder; must not be there yet.
        root: The project's folder.
        table: `labels` is `build/labels.csv`; `annotations`, `truth` and `trusted` are those in `data/`.

    Raises:
        UserError: `out` is there, the table is missing or has no box, or a name cannot be written in this form.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"{out}: is there already; remove it or choose another name")
    found = _with_sizes(_boxes(table, root), root)
    with files.atomic_write(out) as temporary:
        _WRITERS[form](found, temporary)
    say(f"export-boxes: {len(found):,} boxes on {found['image'].nunique():,} images written to {out}")


def _boxes(table: str, root: Path) -> pd.DataFrame:
    """Returns `image`, `x1,y1,x2,y2` (float64) and, where the table has them, `width` and `height`."""
    path = root / "build/labels.csv" if table == "labels" else root / "data" / f"{table}.csv"
    if not path.exists():
        mend = "run `dvc repro label`" if table == "labels" else "choose another table"
        raise UserError(f"{path}: not there; {mend}")
    if table == "labels":
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in ("image", *boxes.SIDES) if name not in found]
        if missing:
            raise UserError(f"{path}: no column {', '.join(missing)}; run `dvc repro label`")
        found[boxes.SIDES] = found[boxes.SIDES].apply(pd.to_numeric, errors="coerce").astype("float64")
    else:
        images = [listing.printable(entry.name) for entry in listing.list_photos(root / "data/images")[0]]
        found = read(path, images).numbers()
    found = found[boxes.is_box(found[boxes.SIDES])].reset_index(drop=True)
    if found.empty:
        raise UserError(f"{path}: no box of an image in it, so there is nothing to export")
    return found[[name for name in ("image", *boxes.SIDES, "width", "height") if name in found]]


def _with_sizes(found: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Adds `width` and `height` as displayed, in pixels, where they are not there: from the listing, else the photo."""
    if "width" in found and "height" in found:
        return found.assign(**{name: pd.to_numeric(found[name]) for name in ("width", "height")})
    known: dict[str, tuple[int, int]] = {}
    listed = root / "build/images.csv"
    if listed.exists():
        table = pd.read_csv(listed, dtype=str, keep_default_na=False)
        table = table[(table["width"] != "") & (table["height"] != "")]
        known = {
            name: (int(width), int(height))
            for name, width, height in zip(table["image"], table["width"], table["height"], strict=True)
        }
    for name in found["image"].unique():
        if name not in known:
            size = read_size(root / "data/images" / name)
            known[name] = (size.width, size.height)
    sizes = [known[name] for name in found["image"]]
    return found.assign(width=[size[0] for size in sizes], height=[size[1] for size in sizes])


def _grouped(found: pd.DataFrame) -> list[tuple[str, float, float, list[tuple[float, ...]]]]:
    """Returns name, width, height and boxes of each image, in the order of the table."""
    groups = []
    for name, rows in found.groupby("image", sort=False):
        corners = [tuple(map(float, row)) for row in rows[boxes.SIDES].to_numpy()]
        groups.append((str(name), float(rows["width"].iloc[0]), float(rows["height"].iloc[0]), corners))
    return groups


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _coco(found: pd.DataFrame, path: Path) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, width, height, corners) in enumerate(_grouped(found), start=1):
        images.append({"id": number, "file_name": name, "width": int(width), "height": int(height)})
        for x1, y1, x2, y2 in corners:
            box = [x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box}
            annotations.append(entry | {"area": round(box[2] * box[3], 6), "iscrowd": 0, "segmentation": []})
    kinds = [{"id": 1, "name": LABEL, "supercategory": "person"}]
    _write_json({"images": images, "annotations": annotations, "categories": kinds}, path)


def _label_studio(found: pd.DataFrame, path: Path) -> None:
    tasks = []
    for name, width, height, corners in _grouped(found):
        regions = []
        for x1, y1, x2, y2 in corners:
            place = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
            value = {key: part * 100 for key, part in place.items()} | {"rotation": 0, "rectanglelabels": [LABEL]}
            size = {"original_width": int(width), "original_height": int(height), "image_rotation": 0}
            control = {"from_name": "label", "to_name": "image", "type": "rectanglelabels"}
            regions.append(size | control | {"value": value})
        address = f"/data/local-files/?d={quote(f'images/{name}')}"
        tasks.append({"data": {"image": address}, "annotations": [{"result": regions}]})
    _write_json(tasks, path)


def _yolo(found: pd.DataFrame, folder: Path) -> None:
    written: dict[str, str] = {}
    for name, width, height, corners in _grouped(found):
        place = _below(name).with_suffix(".txt")
        # YOLO knows an image by its name without the suffix.
        other = written.setdefault(str(place).casefold(), name)
        if other != name:
            raise UserError(
                f"{other} and {name} would share {place} in YOLO's form; rename one, or choose another form"
            )
        lines = []
        for x1, y1, x2, y2 in corners:
            numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join(["0", *(f"{number:.10g}" for number in numbers)]))
        path = folder / "labels" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text(f"{LABEL}\n", encoding="utf-8")
    (folder / "data.yaml").write_text(f"train: images\nval: images\nnames: {{0: {LABEL}}}\n", encoding="utf-8")


def _voc(found: pd.DataFrame, folder: Path) -> None:
    folder.mkdir()
    for name, width, height, corners in _grouped(found):
        if _NOT_IN_XML.search(name):
            raise UserError(f"{name!r}: XML cannot hold this name; rename the file, or choose another form")
        place = _below(name)
        root = ET.Element("annotation")
        ET.SubElement(root, "folder").text = str(place.parent) if len(place.parts) > 1 else ""
        ET.SubElement(root, "filename").text = place.name
        size = ET.SubElement(root, "size")
        for side, pixels in (("width", width), ("height", height), ("depth", 3)):
            ET.SubElement(size, side).text = str(int(pixels))
        for box in corners:
            thing = ET.SubElement(root, "object")
            for key, text in (("name", LABEL), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
                ET.SubElement(thing, key).text = text
            bounds = ET.SubElement(thing, "bndbox")
            for side, number in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ET.SubElement(bounds, side).text = f"{number:.10g}"
        path = folder / place.with_suffix(".xml")
        # The file's name is free here, since the image's stands inside.
        path = folder / f"{place}.xml" if path.exists() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        ET.indent(root)
        ET.ElementTree(root).write(path, encoding="utf-8")


def _below(name: str) -> PurePosixPath:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise UserError(f"{name}: leads out of the folder of images; mend the table")
    return place


_WRITERS: dict[Form, Callable[[pd.DataFrame, Path], None]] = {
    "coco": _coco,
    "yolo": _yolo,
    "voc": _voc,
    "labelstudio": _label_studio,
}
