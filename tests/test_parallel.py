"""Work over processes gives the results of a plain loop."""

import os
import time

import cv2
import pytest

from selfie_localizer import parallel


def _square(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is below 0")
    return value * value


def _threads(_: int) -> tuple[str | None, int]:
    return os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(parallel.map_in_order(_square, range(20), workers)) == [value * value for value in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="-1 is below 0"):
        list(parallel.map_in_order(_square, [1, -1], workers))


def test_items_are_taken_only_as_workers_need_them() -> None:
    taken = []

    def items():
        for value in range(100):
            taken.append(value)
            yield value

    results = parallel.map_in_order(_square, items(), 2)
    for count in range(1, 4):
        next(results)
        # Time enough for workers that would go on without being asked.
        time.sleep(0.3)
        assert len(taken) == count + 3
    results.close()


def test_after_an_end_before_time_there_are_workers_again() -> None:
    results = parallel.map_in_order(_square, range(100), 2)
    assert next(results) == 0
    results.close()
    assert list(parallel.map_in_order(_square, range(10), 2)) == [value * value for value in range(10)]


def test_each_worker_has_one_thread() -> None:
    assert set(parallel.map_in_order(_threads, range(8), 2)) == {("1", 1)}


def test_zero_workers_means_all_cores() -> None:
    assert parallel.worker_count(0) >= 1
    assert parallel.worker_count(7) == 7


def test_a_single_item_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_executor", lambda workers: pytest.fail("workers were started"))
    assert list(parallel.map_in_order(_square, [3], 2)) == [9]
    assert list(parallel.map_in_order(_square, [], 2)) == []


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), ImportError("no functioning sem_open")])
def test_where_no_worker_can_start_one_process_does_it_all_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    from joblib.externals import loky

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loky, "get_reusable_executor", refuse)
    assert list(parallel.map_in_order(_square, range(5), 2)) == [0, 1, 4, 9, 16]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "going on with one process" in said
