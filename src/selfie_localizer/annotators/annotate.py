"""The annotate stage: looks at every image once, and draws a box on each that came without any."""

import csv
import functools
import io
import itertools
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfie_localizer import boxes, files, images, parallel, params
from selfie_localizer.annotators import haar, yunet
from selfie_localizer.dataset import given, listing, phash
from selfie_localizer.dataset.store import GIVEN
from selfie_localizer.errors import UserError
from selfie_localizer.progress import Progress, say
from selfie_localizer.state import locked_state

CHUNK = 32
NAMED = 50
IMAGE_COLUMNS = ("image", "width", "height", "bytes", "sha256", "phash", "error")
BOX_COLUMNS = ("image", "x1", "y1", "x2", "y2", "width", "height", "source")

DETECTORS = {"haar": haar, "yunet": yunet}

# What is known of an image: the columns of images.csv, and `box` and `source`, which are empty without a face.
Look = dict[str, Any]


def annotate(settings: params.Annotate, workers: int = 0, root: Path = Path(".")) -> None:
    """Reads `data/images` and writes `build/images.csv`, `build/annotations.csv` and `reports/annotate.json`.

    `images.csv` has a row for every file with an image's suffix, sorted by path, with the reason in `error` where it
    cannot be used. `annotations.csv` has a row for every image with a face or, where `data/annotations.csv` exists,
    the rows of that file. After a kill the same call goes on where it stopped. The bytes written depend neither on
    that nor on the number of workers.

    Args:
        settings: The section `annotate` of the parameters.
        workers: Number of processes; 0 means all cores.
        root: The project's folder.

    Raises:
        UserError: There are no images or none can be read, `data/annotations.csv` has neither of its two forms, or
            the detector cannot be used.
    """
    folder = root / "data/images"
    boxes_given = root / "data/annotations.csv"
    rows = given.read_given(boxes_given) if os.path.lexists(boxes_given) else None
    detector = settings.model_copy(update={"model": str(root / settings.model)}) if rows is None else None
    version = DETECTORS[settings.method].check(detector) if detector else ""
    entries, ignored = listing.list_images(folder)

    code = files.code_digest(images, boxes, given, haar, yunet, listing, phash, sys.modules[__name__])
    known = [[entry.name, entry.size, entry.changed] for entry in entries]
    fingerprint = files.digest(code, version, settings.model_dump() if detector else None, known)
    with locked_state("annotate", fingerprint, root / ".state") as state:
        parts = _look_at_all(folder, entries, detector, workers, state)
        report = {"ignored": _named(ignored)} | _report(_looks(parts))
        if report["readable"] == 0:
            files.write_json(root / "reports/annotate.json", report)
            raise UserError(
                f"{folder}: none of the {len(entries):,} images can be read; "
                f"{root / 'reports/annotate.json'} names the reasons; {listing.MEND}"
            )
        if rows is None:
            table: Iterator[Sequence[Any]] = (_box_row(look) for look in _looks(parts) if look["box"])
            report |= {"method": settings.method, "parameters": settings.of_method()}
        else:
            rows, several = given.keep_largest(rows)
            sizes = {look["image"]: (look["width"], look["height"]) for look in _looks(parts)}
            table = ((row.image, *row.texts, *sizes.get(row.image, ("", "")), GIVEN) for row in rows)
            report |= {"method": GIVEN, "parameters": {}} | _report_given(rows, several, _looks(parts))
        _write_csv(root / "build/images.csv", IMAGE_COLUMNS, (_image_row(look) for look in _looks(parts)))
        _write_csv(root / "build/annotations.csv", BOX_COLUMNS, table)
        files.write_json(root / "reports/annotate.json", report)
        shutil.rmtree(state)
    share = report["found"] / report["readable"]
    say(
        f"annotate: a face on {report['found']:,} of {report['readable']:,} images ({share:.0%}), "
        f"{report['unreadable']['count']:,} unreadable; see reports/annotate.json"
    )


def _look_at_all(
    folder: Path, entries: Sequence[listing.Entry], detector: params.Annotate | None, workers: int, state: Path
) -> list[Path]:
    """Looks at all images, keeping what is known of each chunk in a file, and returns these files in order."""
    starts = range(0, len(entries), CHUNK)
    parts = [state / f"{start:08d}.json" for start in starts]
    chunks = [entries[start : start + CHUNK] for start in starts]
    todo = [index for index, part in enumerate(parts) if not part.exists()]
    done = len(entries) - sum(len(chunks[index]) for index in todo)
    if done:
        say(f"annotate: {done:,} of {len(entries):,} images were done before the interruption; going on")
    work = functools.partial(_look_at_chunk, folder, detector)
    with Progress("annotate", len(entries), done=done) as progress:
        results = parallel.map_in_order(work, (chunks[index] for index in todo), workers)
        for index, looks in zip(todo, results, strict=True):
            with files.atomic_write(parts[index]) as temporary:
                temporary.write_text(json.dumps(looks), encoding="utf-8")
            progress.update(len(looks))
    return parts


def _look_at_chunk(folder: Path, detector: params.Annotate | None, entries: Sequence[listing.Entry]) -> list[Look]:
    return [_look_at(folder, detector, entry) for entry in entries]


def _look_at(folder: Path, detector: params.Annotate | None, entry: listing.Entry) -> Look:
    look: Look = dict.fromkeys(IMAGE_COLUMNS, "") | {"box": None, "source": ""}
    look |= {"image": listing.printable(entry.name), "bytes": entry.size}
    try:
        if look["image"] != entry.name:
            raise images.ImageError("its name is not valid UTF-8; rename it")
        data = images.read_bytes(folder / entry.name)
        look |= {"bytes": len(data), "sha256": files.sha256(data)}
        pixels = images.decode(data)
    except images.ImageError as error:
        return look | {"error": str(error)}
    look |= {"height": pixels.shape[0], "width": pixels.shape[1], "phash": phash.perceptual_hash(pixels)}
    found = DETECTORS[detector.method].detect(pixels, detector) if detector else None
    return look | {"box": [int(corner) for corner in found[0]], "source": found[1]} if found else look


def _looks(parts: Iterable[Path]) -> Iterator[Look]:
    # One chunk at a time, so that memory does not grow with the number of images.
    for part in parts:
        yield from json.loads(part.read_text(encoding="utf-8"))


def _image_row(look: Look) -> list[Any]:
    return [look[column] for column in IMAGE_COLUMNS]


def _box_row(look: Look) -> list[Any]:
    return [look["image"], *look["box"], look["width"], look["height"], look["source"]]


def _report(looks: Iterable[Look]) -> dict[str, Any]:
    images_seen, readable = 0, 0
    sources: Counter[str] = Counter()
    reasons: dict[str, list[str]] = {}
    missed = []
    for look in looks:
        images_seen += 1
        if look["error"]:
            reasons.setdefault(look["error"], []).append(look["image"])
            continue
        readable += 1
        if look["box"]:
            sources[look["source"]] += 1
        else:
            missed.append(look["image"])
    return {
        "images": images_seen,
        "readable": readable,
        "unreadable": {
            "count": images_seen - readable,
            "reasons": {reason: _named(names) for reason, names in reasons.items()},
        },
        "found": readable - len(missed),
        "found_by": dict(sources),
        "without_detection": _named(missed),
    }


def _report_given(rows: Sequence[given.Row], several: int, looks: Iterable[Look]) -> dict[str, Any]:
    """Counts rows against images; what `_report` says of detections is replaced."""
    readable = {look["image"]: not look["error"] for look in looks}
    with_box = {row.image for row in rows if row.area is not None}
    missed = [name for name, usable in readable.items() if usable and name not in with_box]
    found = sum(readable.values()) - len(missed)
    return {
        "found": found,
        "found_by": {GIVEN: found},
        "without_detection": _named(missed),
        "rows": len(rows),
        "rows_that_are_no_box": sum(row.area is None for row in rows),
        "rows_without_image": _named([row.image for row in rows if row.image not in readable]),
        "largest_taken": several,
    }


def _named(names: Sequence[str]) -> dict[str, Any]:
    return {"count": len(names), "files": list(names[:NAMED])}


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    line = io.StringIO()
    # Only a dialect whose lines end so puts a carriage return in a file's name between quotes.
    writer = csv.writer(line, lineterminator="\r\n")
    with files.atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        for row in itertools.chain([header], rows):
            line.seek(0)
            line.truncate()
            writer.writerow(row)
            stream.write(line.getvalue()[:-2] + "\n")
