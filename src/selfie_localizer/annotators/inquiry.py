"""Asks what nobody asked before, and answers all else from the cache."""

import functools
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from selfie_localizer import parallel
from selfie_localizer.annotators.annotator import Annotator
from selfie_localizer.annotators.cache import Cache
from selfie_localizer.annotators.examine import Job, Question, annotator_question, decoding_question, examine
from selfie_localizer.errors import UserError
from selfie_localizer.photos.limits import Limits
from selfie_localizer.progress import Progress, say

T = TypeVar("T")
# What decoding says of a photo, or an `error`; see `examine.examine`.
Facts = dict[str, Any]

# The answer of an annotator that was trained on the photo.
NOT_ASKED = "not asked"

# Photos of one call of a worker, whose answers become one transaction.
CHUNK = 16
READ_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class File:
    """A file that is a photo by its suffix or its content.

    Attributes:
        image: Path relative to `data/images`, as tables show it; that of a negative begins with `../negatives/`.
        path: Where it is.
        bytes: Its size.
        sha256: Digest of its content in hex; empty where it cannot be read.
        error: Why it cannot be read, or empty.
    """

    image: str
    path: Path
    bytes: int
    sha256: str
    error: str


class Inquiry:
    """Answers to questions about files.

    Args:
        cache: Where answers are kept.
        annotators: Who can be asked; a question names one by its place.
        limits: Of what may be decoded.
        workers: Number of processes; 0 means all cores.
        label: What the progress shows.
    """

    def __init__(
        self, cache: Cache, annotators: Sequence[Annotator], limits: Limits, workers: int, label: str = "annotate"
    ) -> None:
        self._label = label
        self._cache, self._annotators, self._limits, self._workers = cache, annotators, limits, workers
        self._decoding = decoding_question(limits)
        # Contents about which something was not in the cache.
        self.asked: set[str] = set()

    def ask(self, files: Sequence[File], questions: Sequence[Question]) -> None:
        """Finds out what decoding says of files, and the annotators of the questions.

        Each photo is read and decoded once, by one of several processes where there is much to do. After a kill, what
        was found out until then is not asked again.

        Raises:
            UserError: A photo has changed since it was listed, or an annotator cannot be asked or failed.
        """
        # More than once only where the cache became useless in the meantime.
        while jobs := list(self._jobs(files, questions)):
            needed = {question.annotator for job in jobs for question in job.questions} - {None}
            for place, annotator in enumerate(self._annotators):
                if place in needed:
                    annotator.prepare()
            work = functools.partial(examine, self._limits, self._pickled())
            chunks = list(_slices(jobs, CHUNK))
            with Progress(self._label, len(jobs)) as progress:
                results = parallel.map_in_order(work, chunks, self._workers)
                for chunk, answers in zip(chunks, results, strict=True):
                    self._cache.write(answers)
                    progress.update(len(chunk))
            self.asked.update(job.sha256 for job in jobs)

    def facts(self, files: Sequence[File]) -> Iterator[tuple[File, Facts]]:
        """Yields each file with what `examine` says of its decoding, or why it cannot be read as `error`."""
        for file, facts, _ in self.answers(files, []):
            yield file, facts

    def answers(self, files: Sequence[File], questions: Sequence[Question]) -> Iterator[tuple[File, Facts, list[Any]]]:
        """Yields each file with what decoding says and the annotators' answers, which are None for unusable files.

        The answer of an annotator that was trained on the photo is `NOT_ASKED`.
        """
        for part in _slices(files, READ_AT_ONCE):
            try:
                yield from list(self._answers(part, questions))
            # The cache became useless in the meantime.
            except KeyError:
                self.ask(part, questions)
                yield from self._answers(part, questions)

    def _answers(self, files: Sequence[File], questions: Sequence[Question]) -> Iterator[tuple[File, Facts, list[Any]]]:
        contents = list({file.sha256 for file in files if file.sha256})
        decoded = self._cache.read(contents, self._decoding.key)
        found = [self._cache.read(contents, question.key) for question in questions]
        for file in files:
            facts = json.loads(decoded[file.sha256]) if file.sha256 else {"error": file.error}
            if "error" in facts:
                yield file, facts, [None] * len(questions)
                continue
            said: list[Any] = []
            for question, by_content in zip(questions, found, strict=True):
                asked = self._is_asked(question, file.sha256)
                said.append(json.loads(by_content[file.sha256]) if asked else NOT_ASKED)
            yield file, facts, said

    def boxes_to_compare(self, files: Sequence[File]) -> dict[str, list[float]]:
        """Returns the boxes of one annotator by image: the first that sees a face on most files, or else on any.

        One that cannot be asked is passed over, and a line says so.

        Args:
            files: Photos that can be decoded.
        """
        best: dict[str, list[float]] = {}
        for place, annotator in enumerate(self._annotators):
            try:
                questions = [annotator_question(annotator, place)]
                self.ask(files, questions)
            except UserError as error:
                say(f"annotate: boxes are not compared with those of {annotator.name}: {error}")
                continue
            said = {file.image: answer for file, _, (answer,) in self.answers(files, questions)}
            found = {image: answer[:4] for image, answer in said.items() if answer and answer != NOT_ASKED}
            if len(found) > len(best):
                best = found
            if 2 * len(best) >= len(files):
                break
        return best

    def _jobs(self, files: Sequence[File], questions: Sequence[Question]) -> Iterator[Job]:
        contents = {file.sha256: file for file in files if file.sha256}
        for part in _slices(list(contents), READ_AT_ONCE):
            decoded = self._cache.read(part, self._decoding.key)
            found = {question: self._cache.read(part, question.key) for question in questions}
            for content in part:
                missing = [
                    question
                    for question in questions
                    if content not in found[question] and self._is_asked(question, content)
                ]
                if content not in decoded:
                    missing.insert(0, self._decoding)
                elif "error" in json.loads(decoded[content]):
                    continue
                if missing:
                    yield Job(contents[content].image, contents[content].path, content, tuple(missing))

    def _is_asked(self, question: Question, content: str) -> bool:
        place = question.annotator
        return place is None or content not in self._annotators[place].trained_on()

    def _pickled(self) -> bytes:
        for annotator in self._annotators:
            try:
                pickle.dumps(annotator)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise UserError(
                    f"annotator {annotator.name}: cannot be sent to worker processes ({error}); "
                    "make what cannot be pickled when it is first needed"
                ) from None
        return pickle.dumps(list(self._annotators))


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
