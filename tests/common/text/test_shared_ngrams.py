"""shared_ngrams: against a plain loop over every n-gram."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.shared_ngrams import shared_ngrams

SPECIAL = [0, 1]


def plain(ids: list[int], sides: list[int], most: int) -> list[int]:
    texts = [[place for place, own in enumerate(sides) if own == side] for side in (0, 1)]

    def grams(side: int, size: int) -> list[tuple[int, ...]]:
        runs = [tuple(range(start, start + size)) for start in texts[side] if start + size <= len(ids)]
        return [run for run in runs if all(sides[p] == side and ids[p] not in SPECIAL for p in run)]

    longest = [0] * len(ids)
    for size in range(1, most + 1):
        for side in (0, 1):
            others = {tuple(ids[p] for p in run) for run in grams(1 - side, size)}
            for run in grams(side, size):
                if tuple(ids[p] for p in run) in others:
                    for place in run:
                        longest[place] = size
    return longest


def pair(first: list[int], second: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """[CLS] first [SEP] second [SEP] with ids 0 and 1 as special tokens."""
    return np.array([0, *first, 1, *second, 1]), np.array([0] * (len(first) + 2) + [1] * (len(second) + 1))


def test_a_hand_made_pair():
    ids, sides = pair([5, 6, 7, 9], [6, 7, 5])
    assert shared_ngrams([ids], [sides], SPECIAL, 3)[0].tolist() == [0, 1, 2, 2, 0, 0, 2, 2, 1, 0]


def test_rows_do_not_see_each_other():
    rows = [pair([5, 6], [7]), pair([7], [5, 6])]
    found = shared_ngrams([ids for ids, _ in rows], [sides for _, sides in rows], SPECIAL, 2)
    assert [row.tolist() for row in found] == [[0] * 6, [0] * 6]


def test_no_rows_and_no_levels():
    assert shared_ngrams([], [], SPECIAL, 3) == []
    ids, sides = pair([5], [5])
    assert shared_ngrams([ids], [sides], SPECIAL, 0)[0].tolist() == [0] * 5


texts = st.lists(st.integers(0, 6), max_size=9)


@settings(max_examples=150)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.integers(1, 4))
def test_it_equals_a_plain_loop(pairs, most):
    rows = [pair(first, second) for first, second in pairs]
    found = shared_ngrams([ids for ids, _ in rows], [sides for _, sides in rows], SPECIAL, most)
    assert [row.tolist() for row in found] == [plain(ids.tolist(), sides.tolist(), most) for ids, sides in rows]
