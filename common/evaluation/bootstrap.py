"""Paired bootstrap: how far a difference of two scores could be chance of which rows there are."""

import numpy as np

CHUNK = 3_000_000  # drawn row numbers held at once


def f1_from_counts(counts: np.ndarray) -> np.ndarray:
    """The mean over groups of F1.

    counts: (..., groups, 3) right, predicted and gold. A group with nothing predicted and nothing to find has F1 0.
    Returns (...).
    """
    right, both = counts[..., 0], counts[..., 1] + counts[..., 2]
    return np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0).mean(axis=-1)


def bootstrap_scores(counts: np.ndarray, groups: np.ndarray, resamples: int = 2000, seed: int = 1) -> np.ndarray:
    """The scores of several systems on the same resamples of rows.

    counts: (systems, rows, metric groups, 3), what each row adds to right, predicted and gold. groups: (rows,) which
    rows are drawn together, such as those that share a text: they are not independent. resamples: how many are drawn,
    each with as many groups of rows as there are. seed: of the draw.
    Returns (systems, resamples). Differences between systems are paired: each resample is the same for all.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 and 13; Berg-Kirkpatrick et al.
    2012, "An empirical investigation of statistical significance in NLP".
    """
    systems, _, *shape = counts.shape
    numbers = np.unique(groups, return_inverse=True)[1]
    total = int(numbers.max()) + 1
    # One sum a group of rows: (groups of rows, systems x metric groups x 3).
    flat = counts.transpose(1, 0, 2, 3).reshape(len(numbers), -1)
    sums = np.zeros((total, flat.shape[1]), dtype=np.float32)
    np.add.at(sums, numbers, flat)
    random = np.random.default_rng(seed)
    found = []
    # How often each group is drawn, times what it adds: a matrix product. Sums of whole numbers below 2^24 are exact,
    # those of shares (readers' rows have scores, not counts) within about 1e-6 of themselves, far inside an interval.
    step = max(1, CHUNK // total)
    for first in range(0, resamples, step):
        drawn = random.integers(0, total, (min(step, resamples - first), total), dtype=np.int32)
        places = drawn + (np.arange(len(drawn), dtype=np.int32) * total)[:, None]
        times = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float32)
        found.append(f1_from_counts((times @ sums).reshape(len(drawn), systems, *shape)))
    return np.concatenate(found).T


def interval(differences: np.ndarray, coverage: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled differences (resamples,)."""
    low, high = np.quantile(differences, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)
