"""Windows cover a row and merge back into it; checked against the definition, word by word."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.text.windows import merge_windows, windows

shapes = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(st.integers(0, 60), shapes)
def test_windows_cover_the_row_and_overlap(length, shape):
    size, overlap = shape
    found = windows(length, size, overlap)
    assert sorted({word for start, stop in found for word in range(start, stop)}) == list(range(length))
    assert all(stop - start == min(size, length) for start, stop in found)
    for (start, stop), (next_start, next_stop) in pairwise(found):
        assert start < next_start <= stop - overlap and stop < next_stop
    for (_, stop), (next_start, _) in pairwise(found[:-1]):
        assert stop - next_start == overlap


def test_a_row_that_fits_is_one_window():
    assert windows(5, 5, 2) == [(0, 5)]
    assert windows(0, 5, 2) == []


def test_the_last_window_reaches_back_rather_than_being_short():
    assert windows(8, 5, 1) == [(0, 5), (3, 8)]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(4, 12), st.integers(0, 3))
def test_windows_of_wide_words_hold_at_most_their_size(widths, size, overlap):
    found = windows(len(widths), size, overlap, widths)
    assert all(sum(widths[start:stop]) <= size for start, stop in found)
    assert sorted({word for start, stop in found for word in range(start, stop)}) == list(range(len(widths)))


@given(st.integers(1, 40), shapes, st.integers(0, 5))
def test_each_word_is_scored_by_the_window_that_sees_most_around_it(length, shape, seed):
    spans = windows(length, *shape)
    random = np.random.default_rng(seed)
    scores = [random.normal(size=(stop - start, 3)) for start, stop in spans]
    merged = merge_windows(scores, spans, length)
    for word in range(length):
        best, chosen = -1.0, None
        for score, (start, stop) in zip(scores, spans, strict=True):
            if start <= word < stop:
                left = np.inf if start == 0 else word - start
                right = np.inf if stop == length else stop - 1 - word
                if min(left, right) > best:
                    best, chosen = min(left, right), score[word - start]
        assert (merged[word] == chosen).all()


def test_equal_context_goes_to_the_earlier_window():
    scores = [np.zeros(4), np.ones(4)]
    assert merge_windows(scores, [(0, 4), (3, 7)], 7).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert merge_windows(scores, [(0, 4), (1, 5)], 5).tolist() == [0, 0, 0, 1, 1]


def test_one_window_is_the_row_itself():
    scores = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    merged = merge_windows([scores], [(0, 3)], 3)
    assert merged.dtype == np.float32 and (merged == scores).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((9, 4, 4, None), "0 <= overlap < size"), ((2, 4, 1, [1, 5]), "word 1 has 5"), ((2, 4, 1, [1]), "1 widths for 2")],
)
def test_impossible_windows_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        windows(*arguments)


def test_words_without_a_window_and_wrong_scores_are_refused():
    with pytest.raises(ValueError, match="word 2 of 4 lies in no window"):
        merge_windows([np.zeros(2), np.zeros(1)], [(0, 2), (3, 4)], 4)
    with pytest.raises(ValueError, match="scores for 3 words"):
        merge_windows([np.zeros(3)], [(0, 2)], 2)
    with pytest.raises(ValueError, match="1 windows of scores for 2 spans"):
        merge_windows([np.zeros(2)], [(0, 2), (1, 3)], 3)
