"""From tag probabilities to entities: the best tag sequence that the label scheme permits, for all rows at once."""

import numpy as np

from common.text.labels import LabelScheme, Span


def tag_sequences(values: np.ndarray, offsets: np.ndarray, scheme: LabelScheme, entity_bias: float = 0.0) -> np.ndarray:
    """The permitted tag sequence with the highest product of probabilities, row by row.

    values: (units, tags) probabilities of all rows, one after another. offsets: (rows + 1,) where rows begin.
    scheme: the label scheme of the tags. entity_bias: added to the log-probability of every tag but O (for recall).
    Returns int64 (units,) tag ids.
    Source: Viterbi on posterior marginals, which maximises the expected number of right tags among permitted sequences'
    log scores; with hard constraints in place of transition scores.
    """
    with np.errstate(divide="ignore"):
        emissions = np.log(np.maximum(values, 1e-12)).astype(np.float32)
    emissions[:, 1:] += entity_bias
    start, transition, end = (np.where(allowed, 0.0, -1e4).astype(np.float32) for allowed in scheme.allowed())
    result = np.zeros(len(values), dtype=np.int64)
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    # Rows of like length go together: one step of the recursion then serves hundreds of rows without padding.
    for rows in np.array_split(order, max(1, len(order) // 256)) if len(order) else ():
        _viterbi(emissions, offsets[rows], lengths[rows], start, transition, end, result)
    return result


def _viterbi(emissions, begins, lengths, start, transition, end, result) -> None:
    """Fills `result` for the rows that begin at `begins`; lengths ascending and positive."""
    longest, rows = int(lengths[-1]), len(lengths)
    best = start + emissions[begins]
    came_from = np.zeros((longest, rows, emissions.shape[1]), dtype=np.int8)
    for step in range(1, longest):
        first = int(np.searchsorted(lengths, step, side="right"))  # rows before it have ended
        paths = best[first:, :, None] + transition
        came_from[step, first:] = paths.argmax(axis=1)
        best[first:] = paths.max(axis=1) + emissions[begins[first:] + step]
    tag = (best + end).argmax(axis=1)
    for step in range(longest - 1, -1, -1):
        first = int(np.searchsorted(lengths, step, side="right"))
        result[begins[first:] + step] = tag[first:]
        if step:
            tag[first:] = came_from[step, np.arange(first, rows), tag[first:]]


def decode_tags(
    values: np.ndarray, offsets: np.ndarray, scheme: LabelScheme, entity_bias: float = 0.0
) -> list[list[Span]]:
    """The entities of every row under the best permitted tag sequence. Arguments as in `tag_sequences`."""
    tags = tag_sequences(values, offsets, scheme, entity_bias)
    spans: list[list[Span]] = [[] for _ in range(len(offsets) - 1)]
    # Only rows with an entity are walked through, and only from their first entity token to their last.
    inside = np.flatnonzero(tags)
    for row in np.unique(np.searchsorted(offsets, inside, side="right") - 1):
        spans[row] = scheme.decode(tags[offsets[row] : offsets[row + 1]].tolist())
    return spans
