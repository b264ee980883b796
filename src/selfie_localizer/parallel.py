"""Work over all cores with results in order and flat memory, by the processes of loky, joblib's executor."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# One thread for each process: the processes already fill the cores.
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def worker_count(requested: int = 0) -> int:
    """Returns how many processes to use: `requested`, or all cores that this process may use for 0."""
    if requested > 0:
        return requested
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _call(function: Callable[[T], R], item: T) -> R:
    import cv2

    cv2.setNumThreads(1)  # OpenCV does not read the environment.
    return function(item)


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int = 0) -> Iterator[R]:
    """Yields `function(item)` for each item, in the order of the items, whatever the number of workers.

    At most two items for each worker are under way or wait to be taken, so memory does not grow with their number.

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
    from joblib.externals.loky import get_reusable_executor

    # A worker that was idle too long is replaced; on a busy machine loky says so, which helps nobody.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    # Orphans of a killed run leave by themselves: after this idle time and the half minute that loky adds.
    executor = get_reusable_executor(workers, timeout=10, env=_ONE_THREAD)
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(executor.submit(_call, function, item))
            # joblib's own generator counts an item as done before anybody has taken its result.
            if len(under_way) == 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise
