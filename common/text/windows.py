"""Overlapping windows over a long row, and one score a token from the window that sees most around it."""

from collections.abc import Sequence

import numpy as np


def windows(
    length: int, size: int, overlap: int, widths: Sequence[int] | np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Windows that together cover a row; a row that fits is one window, and nothing is cut.

    length: words in the row. size: room of a window, overlap: room that two neighbouring windows share at most, both in
        tokens. widths: (length,), sub-tokens of each word; 1 each where none is given, as for single characters.
    Returns (start, stop) in words, `stop` exclusive. The last window is as full as any other: it reaches further back
    rather than being short, since more context costs nothing. [] for an empty row.
    Raises ValueError unless 0 <= overlap < size, or for a word that is wider than a window.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} tokens cannot overlap by {overlap}: expected 0 <= overlap < size")
    if length == 0:
        return []
    wide = np.ones(length, dtype=np.int64) if widths is None else np.asarray(widths, dtype=np.int64)
    if len(wide) != length:
        raise ValueError(f"{len(wide)} widths for {length} words: expected one a word")
    if int(wide.max()) > size:
        word = int(wide.argmax())
        raise ValueError(f"word {word} has {int(wide[word])} sub-tokens, which no window of {size} tokens can hold")
    reach = np.concatenate(([0], np.cumsum(wide)))
    found: list[tuple[int, int]] = []
    start = 0
    while True:
        stop = int(np.searchsorted(reach, reach[start] + size, side="right")) - 1
        if stop >= length:
            found.append((int(np.searchsorted(reach, reach[length] - size, side="left")), length))
            return found
        found.append((start, stop))
        start = max(start + 1, int(np.searchsorted(reach, reach[stop] - overlap, side="left")))


def merge_windows(scores: Sequence[np.ndarray], spans: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    """Scores of a whole row from those of its windows.

    scores: one (stop - start, ...) a window. spans: (start, stop) of each window, as `windows` gives them.
    length: words in the row.
    Returns (length, ...): each word's scores come from the window in which the nearer edge is farthest away, the row's
    own two ends not counting as edges, and from the earlier window when two are equal.
    Raises ValueError when a window's scores do not have its length or a word lies in no window.
    """
    if len(scores) != len(spans):
        raise ValueError(f"{len(scores)} windows of scores for {len(spans)} spans: expected one each")
    context = np.full(length, -1, dtype=np.int64)
    merged: np.ndarray | None = None
    for score, (start, stop) in zip(scores, spans, strict=True):
        if len(score) != stop - start or not 0 <= start <= stop <= length:
            raise ValueError(f"window {(start, stop)} of a row of {length} words has scores for {len(score)} words")
        if merged is None:
            merged = np.zeros((length, *score.shape[1:]), dtype=score.dtype)
        place = np.arange(stop - start)
        left = place if start > 0 else np.full_like(place, length)
        right = place[::-1] if stop < length else np.full_like(place, length)
        seen = np.minimum(left, right)
        better = seen > context[start:stop]
        merged[start:stop][better] = score[better]
        context[start:stop][better] = seen[better]
    if (context < 0).any():
        raise ValueError(f"word {int((context < 0).argmax())} of {length} lies in no window")
    return np.zeros((0,)) if merged is None else merged
