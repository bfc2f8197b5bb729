"""No text crosses a fold, no fold is empty, and strata are as even as scikit-learn makes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from common.ensembling.folds import grouped_stratified_folds, text_groups

# Few texts, many rows: chains of rows that share a text with the next one are common.
texts = st.sampled_from(["a b", "A  b", "ab", "甲", " 甲\n", "b", "c", "C", "d", "e", "f", "g", "h"])
tables = st.lists(st.lists(texts, min_size=1, max_size=2), min_size=1, max_size=25)


def plain(text: str) -> str:
    return "".join(text.split()).lower()


def spread_groups(rows: list[list[str]]) -> list[int]:
    """The reference: the lower of two numbers goes round until nothing changes."""
    groups = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for one in range(len(rows)):
            for other in range(len(rows)):
                if {*map(plain, rows[one])} & {*map(plain, rows[other])} and groups[one] < groups[other]:
                    groups[other], changed = groups[one], True
    return groups


@given(tables)
def test_rows_are_grouped_as_by_passing_numbers_along_shared_texts(rows):
    found, expected = text_groups(rows), spread_groups(rows)
    assert found.shape == (len(rows),)
    assert len({*zip(found.tolist(), expected, strict=True)}) == len(set(expected)) == len(set(found.tolist()))


@given(tables, st.integers(2, 4), st.integers(0, 3))
def test_rows_that_share_a_text_share_a_fold_and_no_fold_is_empty(rows, count, seed):
    groups = text_groups(rows)
    if len(set(groups.tolist())) < count:
        with pytest.raises(ValueError, match="groups of rows into"):
            grouped_stratified_folds(groups, [0] * len(rows), count, seed)
        return
    folds = grouped_stratified_folds(groups, [len(row[0]) for row in rows], count, seed)
    assert set(folds.tolist()) == set(range(count))
    for one, first in zip(rows, folds, strict=True):
        for other, second in zip(rows, folds, strict=True):
            if {*map(plain, one)} & {*map(plain, other)}:
                assert first == second


def test_a_chain_of_shared_texts_is_one_group():
    groups = text_groups([("a", "b"), ("x",), ("c", "B"), ("y", "X "), ("c", "d")])
    assert groups[0] == groups[2] == groups[4] != groups[1] == groups[3]


def unevenness(folds: np.ndarray, strata: np.ndarray, count: int) -> float:
    """How far the folds' shares of a stratum stray from even: the mean over strata of their standard deviation."""
    shares = [[np.mean(folds[strata == item] == fold) for fold in range(count)] for item in np.unique(strata)]
    return float(np.mean(np.std(shares, axis=1)))


@pytest.mark.parametrize("seed", range(6))
def test_strata_are_as_even_as_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 150, 600)
    groups[random.random(600) < 0.1] = 0  # one large group
    strata = random.choice(4, 600, p=[0.6, 0.25, 0.1, 0.05])
    own = grouped_stratified_folds(groups, strata.tolist(), 5, seed)
    theirs = np.zeros(600, dtype=int)
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(groups, strata, groups)
    for fold, (_, inside) in enumerate(splits):
        theirs[inside] = fold
    # Both are greedy: half a percentage point of a stratum's rows either way is chance.
    assert unevenness(own, strata, 5) <= unevenness(theirs, strata, 5) + 0.005
    assert np.bincount(own).max() <= 1.2 * 600 / 5


def test_a_seed_decides_the_folds_and_another_gives_others():
    groups, strata = np.arange(60), [place % 3 for place in range(60)]
    first, same, other = (grouped_stratified_folds(groups, strata, 4, seed) for seed in (5, 5, 6))
    assert (first == same).all() and (first != other).any()


def test_group_numbers_may_be_any_numbers():
    groups = np.array([907, 3, 907, 12, 3, 44])
    folds = grouped_stratified_folds(groups, ["a", "b", "a", "b", "a", "b"], 2, 0)
    assert folds[0] == folds[2] and folds[1] == folds[4] and set(folds) == {0, 1}


@pytest.mark.parametrize(("groups", "folds"), [([0, 0, 1], 3), ([0, 1], 1), ([], 2)])
def test_too_few_groups_or_folds_are_refused(groups, folds):
    with pytest.raises(ValueError, match=f"into {folds} folds: expected at least 2 folds and one group each"):
        grouped_stratified_folds(np.array(groups, dtype=int), [0] * len(groups), folds, 0)
