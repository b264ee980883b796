"""The project's one way to show progress: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

PLAIN_SECONDS = 10.0


def say(text: str) -> None:
    """Prints one line to stderr without breaking a bar that is showing."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Writes a time span for people, e.g. `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Counts finished work and shows rate and time left.

    Use it as a context manager; `track` is the shorthand for a loop.

    Args:
        label: What is being done, e.g. `annotate`.
        total: How many units there are in all.
        done: How many were finished before, e.g. by an interrupted run; they count for the bar, not for the rate.
        unit: What is counted, in the plural.
        stream: Where to write; stderr by default, so that stdout stays clean for results.
    """

    def __init__(
        self, label: str, total: int, done: int = 0, unit: str = "images", stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self._initial = self.done = done
        self._stream = stream if stream is not None else sys.stderr
        self._start = self._last_line = time.monotonic()
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(total=total, initial=done, desc=label, unit=f" {unit}", file=self._stream, leave=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif error is None:
            self._line(final=True)

    def update(self, count: int = 1) -> None:
        """Adds `count` finished units."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._line(final=False)

    def _line(self, final: bool) -> None:
        self._last_line = time.monotonic()
        elapsed = max(self._last_line - self._start, 1e-9)
        rate = (self.done - self._initial) / elapsed
        text = f"{self.label}: {self.done:,}/{self.total:,} {self.unit}, {rate:,.1f}/s"
        if final:
            text += f", {duration(elapsed)}"
        elif rate > 0:
            text += f", {duration((self.total - self.done) / rate)} left"
        print(text, file=self._stream, flush=True)


def track(iterable: Iterable[T], total: int, label: str, done: int = 0, unit: str = "images") -> Iterator[T]:
    """Yields from `iterable` while showing progress; the arguments are those of `Progress`."""
    with Progress(label, total, done=done, unit=unit) as progress:
        for item in iterable:
            yield item
            progress.update()
