"""The annotate stage: finds out what can be known of every photo, and asks annotators where the face is."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from selfie_localizer import files, parallel, params
from selfie_localizer.annotators import cache, catalogue, given
from selfie_localizer.annotators.examine import annotator_question
from selfie_localizer.annotators.given import GivenBoxes
from selfie_localizer.annotators.inquiry import NOT_ASKED, READ_AT_ONCE, Facts, File, Inquiry
from selfie_localizer.annotators.report import Report
from selfie_localizer.photos import listing
from selfie_localizer.photos.decode import read_bytes
from selfie_localizer.photos.limits import ImageError, Limits
from selfie_localizer.progress import say

IMAGE_COLUMNS = ("image", "width", "height", "bytes", "sha256", "phash", "orientation", "taken", "error")
BOX_COLUMNS = ("image", "sha256", "annotator", "x1", "y1", "x2", "y2", "score", "width", "height")
NEGATIVES = "../negatives/"


def annotate(
    settings: params.Annotate,
    workers: int = 0,
    root: Path = Path("."),
    photos: params.Photos | None = None,
    max_rejected: float = 1.0,
) -> None:
    """Reads `data/` and writes `build/images.csv`, `build/annotations.csv` and `reports/annotate.json`.

    `images.csv` has a row for every photo and negative, with the reason in `error` where it cannot be used.
    `annotations.csv` has a row for every readable photo and annotator, whose box is empty where the annotator saw
    nothing; one that was trained on the photo has none. Where `data/annotations.csv` exists, it has the rows of that
    file. Both are sorted by path.

    What was found out is kept by content, so that a run, also one after a kill, asks only what no run asked before. The
    bytes written depend neither on that nor on the number of workers.

    Args:
        settings: The section `annotate` of the parameters.
        workers: Number of processes; 0 means all cores.
        root: The project's folder.
        photos: The section `photos` of the parameters; None is its defaults.
        max_rejected: Greatest share of the rows of `data/annotations.csv` that may match no image.

    Raises:
        UserError: There are no photos or none can be read, `data/annotations.csv` has none of the known forms,
            matches few images or is wrong as a whole, or an annotator cannot be asked.
    """
    limits = Limits(**(photos or params.Photos()).model_dump())
    listed, passed_over = listing.list_photos(root / "data/images")
    listed_negatives, others = listing.list_photos(root / "data/negatives", optional=True)
    for reason, names in others.items():
        passed_over.setdefault(reason, []).extend(NEGATIVES + name for name in names)
    names = [listing.printable(entry.name) for entry in listed]
    own_boxes = given.read(root, names, settings.boxes, max_rejected)
    annotators = catalogue.make(settings.annotators, root)
    questions = [] if own_boxes else [annotator_question(one, place) for place, one in enumerate(annotators)]

    images = list(_read_all(listed, root / "data/images", "", limits, workers))
    negatives = list(_read_all(listed_negatives, root / "data/negatives", NEGATIVES, limits, workers))
    with cache.opened(root) as answers:
        answers.use({file.sha256 for file in (*images, *negatives) if file.sha256})
        inquiry = Inquiry(answers, annotators, limits, workers)
        inquiry.ask(images, questions)
        inquiry.ask(negatives, [])
        if own_boxes:
            report, rows = _own_rows(own_boxes, settings.check_boxes, inquiry, images, passed_over)
        else:
            told = {one.name: {"parameters": one.parameters.model_dump(mode="json")} for one in annotators}
            report = Report(told, passed_over)
            for file, facts, said in inquiry.answers(images, questions):
                by_name = zip([one.name for one in annotators], said, strict=True)
                seen = {name: answer is not None for name, answer in by_name if answer != NOT_ASKED}
                report.add_image(file.image, facts.get("error"), seen)
            rows = _rows([one.name for one in annotators], inquiry.answers(images, questions))
        for file, facts in inquiry.facts(negatives):
            report.add_negative(file.image, facts.get("error"))
        report.write(root)
        in_order = sorted([*images, *negatives], key=lambda file: file.image)
        _write_csv(root / "build/annotations.csv", BOX_COLUMNS, rows)
        _write_csv(root / "build/images.csv", IMAGE_COLUMNS, itertools.starmap(_image_row, inquiry.facts(in_order)))
        answers.forget()
    say(f"annotate: {report.line(len(inquiry.asked))}")


def _read_all(
    entries: Sequence[listing.Entry], folder: Path, prefix: str, limits: Limits, workers: int
) -> Iterator[File]:
    """Reads and names the content of every file, in order."""

    def read(entry: listing.Entry) -> File:
        image = prefix + listing.printable(entry.name)
        path = folder.absolute() / entry.name
        try:
            if image != prefix + entry.name:
                raise ImageError("its name is not valid UTF-8; rename it")
            data = read_bytes(path, limits)
        except ImageError as error:
            return File(image, path, entry.size, "", str(error))
        return File(image, path, len(data), files.sha256(data), "")

    with ThreadPoolExecutor(parallel.worker_count(workers)) as pool:
        for start in range(0, len(entries), READ_AT_ONCE):
            yield from pool.map(read, entries[start : start + READ_AT_ONCE])


def _rows(names: Sequence[str], answers: Iterable[tuple[File, Facts, list[Any]]]) -> Iterator[Sequence[Any]]:
    """Yields what each annotator says of each readable photo that it is asked about."""
    for file, facts, said in answers:
        if "error" in facts:
            continue
        for name, answer in zip(names, said, strict=True):
            if answer == NOT_ASKED:
                continue
            *box, score = answer if answer is not None else [None] * 5
            corners = ["" if corner is None else f"{corner:.2f}" for corner in box]
            sure = "" if score is None else f"{score:.4f}"
            yield file.image, file.sha256, name, *corners, sure, facts["width"], facts["height"]


def _own_rows(
    own_boxes: GivenBoxes, checks: bool, inquiry: Inquiry, images: Sequence[File], passed_over: dict[str, list[str]]
) -> tuple[Report, Iterator[Sequence[Any]]]:
    """Returns the report and the rows of `annotations.csv` where the boxes came with the data.

    Raises:
        UserError: Most boxes are elsewhere than an annotator's.
    """
    by_name = {file.image: file for file in images}
    facts = {file.image: known for file, known in inquiry.facts(images)}
    readable = {image: known for image, known in facts.items() if "error" not in known}
    checked = own_boxes.sample(readable, {image: file.sha256 for image, file in by_name.items()}) if checks else []
    own_boxes.check(readable, inquiry.boxes_to_compare([by_name[image] for image in checked]))
    report = Report({given.NAME: own_boxes.summary() | {"checked": len(checked)}}, passed_over)
    with_box = own_boxes.images_with_box()
    for image, known in facts.items():
        report.add_image(image, known.get("error"), {given.NAME: image in with_box})

    def rows() -> Iterator[Sequence[Any]]:
        for image, texts in own_boxes.rows(readable):
            sha256 = by_name[image].sha256 if image in by_name else ""
            size = (readable[image]["width"], readable[image]["height"]) if image in readable else ("", "")
            yield image, sha256, given.NAME, *texts, "", *size

    return report, rows()


def _image_row(file: File, facts: Facts) -> list[Any]:
    known = {"image": file.image, "bytes": file.bytes, "sha256": file.sha256, **facts}
    return [known.get(column, "") for column in IMAGE_COLUMNS]


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
