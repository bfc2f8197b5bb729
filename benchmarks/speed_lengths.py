"""Text of the contests' lengths from numbers alone, so that the speed benchmark runs anywhere.

DataGrand's and Sohu's quantiles are those of the files that are public: DataGrand's 13,541 labelled lines in tokens,
and Sohu's 778 short-short pairs in characters of both texts. Long texts of Sohu are in no public file: they are assumed
to be log-normal, 700 characters in the middle; nearly all pairs that hold one are cut to max_length whatever the guess.
"""

import os
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd

# Shares of the rows, and the length that so many of them do not exceed.
SHARES = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 1]
DATAGRAND = [4, 17, 21, 27, 33, 38, 44, 51, 59, 70, 88, 106, 127, 158, 177, 256, 566]
SOHU_SHORT = [8, 32, 36, 43, 48, 53, 57, 62, 174, 284, 299, 300, 300, 300, 300, 300, 300]
SOHU_LONG, SOHU_LONG_SPREAD = 700, 0.7
PERIOD = 2000  # rows after which the lengths come again: twice the rows then hold no longer ones


def lengths_like(quantiles: Sequence[int], count: int, random: np.random.Generator) -> np.ndarray:
    """Lengths with these quantiles, by SHARES, again and again after PERIOD of them; (count,)."""
    own = np.interp(random.random(min(count, PERIOD)), SHARES, quantiles).round().astype(int)
    return np.resize(own, count)


@cache
def _words() -> tuple[list[str], np.ndarray]:
    """The words of jieba's dictionary and how often each occurs."""
    import jieba

    words, counts = [], []
    with open(os.path.join(os.path.dirname(jieba.__file__), "dict.txt"), encoding="utf-8") as stream:
        for line in stream:
            word, count, *_ = line.split(" ")
            words.append(word)
            counts.append(int(count))
    return words, np.array(counts) / sum(counts)


def texts_of(lengths: Sequence[int], random: np.random.Generator) -> list[str]:
    """Texts of so many characters, of words as frequent as in Chinese at large."""
    words, shares = _words()
    total = int(np.sum(lengths))
    text = "".join(words[place] for place in random.choice(len(words), size=total, p=shares).tolist())
    stops = np.cumsum(lengths).tolist()
    return [text[stop - length : stop] for stop, length in zip(stops, np.asarray(lengths).tolist(), strict=True)]


def datagrand_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Lines of numbers as DataGrand has them; a third of the lines have an entity."""
    random = np.random.default_rng(seed)
    rows = []
    for number, length in enumerate(lengths_like(DATAGRAND, count, random).tolist()):
        tokens = (random.zipf(1.2, length) % 9000 + 1).astype(str).tolist()
        start = int(random.integers(0, length))
        stop = min(length, start + 3)
        spans = [(start, stop, "abc"[number % 9 // 3])] if number % 3 == 0 else []
        rows.append((str(number), tokens, spans))
    return pd.DataFrame(rows, columns=["id", "tokens", "spans"])


def sohu_rows(count: int, mix: str = "short", seed: int = 0) -> pd.DataFrame:
    """Pairs. mix: "short" for short-short ones alone, "all": a third each of short-short, short-long and long-long."""
    random = np.random.default_rng(seed)
    short = lengths_like(SOHU_SHORT, 2 * count, random) // 2
    long = np.clip(random.lognormal(np.log(SOHU_LONG), SOHU_LONG_SPREAD, 2 * count), 100, 3000).astype(int)
    kind = random.integers(0, 3, count) if mix == "all" else np.zeros(count, dtype=int)
    # Both texts of a short pair are alike in length, as in the files.
    first = np.where(kind == 2, long[:count], short[:count])
    second = np.where(kind >= 1, long[count:], short[:count])
    texts = {"source": texts_of(first, random), "target": texts_of(second, random)}
    return pd.DataFrame({"id": list(map(str, range(count))), **texts, "task": 0, "label": random.integers(0, 2, count)})
