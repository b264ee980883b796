"""Boxes for files and folders: the `predict` command."""

import csv
import glob
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from selfie_localizer import files, params
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.network import starter_network
from selfie_localizer.network.network_file import FIRST_FORM, FORMS
from selfie_localizer.photos import listing
from selfie_localizer.photos.decode import Pixels, decode, read_bytes
from selfie_localizer.photos.limits import ImageError, Limits
from selfie_localizer.progress import say, track
from selfie_localizer.registry import versions
from selfie_localizer.serving import find_model
from selfie_localizer.serving.locator import CHUNK, COLUMNS, Locator, Row

Format = Literal["table", "json", "csv"]
# What `--model` calls the first model.
STARTER = "starter"

_WIDEST_NAME = 60
_GREEN = (0, 255, 0)
_BLACK = (0, 0, 0)
_FULL_SIZE = 10**9
# What OpenCV writes; a picture of anything else is drawn as a JPEG.
_DRAWN = (".jpg", ".jpeg", ".png", ".webp")


def predict(
    paths: Sequence[str],
    model: str | None = None,
    form: Format = "table",
    draw: Path | None = None,
    min_score: float | Literal["auto"] = 0.0,
    second_look: bool | None = None,
    root: Path = Path("."),
    out: TextIO | None = None,
) -> None:
    """Prints the box of the face on each image, in order, as they are found.

    Memory does not grow with the number of images but for their names.

    Args:
        paths: Files, folders (searched through for JPEG, PNG and WebP) and glob patterns (`**` goes any depth).
        model: A URI such as `models:/selfie-localizer/3` or `runs:/ID`, a folder with a `model.keras` or a served
            model, or `starter`, the first model; None is the champion or, where there is none, the first model.
        form: `table`, `json` (one array) or `csv`.
        draw: Folder for pictures with box and score, in the same subfolders as the images; None draws none.
        min_score: Images with a lower score are neither printed nor drawn; how many they were is said at the end.
            `auto` is the least score that evaluate recommends for this model.
        second_look: Whether the network is asked once more about a crop around its first answer; None does as the
            served model was registered or, where it is none, as `serving.second_look` says.
        root: The project's folder.
        out: Where to print; stdout by default.

    Raises:
        UsageError: There are no images, `draw` would overwrite them, or `root` is no project's folder and has no model.
        UserError: None of the paths is there, there is no such model or, raised at the end, some image could not be
            used; each is on stderr.
    """
    out = out if out is not None else sys.stdout
    found = find(paths, draw)
    if not found:
        raise UsageError(f"no JPEG, PNG or WebP image in {', '.join(paths)}")
    if not any(os.path.lexists(path) for path in found):
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise UserError(f"{_shown(found[0])}{more}: no such file or folder; look at how the path is written")
    targets = _targets(found, draw) if draw is not None else {}
    name = model or default_model(root)
    locator = load(model, root, second_look)
    if model is None and name == STARTER:
        say("predict: there is no champion yet, so the first model answers, the starter weights as they are")
    least = _least_score(name, root) if min_score == "auto" else min_score
    failed: list[str] = []
    doubtful = drawn = 0

    def rows() -> Iterator[Row]:
        nonlocal doubtful, drawn
        for path, row in located:
            if row["error"] is None and row["score"] < least:
                doubtful += 1
                continue
            if path in targets and row["error"] is None:
                row["error"] = _draw(path, row, targets[path])
                drawn += row["error"] is None
            if row["error"] is not None:
                failed.append(f"{_shown(path)}: {row['error']}")
            yield {"image": _shown(path), **row}

    located: Iterable[tuple[Path, Row]] = _locate(locator, found)
    # On a terminal the results themselves show the progress, and a bar would run through them; few need none.
    if len(found) > CHUNK and not out.isatty():
        located = track(located, len(found), "predict")
    if form == "table":
        _write_table(rows(), max(len(str(path)) for path in found), out)
    elif form == "csv":
        _write_csv(rows(), out)
    else:
        _write_json(rows(), out)
    out.flush()
    if doubtful:
        say(f"{doubtful:,} of {len(found):,} images have a score below {least:g} and are left out")
    if drawn:
        pictures = "1 picture" if drawn == 1 else f"{drawn:,} pictures"
        say(f"predict: {pictures} with box and score in {draw}{os.sep}")
    if failed and len(found) == 1:
        raise UserError(failed[0])
    for line in failed:
        say(line)
    if failed:
        raise UserError(f"{len(failed):,} of {len(found):,} images could not be used; each is listed above")


def _least_score(name: str, root: Path) -> float:
    found = find_model.least_score(name, root)
    if found is None:
        say(f"predict: no least score is recommended for {name}, so that every box is shown; give --min-score a number")
    return found or 0.0


def find(paths: Sequence[str], skip: Path | None = None) -> list[Path]:
    """Returns the images that files, folders and glob patterns name, each once, folders in alphabetical order.

    Args:
        paths: What the user named; a file need neither exist nor look like an image.
        skip: A folder that is left out when its parents are searched through.
    """
    found: dict[Path, None] = {}
    for text in paths:
        is_pattern = glob.has_magic(text) and not Path(text).exists()
        for name in sorted(glob.glob(text, recursive=True)) if is_pattern else [text]:
            path = Path(name)
            found |= dict.fromkeys(_walk(path, skip) if path.is_dir() else [path])
    return list(found)


def _walk(folder: Path, skip: Path | None) -> list[Path]:
    found, ignored = listing.list_photos(folder, optional=True, skip=skip)
    if ignored:
        say(f"predict: {listing.printable(str(folder))}: {listing.passed_over(ignored)}")
    return [folder / entry.name for entry in found]


def _targets(found: Sequence[Path], draw: Path) -> dict[Path, Path]:
    """Returns where each image's picture goes: its path from the folder that all images share."""
    parents = [os.path.abspath(path.parent) for path in found]
    shared = os.path.commonpath(parents)
    targets = {}
    for path, parent in zip(found, parents, strict=True):
        name = path.name if path.suffix.lower() in _DRAWN else f"{path.name}.jpg"
        targets[path] = draw / os.path.relpath(parent, shared) / name
    originals = {path.resolve() for path in found}
    if any(target.resolve() in originals for target in targets.values()):
        raise UsageError(f"--draw {draw} would overwrite the images; give another folder")
    try:
        draw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--draw {draw}: cannot be made ({error.strerror})") from None
    return targets


def _locate(locator: Locator, found: Sequence[Path]) -> Iterator[tuple[Path, Row]]:
    for start in range(0, len(found), CHUNK):
        chunk = found[start : start + CHUNK]
        yield from zip(chunk, locator.locate(chunk, read_bytes), strict=True)


def _draw(path: Path, row: Row, target: Path) -> str | None:
    """Writes the image with its box and score; returns why it could not."""
    try:
        photo = decode(read_bytes(path), least_side=_FULL_SIZE)
        picture = np.asarray(cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2BGR), np.uint8)
        draw_box(picture, [round(row[key]) for key in ("x1", "y1", "x2", "y2")], f"{row['score']:.2f}")
        with files.atomic_write(target) as temporary:
            if not cv2.imwrite(str(temporary), picture):
                return f"{target} cannot be written"
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"{target} cannot be written ({error.strerror})"
    return None


def draw_box(picture: Pixels, box: Sequence[int], text: str) -> None:
    """Draws a box, and a text on a plate of the box's colour, which can be read on any photo.

    The plate stands on the box's upper edge or, where the picture ends there, hangs from it inside the box.

    Args:
        picture: BGR, uint8, shape (h, w, 3); is changed.
        box: `x1, y1, x2, y2` in whole pixels, the latter two exclusive.
        text: In ASCII.
    """
    x1, y1, x2, y2 = box
    line = max(2, round(max(picture.shape[:2]) / 200))
    cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), _GREEN, line)
    font, size, stroke = cv2.FONT_HERSHEY_SIMPLEX, line / 4, max(1, line // 2)
    (width, height), below = cv2.getTextSize(text, font, size, stroke)
    width, height = width + 2 * line, height + below + line
    left = max(0, min(x1 - line // 2, picture.shape[1] - width))
    top = y1 - height if y1 >= height else max(0, y1)
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), _GREEN, cv2.FILLED)
    foot = (left + line, top + height - below)
    cv2.putText(picture, text, foot, font, size, _BLACK, stroke, cv2.LINE_AA)


def _write_table(rows: Iterable[Row], widest: int, out: TextIO) -> None:
    width = min(max(widest, len("image")), _WIDEST_NAME)
    line = "{:<" + str(width) + "}  {:>8} {:>8} {:>8} {:>8}  {:>13}  {:>5}"
    print(line.format("image", "x1", "y1", "x2", "y2", "size", "score"), file=out)
    for row in rows:
        if row["score"] is None:
            print(f"{row['image']:<{width}}  {row['error']}", file=out)
            continue
        box = [f"{row[key]:.1f}" for key in ("x1", "y1", "x2", "y2")]
        size = f"{row['width']} x {row['height']}"
        print(line.format(row["image"], *box, size, f"{row['score']:.2f}"), file=out)


def _write_csv(rows: Iterable[Row], out: TextIO) -> None:
    writer = csv.DictWriter(out, ("image", *COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write_json(rows: Iterable[Row], out: TextIO) -> None:
    """Writes one array, a row to a line, without holding all rows."""
    out.write("[")
    separator = "\n"
    for row in rows:
        out.write(separator + json.dumps(row, ensure_ascii=False, allow_nan=False))
        separator = ",\n"
    out.write("\n]\n")


def load(model: str | None, root: Path = Path("."), second_look: bool | None = None) -> Locator:
    """Loads a model; see `predict` for the names it may have and for `second_look`.

    Raises:
        UsageError: It is looked for in `root`, which is no project's folder.
        UserError: There is no such model, or it is not a localizer.
    """
    name = model or default_model(root)
    settings = _settings(root)
    limits = Limits(**settings.photos.model_dump())
    looks_again = settings.serving.second_look if second_look is None else second_look
    if name == STARTER:
        try:
            network = starter_network.load(root)
        except UserError as error:
            find_model.check_project(root)
            missing = "" if model else "there is no champion yet: run `dvc repro` first; and no first model: "
            raise UserError(f"{missing}{error}") from None
        return Locator(network, starter_network.IMAGE_SIZE, limits, looks_again)
    with find_model.folder(name, root) as folder:
        # A served model is asked as it would be served; it needs no TensorFlow.
        if any((folder / "artifacts" / form.name).exists() for form in FORMS.values()):
            try:
                meta = find_model.meta(folder)
                form = FORMS[meta.get("form", FIRST_FORM)]
                looks_again = meta.get("second_look", False) if second_look is None else second_look
                network = form.load(folder / "artifacts" / form.name)
                return Locator(network, meta["image_size"], limits, looks_again)
            # The runtime's errors have nothing in common but this.
            except Exception as error:
                raise UserError(f"{name}: cannot be loaded ({find_model.first_line(error)})") from None
        trained = find_model.load_trained(name, folder, root)

    def keras_network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(trained.model.predict_on_batch(pixels))

    return Locator(keras_network, trained.image_size, limits, looks_again)


def default_model(root: Path = Path(".")) -> str:
    """Returns what answers where no model is named: the champion, or, where there is none, the first model."""
    return find_model.CHAMPION if versions.has_champion(root) else STARTER


def _settings(root: Path) -> params.Params:
    """Returns the project's parameters; outside of a project those that a project begins with."""
    found = root / params.PARAMS
    return params.load(found) if found.exists() else params.Params()


def _shown(path: Path) -> str:
    """Returns a path as text that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="replace")
