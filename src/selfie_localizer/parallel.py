"""Work over all cores with results in order and flat memory, by the processes of loky, joblib's executor."""

import itertools
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from selfie_localizer.progress import say

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
        workers: Number of processes; 0 means all cores. With 1, for a single item, and where no processes can be
            started, everything runs in this one.
    """
    items = iter(items)
    first = list(itertools.islice(items, 2))
    executor = _executor(worker_count(workers)) if len(first) == 2 else None
    items = itertools.chain(first, items)
    if executor is None:
        for item in items:
            yield _call(function, item)
        return
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(executor.submit(_call, function, item))
            # joblib's own generator counts an item as done before anybody has taken its result.
            if len(under_way) == 2 * worker_count(workers):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


def _executor(workers: int) -> Any:
    """Returns loky's executor, or None where one process is to do or can do everything."""
    if workers == 1:
        return None
    # A worker that was idle too long is replaced; on a busy machine loky says so, which helps nobody. And joblib says
    # what is said below in plainer words.
    for useless in ("A worker stopped while some jobs were given", ".*joblib will operate in serial mode"):
        warnings.filterwarnings("ignore", useless, UserWarning)
    try:
        from joblib.externals.loky import get_reusable_executor

        # Orphans of a killed run leave by themselves: after this idle time and the half minute that loky adds.
        return get_reusable_executor(workers, timeout=10, env=_ONE_THREAD)
    # Processes share locks in /dev/shm, which a container may have read-only or not at all.
    except (OSError, ImportError) as error:
        say(f"no worker processes can be started here ({error}); going on with one process")
        return None
