"""Work over processes gives the results of a plain loop."""

import pytest

from selfie_localizer import parallel


def _square(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is below 0")
    return value * value


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
    next(results)
    assert len(taken) < 20
    results.close()


def test_zero_workers_means_all_cores() -> None:
    assert parallel.worker_count(0) >= 1
    assert parallel.worker_count(7) == 7
