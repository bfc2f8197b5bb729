"""What a masking objective masks as one piece: tokens, whole words, n-grams and spans, drawn over packed rows."""

from dataclasses import dataclass

import numpy as np

# Shares of 1-grams, 2-grams, ...; all count n-grams, not tokens.
ONE_TO_FIVE = (
    0.15,
    0.2,
    0.3,
    0.2,
    0.15,
)  # github.com/LianxinRay/bert_wwm_ngram_masking_of_chinese; DataGrand 2019, 9th
TWO_TO_THREE = (0.0, 0.5, 0.5)
ONE_TO_FOUR = (0.4, 0.3, 0.2, 0.1)  # MacBERT


def geometric_shares(probability: float = 0.2, longest: int = 10) -> tuple[float, ...]:
    """Shares of spans of 1, 2, ... `longest` words: a geometric distribution without what lies beyond.

    The shares beyond are spread over all lengths rather than put on the longest, which is what gives the mean of 3.8
    words that the paper states for 0.2 and 10 (put on the longest they would give 4.5).
    Returns `longest` shares that sum to 1.
    Raises ValueError for a probability outside (0, 1] or no length.
    Source: Joshi et al. 2020, SpanBERT, section 3.1.
    """
    if not 0 < probability <= 1 or longest < 1:
        raise ValueError(
            f"no span lengths for probability {probability} and longest {longest}: expected 0.2 and 10, say"
        )
    shares = probability * (1 - probability) ** np.arange(longest)
    return tuple((shares / shares.sum()).tolist())


@dataclass(frozen=True, eq=False)
class Units:
    """Pieces of rows that are masked as a whole, in order; together they hold every token that may be masked.

    tokens: int64 (tokens,), the tokens that may be masked, as places in the flattened batch, ascending.
    begins: int64 (units,), where in `tokens` each unit begins. sizes: int64 (units,), tokens of each.
    rows: int64 (units,), the row of each, ascending.
    words: int64 (words,), where in `tokens` each word begins; every unit is made of whole words.
    """

    tokens: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray
    words: np.ndarray


def units_of(
    word_ids: np.ndarray, shares: tuple[float, ...], random: np.random.Generator, whole_words: bool = True
) -> Units:
    """Cuts rows into n-grams of words whose lengths are drawn by `shares`.

    word_ids: int (rows, length), equal for neighbouring tokens of one word and -1 where nothing may be masked.
    shares: of 1-grams, 2-grams, ...; (1.0,) gives the words themselves. whole_words: False makes every token a word.

    N-grams follow each other without a gap, and what separates words (a special token, the end of a row) also cuts
    n-grams; those two are the only ones that may be shorter than drawn. Where the first one of a row begins is random,
    as the lengths run on from row to row.
    Returns Units.
    """
    flat = word_ids.ravel()
    tokens = np.flatnonzero(flat >= 0)
    apart = np.ones(len(tokens), dtype=bool)
    rows = tokens // word_ids.shape[1] if len(tokens) else tokens
    apart[1:] = (np.diff(tokens) != 1) | (np.diff(rows) != 0)
    new_word = apart.copy() if whole_words else np.ones(len(tokens), dtype=bool)
    if whole_words:
        new_word[1:] |= np.diff(flat[tokens]) != 0
    words = np.flatnonzero(new_word)
    begins = words
    if len(shares) > 1 and len(words):
        # One stream of lengths over all rows: enough are drawn even if every one of them is the shortest.
        shortest = int(np.flatnonzero(shares)[0]) + 1
        steps = np.cumsum(shares)
        draws = random.random(-(-len(words) // shortest)) * steps[-1]
        stops = np.cumsum(np.searchsorted(steps, draws, side="right") + 1)
        first = apart[words]
        first[stops[: np.searchsorted(stops, len(words))]] = True
        begins = words[first]
    sizes = np.diff(begins, append=len(tokens))
    return Units(tokens, begins, sizes, rows[begins], words)


def draw_units(units: Units, rate: float, random: np.random.Generator) -> np.ndarray:
    """Draws units so that each is as likely as any other, whatever its length and place.

    rate: the share of units, and so of tokens, that is drawn.

    The units of a row are put in order of size, those of one size in random order, and every (1 / rate)-th is drawn
    from a random start (systematic sampling). So a row has its number of units rounded at random, never more than 1
    off, long and short ones in the shares that they have; each unit has probability `rate` exactly, which a budget of
    tokens that ends within a unit cannot give.
    Returns bool (units,).
    """
    count = len(units.rows)
    if not count:
        return np.zeros(0, dtype=bool)
    key = random.random(count)
    key += units.sizes
    key += units.rows * (float(units.sizes.max()) + 2)
    order = np.argsort(key)
    first = np.flatnonzero(np.diff(units.rows, prepend=-1))
    lengths = np.diff(first, append=count)
    phase = np.repeat(random.random(len(first)), lengths)
    place = np.arange(count) - np.repeat(first, lengths)
    drawn = np.zeros(count, dtype=bool)
    drawn[order] = np.floor(rate * (place + 1) + phase) > np.floor(rate * place + phase)
    return drawn
