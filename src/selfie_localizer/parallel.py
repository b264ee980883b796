"""Work over all cores with results in order and flat memory, by joblib's processes."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def worker_count(requested: int = 0) -> int:
    """Returns how many processes to use: `requested`, or all cores that this process may use for 0."""
    if requested > 0:
        return requested
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _call(function: Callable[[T], R], item: T) -> R:
    import cv2

    # One thread for each process: the processes already fill the cores.
    cv2.setNumThreads(1)
    return function(item)


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int = 0) -> Iterator[R]:
    """Yields `function(item)` for each item, in the order of the items, whatever the number of workers.

    At most a few items for each worker are under way, so memory does not grow with the number of items.

    Args:
        function: A picklable function; each call should last tens of milliseconds at least, so give it chunks.
        items: What to call it with.
        workers: Number of processes; 0 means all cores. With 1 everything runs in this process.
    """
    workers = worker_count(workers)
    if workers == 1:
        for item in items:
            yield _call(function, item)
        return
    from joblib import Parallel, delayed, parallel_config

    # A worker that was idle too long is replaced; on a busy machine joblib says so, which helps nobody.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    # Orphans of a killed run leave by themselves after the idle time.
    options: dict[str, Any] = {"idle_worker_timeout": 10, "inner_max_num_threads": 1}
    with parallel_config("loky", n_jobs=workers, **options):
        run = Parallel(return_as="generator", batch_size=1, pre_dispatch=f"2*{workers}")
        yield from run(delayed(_call)(function, item) for item in items)
