"""One progress style: a bar on a terminal, plain lines elsewhere."""

import io
import os
import pty

import pytest

from selfie_localizer import progress
from selfie_localizer.progress import Progress, duration


def test_elsewhere_than_on_a_terminal_the_last_line_says_count_rate_and_time() -> None:
    stream = io.StringIO()
    with Progress("annotate", 3, stream=stream) as counter:
        for _ in range(3):
            counter.update()
    assert stream.getvalue().startswith("annotate: 3/3 images, ")
    assert stream.getvalue().count("\n") == 1


def test_a_plain_line_appears_now_and_then_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    with Progress("annotate", 4, stream=stream) as counter:
        counter.update(2)
    assert "annotate: 2/4 images" in stream.getvalue()
    assert " left" in stream.getvalue()


def test_work_done_before_counts_but_not_for_the_rate() -> None:
    stream = io.StringIO()
    with Progress("annotate", 100, done=100, stream=stream):
        pass
    assert "100/100 images, 0.0/s" in stream.getvalue()


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream, Progress("annotate", 10, stream=stream) as counter:
        counter.update(5)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "annotate:" in shown
    assert "/10 [" in shown


def test_an_error_prints_no_line_of_success() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress("annotate", 3, stream=stream):
        raise RuntimeError
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_time_spans_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
