"""Units of masking: they hold every token once, keep words whole, and are drawn with equal probability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from common.text.masking_units import (
    ONE_TO_FIVE,
    ONE_TO_FOUR,
    TWO_TO_THREE,
    draw_units,
    geometric_shares,
    units_of,
)

MIXTURES = {"1-5": ONE_TO_FIVE, "2-3": TWO_TO_THREE, "1-4": ONE_TO_FOUR, "span": geometric_shares()}


def test_spans_have_the_mean_of_the_paper():
    shares = np.array(geometric_shares(0.2, 10))
    assert shares.sum() == pytest.approx(1)
    assert np.allclose(shares[1:] / shares[:-1], 0.8)
    assert (shares * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.01)


def test_impossible_spans_are_refused():
    for probability, longest in ((0, 10), (1.5, 10), (0.2, 0)):
        with pytest.raises(ValueError, match="span lengths"):
            geometric_shares(probability, longest)


@pytest.mark.parametrize("name", MIXTURES)
def test_lengths_of_drawn_units_have_the_stated_shares(name):
    shares = MIXTURES[name]
    random = np.random.default_rng(1)
    words = np.arange(400_000)[None].repeat(3, axis=0) // 2  # words of two tokens: lengths count words
    units = units_of(words, shares, random)
    drawn = np.flatnonzero(draw_units(units, 0.15, random))
    cut = np.isin(drawn, np.flatnonzero(np.diff(units.rows)) + np.array([[0], [1]]))  # by the end of a row
    lengths = units.sizes[drawn[~cut]] // 2
    counts = np.bincount(lengths, minlength=len(shares) + 1)[1:]
    possible = np.array(shares) > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], np.array(shares)[possible] * counts.sum()).pvalue > 1e-4


ROWS = st.integers(1, 12).flatmap(
    lambda length: st.lists(st.lists(st.integers(-1, 3), min_size=length, max_size=length), min_size=1, max_size=5)
)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from([(1.0,), *MIXTURES.values()]), st.booleans(), st.integers(0, 9))
def test_units_are_all_tokens_once_and_never_cut_a_word(rows, shares, whole_words, seed):
    words = np.array(rows)
    length = words.shape[1]
    units = units_of(words, shares, np.random.default_rng(seed), whole_words)
    assert units.tokens.tolist() == [i for i, word in enumerate(words.ravel().tolist()) if word >= 0]
    found = []
    for begin, size, row in zip(units.begins, units.sizes, units.rows, strict=True):
        places = units.tokens[begin : begin + size].tolist()
        assert places == list(range(places[0], places[0] + size))  # nothing lies between
        assert {place // length for place in places} == {row}
        found += places
        for edge in (places[0], places[-1] + 1):
            if whole_words and 0 < edge < words.size and edge % length:
                left, right = words.ravel()[edge - 1 : edge + 1]
                assert left != right or left < 0
    assert found == units.tokens.tolist()
    if shares == (1.0,) and not whole_words:
        assert set(units.sizes.tolist()) <= {1}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_row_has_its_number_of_units_rounded(rows, rate, seed):
    random = np.random.default_rng(seed)
    units = units_of(np.array(rows), (1.0,), random)
    drawn = draw_units(units, rate, random)
    for row in range(len(rows)):
        count = (units.rows == row).sum()
        assert abs(drawn[units.rows == row].sum() - rate * count) < 1 + 1e-9


def test_every_unit_is_as_likely_as_any_other():
    """Long and short ones, at the edge or not: 20,000 draws, 4.5 standard deviations."""
    random = np.random.default_rng(0)
    words = np.array([[0, 0, 0, 1, 2, 2, -1, 3, 4, 5, 5, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1]])
    units = units_of(words, (1.0,), random)
    times = np.sum([draw_units(units, 0.15, random) for _ in range(20_000)], axis=0)
    assert np.abs(times / 20_000 - 0.15).max() < 4.5 * np.sqrt(0.15 * 0.85 / 20_000)


def test_nothing_to_mask_gives_no_unit():
    units = units_of(np.full((2, 4), -1), ONE_TO_FIVE, np.random.default_rng(0))
    assert len(units.begins) == len(draw_units(units, 0.15, np.random.default_rng(0))) == 0
