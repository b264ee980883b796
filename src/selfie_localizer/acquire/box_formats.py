"""COCO, YOLO, Pascal VOC and Label Studio, read with the standard library.

`supervision` reads the first three, but it decodes every image to learn its size for Pascal VOC, rounds boxes to whole
pixels there, refuses equal file names in different folders, and brings FFmpeg (36 MB) along.
"""

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from selfie_localizer import files
from selfie_localizer.errors import UserError

Form = Literal["coco", "yolo", "voc", "labelstudio"]

# Text files that stand beside YOLO's boxes and hold none.
_NO_BOXES = ("classes", "obj", "train", "val", "valid", "test", "readme", "readme.roboflow", "readme.dataset", "notes")
_LIKE_AN_IMAGE = re.compile(r"\.(jpe?g|jfif|png|webp|hei[cf])\b|[?&]d=", re.IGNORECASE)
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")


@dataclass(frozen=True)
class FoundBox:
    """A box as another tool wrote it.

    Attributes:
        names: What the image may be called, the likeliest first.
        label: The class; empty where there is none.
        corners: `x1,y1,x2,y2`.
        size: Width and height, in pixels, of the image that the corners belong to; (1, 1) where they are fractions
            of any size, None where the tool did not say.
        view: The EXIF orientation that leads from the view that was annotated to the picture as displayed, where the
            annotator had turned the view; else 1.
    """

    names: tuple[str, ...]
    label: str
    corners: tuple[float, float, float, float]
    size: tuple[float, float] | None
    view: int = 1


def read_boxes(form: Form, source: Path) -> tuple[list[FoundBox], int]:
    """Reads the boxes of a file or a folder.

    Returns:
        The boxes in the order in which they were found, and how many entries held none that can be read.

    Raises:
        UserError: `source` is missing, cannot be read or is not of this form.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if form in ("yolo", "voc"):
        if not source.is_dir():
            raise UserError(f"{source}: not a folder; {form} is a folder of files")
    else:
        files.check_regular(source)
    entries = list(_READERS[form](source))
    if not entries:
        raise UserError(f"{source}: no box of the form {form} in it")
    found = [entry for entry in entries if entry is not None and all(map(math.isfinite, entry.corners))]
    return found, len(entries) - len(found)


def _coco(path: Path) -> Iterator[FoundBox | None]:
    content = _json(path)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    ):
        raise UserError(f"{path}: not COCO; it needs the lists images and annotations")
    images = {
        str(image["id"]): image for image in _objects(content["images"]) if "id" in image and "file_name" in image
    }
    labels = {str(kind.get("id")): str(kind.get("name", "")) for kind in _objects(content.get("categories") or [])}
    for entry in content["annotations"]:
        image = images.get(str(entry.get("image_id"))) if isinstance(entry, dict) else None
        four = _four(entry.get("bbox")) if image else None
        # A crowd's box is around many faces.
        if image is None or four is None or entry.get("iscrowd"):
            yield None
            continue
        x, y, width, height = four
        size = _pair(image.get("width"), image.get("height"))
        label = labels.get(str(entry.get("category_id")), "")
        yield FoundBox((str(image["file_name"]),), label, (x, y, x + width, y + height), size)


def _yolo(folder: Path) -> Iterator[FoundBox | None]:
    labels = _yolo_labels(folder)
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if PurePosixPath(name).name.lower() in _NO_BOXES:
            continue
        name = name.removeprefix("labels/")
        for line in _text(path).splitlines():
            cells = line.split()
            if not cells:
                continue
            numbers = [_number(cell) for cell in cells[1:]]
            known = [number for number in numbers if number is not None]
            corners = _yolo_corners(known) if len(known) == len(numbers) else None
            yield FoundBox((name,), labels.get(cells[0], cells[0]), corners, (1, 1)) if corners else None


def _yolo_corners(numbers: list[float]) -> tuple[float, float, float, float] | None:
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    # A polygon or a turned box: the box around it.
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    return None


def _yolo_labels(folder: Path) -> dict[str, str]:
    for place in (folder, folder.parent):
        for name in ("data.yaml", "data.yml"):
            if (place / name).is_file():
                return _yaml_labels(place / name)
        for name in ("classes.txt", "obj.names"):
            if (place / name).is_file():
                return {str(number): text.strip() for number, text in enumerate(_text(place / name).splitlines())}
    return {}


def _yaml_labels(path: Path) -> dict[str, str]:
    from ruamel.yaml import YAML, YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(_text(path))
    except YAMLError:
        raise UserError(f"{path}: not YAML; mend or remove it") from None
    names = content.get("names") if isinstance(content, dict) else None
    pairs: Any = names.items() if isinstance(names, Mapping) else enumerate(names if isinstance(names, list) else [])
    return {str(number): str(name) for number, name in pairs}


def _voc(folder: Path) -> Iterator[FoundBox | None]:
    for path in sorted(folder.rglob("*.xml")):
        root = _xml(path)
        if root.tag != "annotation":
            continue
        written = (root.findtext("filename") or path.with_suffix("").name).strip().replace("\\", "/")
        inside = path.parent.relative_to(folder).as_posix().removeprefix("Annotations").strip("/.")
        names = [written] if "/" in written or not inside else [f"{inside}/{written}", written]
        names += [name.strip() for name in (root.findtext("path"), path.with_suffix("").name) if name]
        size = _pair(root.findtext("size/width"), root.findtext("size/height"))
        for thing in root.iter("object"):
            corners = [_number(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            four = _four(corners)
            yield FoundBox(tuple(names), (thing.findtext("name") or "").strip(), four, size) if four else None


def _label_studio(path: Path) -> Iterator[FoundBox | None]:
    content = _json(path)
    if not isinstance(content, list):
        raise UserError(f"{path}: not a JSON export of Label Studio; it is a list of tasks")
    for task in _objects(content):
        names = _label_studio_names(task)
        for region in _label_studio_regions(task):
            yield _label_studio_box(names, region)


def _label_studio_regions(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(task.get("annotations"), list):
        for annotation in _objects(task["annotations"]):
            if not annotation.get("was_cancelled"):
                for result in _objects(annotation.get("result") or []):
                    if isinstance(result.get("value"), dict) and {"x", "width"} <= set(result["value"]):
                        yield result["value"] | {key: result[key] for key in result if key != "value"}
        return
    # JSON-MIN: the regions stand in the task under the name of their control.
    for regions in task.values():
        if isinstance(regions, list):
            yield from (region for region in _objects(regions) if {"x", "y", "width", "height"} <= set(region))


def _label_studio_box(names: tuple[str, ...], region: dict[str, Any]) -> FoundBox | None:
    percent = _four([region.get(key) for key in ("x", "y", "width", "height")])
    if percent is None:
        return None
    size = _pair(region.get("original_width"), region.get("original_height"))
    across, down = size or (1.0, 1.0)
    x, y, width, height = (part * whole / 100 for part, whole in zip(percent, (across, down) * 2, strict=True))
    # A turned rectangle turns about its upper left corner, clockwise; the box is what is around it.
    turn = math.radians(_number(region.get("rotation")) or 0.0)
    cos, sin = math.cos(turn), math.sin(turn)
    ends = [(x + u * cos - v * sin, y + u * sin + v * cos) for u in (0, width) for v in (0, height)]
    xs, ys = [end[0] for end in ends], [end[1] for end in ends]
    labels = region.get("rectanglelabels") or region.get("labels") or [""]
    # The numbers are those of the unturned picture, and so is the size. Where the size is that of the turned view,
    # which the importer sees, the numbers are too.
    view = {90: 8, 180: 3, 270: 6}.get(int(_number(region.get("image_rotation")) or 0) % 360, 1)
    label = str(labels[0]) if isinstance(labels, list) else str(labels)
    return FoundBox(names, label, (min(xs), min(ys), max(xs), max(ys)), size or (1, 1), view)


def _label_studio_names(task: dict[str, Any]) -> tuple[str, ...]:
    data = task["data"] if isinstance(task.get("data"), dict) else task
    # Any key may hold the image; a caption is none.
    texts = [data[key] for key in ("image", "img", "photo", *data) if isinstance(data.get(key), str)]
    texts = [text for text in texts if _LIKE_AN_IMAGE.search(text)]
    if isinstance(task.get("file_upload"), str):
        texts.append(task["file_upload"])
    names = []
    for text in texts:
        path = _path_of_address(text)
        if re.search(r"(^|/)upload/", path) or text == task.get("file_upload"):
            path = path.replace("\\", "/").rsplit("/", 1)[-1]
            names.append(_UPLOAD_PREFIX.sub("", path, count=1))
        names.append(path)
    return tuple(dict.fromkeys(names)) or ("(no image)",)


def _path_of_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    served = parse_qs(parts.query).get("d") if "/local-files/" in parts.path else None
    if served:
        return served[0]
    # A scheme of one letter is a drive.
    return unquote(parts.path) if len(parts.scheme) > 1 or parts.path.startswith("/data/upload/") else text


class _NoDoctype(ET.TreeBuilder):
    """Builds a tree, but refuses a document type: its entities can fill the memory or name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("a document type, which no annotation needs")


def _xml(path: Path) -> ET.Element:
    try:
        return ET.fromstring(path.read_bytes(), ET.XMLParser(target=_NoDoctype()))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not XML as Pascal VOC has it ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not JSON") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _objects(entries: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else iter(())


def _number(written: Any) -> float | None:
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        return None
    try:
        number = float(written)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _four(written: Any) -> tuple[float, float, float, float] | None:
    numbers = [_number(part) for part in written] if isinstance(written, list) else []
    known = [number for number in numbers if number is not None]
    return (known[0], known[1], known[2], known[3]) if len(numbers) == len(known) == 4 else None


def _pair(width: Any, height: Any) -> tuple[float, float] | None:
    across, down = _number(width), _number(height)
    return (across, down) if across and down and across > 0 and down > 0 else None


_READERS: dict[Form, Callable[[Path], Iterator[FoundBox | None]]] = {
    "coco": _coco,
    "yolo": _yolo,
    "voc": _voc,
    "labelstudio": _label_studio,
}
