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
    emissions = np.log(np.maximum(values, 1e-12)).astype(np.float32)
    emissions[:, 1:] += entity_bias
    result = emissions.argmax(axis=1)
    # Where every token's best tag makes a permitted sequence, no other can be better: few rows are left to search.
    rows = np.flatnonzero(_forbidden(result, offsets, scheme))
    lengths = np.diff(offsets)
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    start, transition, end = (np.where(allowed, 0.0, -1e4).astype(np.float32) for allowed in scheme.allowed())
    # Rows of like length go together: one step of the recursion then serves hundreds of rows without padding.
    for some in np.array_split(rows, -(-len(rows) // 256)) if len(rows) else ():
        _viterbi(emissions, offsets[some], lengths[some], start, transition, end, result)
    return result


def _forbidden(tags: np.ndarray, offsets: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Whether each row breaks the scheme; (rows,)."""
    start, transition, end = scheme.allowed()
    wrong = np.zeros(len(tags) + 1, dtype=np.int64)
    wrong[1:-1] = ~transition[tags[:-1], tags[1:]]
    filled = np.flatnonzero(np.diff(offsets) > 0)
    first, last = offsets[:-1][filled], offsets[1:][filled] - 1
    wrong[first] = 0  # what stands in the row before does not matter
    broken = np.zeros(len(offsets) - 1, dtype=bool)
    total = np.concatenate([[0], np.cumsum(wrong)])
    broken[filled] = (total[last + 1] > total[first]) | ~start[tags[first]] | ~end[tags[last]]
    return broken


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
    begins, ends, kinds = entities(tag_sequences(values, offsets, scheme, entity_bias), offsets, scheme)
    spans: list[list[Span]] = [[] for _ in range(len(offsets) - 1)]
    rows = np.searchsorted(offsets, begins, side="right") - 1
    names = np.array(scheme.types, dtype=object)[kinds].tolist()
    begins, ends = (begins - offsets[rows]).tolist(), (ends - offsets[rows]).tolist()
    for row, begin, end, kind in zip(rows.tolist(), begins, ends, names, strict=True):
        spans[row].append((begin, end, kind))
    return spans


def entities(tags: np.ndarray, offsets: np.ndarray, scheme: LabelScheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entities of permitted tag sequences, as places among all units.

    tags: (units,) tag ids of all rows, one after another. offsets: (rows + 1,) where rows begin.
    Returns three (entities,) arrays in order: first unit, unit after the last, number of the type in `scheme.types`.
    """
    parts = np.array([tag[0] for tag in scheme.tags])[tags]
    begins = np.flatnonzero((parts == "B") | (parts == "S"))
    # In a permitted sequence an entity ends before the next token that does not go on with one, or with its row.
    stops = np.ones(len(tags) + 1, dtype=bool)
    stops[:-1] = (parts != "I") & (parts != "E")
    stops[offsets] = True
    stops = np.flatnonzero(stops)
    ends = stops[np.searchsorted(stops, begins, side="right")]
    return begins, ends, (tags[begins] - 1) // _width(scheme)


def entity_tags(begins: np.ndarray, ends: np.ndarray, kinds: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """The tags inside entities, entity by entity: (tokens of all entities,). Arguments are what `entities` returns."""
    lengths = ends - begins
    width = _width(scheme)
    tags = np.repeat(kinds * width + 2, lengths)  # I
    last = np.cumsum(lengths) - 1
    first = last - lengths + 1
    if width == 4:
        tags[last] += 1  # E
    tags[first] = kinds * width + 1  # B
    if width == 4:
        tags[first[lengths == 1]] += 3  # S
    return tags


def places_inside(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Every unit inside the spans, span by span: the places of the tags that `entity_tags` returns."""
    lengths = ends - begins
    return np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def _width(scheme: LabelScheme) -> int:
    """Tags of one type; its first is B, then I, E and S."""
    return (len(scheme.tags) - 1) // len(scheme.types)
