"""Bootstrap intervals of means, and of differences on the same images."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean (Efron and Tibshirani, 1993, chapter 13)."""
    if len(values) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> dict[str, float]:
    """Returns how much better `first` is than `second` on the same images, with a paired bootstrap's interval."""
    difference = first - second
    low, high = interval(difference, seed)
    return {"mean": round(float(difference.mean()), 4), "low": round(low, 4), "high": round(high, 4)}
