"""What two texts share, token by token: how long an n-gram of the other text each token is part of."""

from collections.abc import Sequence

import numpy as np

from common.text.ragged import lengths_of, split


def shared_ngrams(
    input_ids: Sequence[np.ndarray], sides: Sequence[np.ndarray], special: Sequence[int], most: int
) -> list[np.ndarray]:
    """For each token the length of the longest n-gram around it that the other text of its pair has too, at most
    `most`.

    input_ids: token ids of each pair, (tokens,). sides: 0 for tokens of the first text and 1 for those of the second.
    special: ids that belong to neither. Returns int64 (tokens,) a pair, 0 to `most`.
    An encoder that starts from nothing cannot learn from a few thousand pairs that equal tokens mean overlap; given as
    a feature it need not. Source: Chen et al. 2017, "Reading Wikipedia to Answer Open-Domain Questions", section 3.2
    (exact match), here for n-grams.
    """
    lengths = lengths_of(input_ids)
    if not lengths.sum():
        return [np.zeros(0, np.int64) for _ in input_ids]
    ids, side = np.concatenate(input_ids), np.concatenate(sides)
    text = 2 * np.repeat(np.arange(len(lengths)), lengths) + side
    usable = ~np.isin(ids, np.asarray(special))
    longest = np.zeros(len(ids), dtype=np.int64)
    gram = token = np.unique(ids, return_inverse=True)[1]
    starts = usable  # whether an n-gram starts at a token: all of its tokens are usable and of one text
    for size in range(1, most + 1):
        if size > 1:
            reach = size - 1
            starts = starts & (_ahead(text, reach, -1) == text) & _ahead(usable, reach, False)
            # Numbered anew at each size, so that the number of the next n-gram fits 64 bits.
            gram = np.unique(gram * (token.max() + 1) + _ahead(token, reach, 0), return_inverse=True)[1]
        places = np.flatnonzero(starts)
        owner, other = text[places], text[places] ^ 1
        width = int(gram.max()) + 1
        found = places[np.isin(other * width + gram[places], owner * width + gram[places])]
        for offset in range(size):
            longest[found + offset] = size
    return split(longest, lengths)


def _ahead(values: np.ndarray, distance: int, fill: int) -> np.ndarray:
    """Each place's value `distance` places further on, and `fill` beyond the end."""
    return np.append(values[distance:], np.full(min(distance, len(values)), fill, dtype=values.dtype))
