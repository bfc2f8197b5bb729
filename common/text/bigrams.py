"""Pairs of neighbouring tokens that occur often enough to have an embedding of their own."""

from collections.abc import Iterable

import numpy as np

CHUNK = 2_000_000


def frequent_bigrams(
    rows: Iterable[np.ndarray], vocabulary: int, min_count: int = 2, most: int = 300_000
) -> np.ndarray:
    """The most frequent pairs of neighbours.

    rows: token ids of each text, special tokens included. vocabulary: number of ids. min_count: rarer: left out.
    most: at most this many, the most frequent; memory is bounded by the number of different pairs, not of texts.
    Returns int64 keys, left id * vocabulary + right id, ascending.
    """
    keys, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    waiting: list[np.ndarray] = []
    size = 0

    def merge() -> tuple[np.ndarray, np.ndarray]:
        fresh, times = np.unique(np.concatenate(waiting), return_counts=True)
        both, place = np.unique(np.concatenate([keys, fresh]), return_inverse=True)
        return both, np.bincount(place, weights=np.concatenate([counts, times])).astype(np.int64)

    for row in rows:
        row = np.asarray(row, dtype=np.int64)
        if len(row) > 1:
            waiting.append(row[:-1] * vocabulary + row[1:])
            size += len(row) - 1
        if size >= CHUNK:
            keys, counts = merge()
            waiting, size = [], 0
    if waiting:
        keys, counts = merge()
    order = np.lexsort((keys, -counts))[:most]
    return np.sort(keys[order[counts[order] >= min_count]])
