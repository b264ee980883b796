"""What worker processes do: one read and one decode of a photo for all that is to be known of it."""

import contextlib
import functools
import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from selfie_localizer import boxes, dependencies, files
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.errors import UserError
from selfie_localizer.photos.decode import Photo, decode, read_bytes
from selfie_localizer.photos.header import read_header
from selfie_localizer.photos.limits import ImageError, Limits
from selfie_localizer.photos.perceptual_hash import perceptual_hash


@dataclass(frozen=True)
class Question:
    """Something that can be known of every photo.

    Attributes:
        key: Digest of all that the answer hangs on besides the photo's content.
        annotator: Its place in the list of annotators; None asks what decoding says.
    """

    key: str
    annotator: int | None = None


@dataclass(frozen=True)
class Job:
    """A photo and what is not known of it yet; `image` names it in messages."""

    image: str
    path: Path
    sha256: str
    questions: tuple[Question, ...]


def decoding_question(limits: Limits) -> Question:
    """Returns the question of what decoding says of a photo: its size, hash, orientation and time, or an error."""
    return Question(files.digest(_version(), asdict(limits)))


def annotator_question(annotator: Annotator, place: int) -> Question:
    """Returns the question of where an annotator, the one at `place` of the list, sees the face.

    Raises:
        UserError: The annotator cannot be asked.
    """
    own = annotator.name, annotator.version(), annotator.parameters.model_dump(mode="json")
    return Question(files.digest(_version(), *own), place)


def examine(limits: Limits, annotators: bytes, jobs: Sequence[Job]) -> list[tuple[str, str, str]]:
    """Answers questions about photos.

    Args:
        limits: What may be decoded.
        annotators: The list of annotators, pickled, so that a process makes it once.
        jobs: The photos.

    Returns:
        Content, question and answer, the latter as JSON. What decoding says is `width` and `height` of the photo as
        displayed, `phash`, `orientation` and `taken`; or `error`. What an annotator says is `[x1, y1, x2, y2, score]`,
        in pixels of the photo as displayed and the score perhaps null; or null, where it saw nothing. Annotators say
        nothing of a photo that cannot be decoded.

    Raises:
        UserError: A photo has changed, or an annotator failed.
    """
    asked = _unpickled(annotators)
    found = []
    for job in jobs:
        answers = _answers(limits, asked, job)
        found += [(job.sha256, key, json.dumps(answer, ensure_ascii=False)) for key, answer in answers]
    return found


@functools.lru_cache(maxsize=1)
def _unpickled(annotators: bytes) -> list[Annotator]:
    found: list[Annotator] = pickle.loads(annotators)
    return found


@functools.cache
def _version() -> str:
    packages = {name: version(name) for name in ("numpy", "opencv-python-headless", "pillow")}
    # Without it, HEIC is refused.
    with contextlib.suppress(PackageNotFoundError):
        packages["pi-heif"] = version("pi-heif")
    return files.digest(dependencies.code_digest(__name__), packages)


def _answers(limits: Limits, annotators: Sequence[Annotator], job: Job) -> list[tuple[str, Any]]:
    data = _read(limits, job)
    try:
        header, photo = read_header(data, limits), decode(data, limits)
    except ImageError as error:
        return [(question.key, {"error": str(error)}) for question in job.questions if question.annotator is None]
    answers: list[tuple[str, Any]] = []
    for question in job.questions:
        if question.annotator is not None:
            answers.append((question.key, _locate(annotators[question.annotator], photo, job.image)))
            continue
        facts = {"width": photo.width, "height": photo.height, "phash": perceptual_hash(photo.pixels)}
        answers.append((question.key, facts | {"orientation": header.orientation, "taken": header.taken}))
    return answers


def _read(limits: Limits, job: Job) -> bytes:
    try:
        data = read_bytes(job.path, limits)
    except ImageError:
        data = b""
    if files.sha256(data) != job.sha256:
        raise UserError(f"{job.image}: changed while it was looked at; run this again")
    return data


def _locate(annotator: Annotator, photo: Photo, image: str) -> list[float | None] | None:
    """Returns box and score as `examine` does, scaled from what was decoded to the full photo, clipped and rounded."""
    height, width = photo.pixels.shape[:2]
    try:
        found = annotator.locate(photo.pixels)
        if found is None:
            return None
        box = boxes.scale(found[0], photo.width / width, photo.height / height)
        score = None if found[1] is None else float(found[1])
        if box.shape != (4,) or not np.isfinite([*box, score or 0]).all():
            raise ValueError(f"{found} is neither a box with a score nor None")
    except UserError:
        raise
    # An annotator may be anybody's.
    except Exception as error:
        raise UserError(f"annotator {annotator.name} failed on {image} ({type(error).__name__}: {error})") from None
    corners = [round(float(corner), 2) for corner in boxes.clip(box, photo.width, photo.height)]
    return [*corners, None if score is None else round(score, 4)]
