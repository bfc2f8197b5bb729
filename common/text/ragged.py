"""Rows of different lengths as one flat array and a length per row, so that no loop runs over tokens."""

from collections.abc import Iterable, Sized

import numpy as np


def lengths_of(rows: Iterable[Sized]) -> np.ndarray:
    """The length of each row; int64 (rows,)."""
    return np.fromiter(map(len, rows), np.int64)


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where each row begins in the flat array. lengths: (rows,). Returns int64 (rows,)."""
    return np.cumsum(lengths, dtype=np.int64) - lengths


def slices(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of many slices, one after the other.

    starts, lengths: (slices,), the first index of each slice and how many follow. Returns int64 (sum of lengths,).
    """
    return np.repeat(starts - starts_of(lengths), lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The sum of each row, 0 for an empty one. values: (sum of lengths,). Returns int64 (rows,)."""
    total = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    starts = starts_of(lengths)
    return total[starts + lengths] - total[starts]


def split(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The rows of a flat array as views. values: (sum of lengths, ...). Returns one array per row."""
    stops = np.cumsum(lengths)
    return [values[start:stop] for start, stop in zip((stops - lengths).tolist(), stops.tolist(), strict=True)]
