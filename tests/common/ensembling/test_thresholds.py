"""The threshold is the best of all cuts, ties and borders included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from common.ensembling.thresholds import best_null_threshold, best_threshold, thresholds_by


def brute_force(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The highest F1 that any set {probability >= cut} reaches."""
    return max(f1_score(labels, probabilities >= cut, zero_division=0.0) for cut in (*np.unique(probabilities), np.inf))


cases = st.lists(
    # A few round numbers make ties; 0, 1 and neighbouring floats are the borders.
    st.tuples(
        st.one_of(
            st.sampled_from([0.0, 0.1, 0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 0), 1.0, 5e-324]), st.floats(0, 1)
        ),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=12,
)


@given(cases, st.sampled_from([np.float32, np.float64]))
def test_no_cut_is_better_and_the_threshold_reaches_what_it_says(rows, kind):
    probabilities, labels = np.array([p for p, _ in rows], dtype=kind), np.array([y for _, y in rows])
    threshold, f1 = best_threshold(probabilities, labels)
    assert 0 <= threshold <= 1
    assert f1 == pytest.approx(brute_force(probabilities, labels))
    if labels.any():
        assert f1 == pytest.approx(f1_score(labels, probabilities >= threshold))
        # Members keep float32: the same cut must hold after a round trip through JSON.
        assert f1 == pytest.approx(f1_score(labels, probabilities.astype(np.float64) >= float(repr(threshold))))


def test_the_threshold_lies_midway():
    assert best_threshold(np.array([0.9, 0.75, 0.25, 0.1]), np.array([1, 1, 0, 0])) == (0.5, 1.0)


def test_of_equal_cuts_the_one_nearest_half_is_taken():
    # Taking one row (1 of 1 right, 1 of 2 found) or taking all four (2 of 4 right): F1 2/3 both times.
    threshold, f1 = best_threshold(np.array([0.9, 0.3, 0.2, 0.1]), np.array([1, 0, 0, 1]))
    assert (threshold, f1) == (pytest.approx(0.6), pytest.approx(2 / 3))


def test_every_row_is_taken_even_when_the_last_one_has_probability_zero():
    assert best_threshold(np.array([0.9, 0.0]), np.array([0, 1])) == (0.0, pytest.approx(2 / 3))
    assert best_threshold(np.zeros(3), np.array([1, 1, 0])) == (0.0, pytest.approx(0.8))


@pytest.mark.parametrize("probabilities", [[], [0.1, 0.9], [0.0]])
def test_without_a_positive_row_the_threshold_is_half(probabilities):
    assert best_threshold(np.array(probabilities), np.zeros(len(probabilities), dtype=int)) == (0.5, 0.0)


def test_each_group_has_its_own_threshold():
    probabilities, labels = np.array([0.9, 0.1, 0.3, 0.2, 0.7, 0.1]), np.array([1, 1, 0, 0, 0, 1])
    groups = ["b", "a", "b", "b", "a", "a"]
    found = thresholds_by(groups, probabilities, labels)
    assert list(found) == ["b", "a"]
    for group in "ab":
        own = np.array(groups) == group
        assert found[group] == best_threshold(probabilities[own], labels[own])[0]


@given(cases, st.integers(0, 5))
def test_what_is_never_found_counts_against_every_cut(rows, missed):
    """Entities without a candidate: as rows of label 1 below every threshold."""
    probabilities, labels = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    _, f1 = best_threshold(probabilities, labels, missed)
    cuts = [*np.unique(probabilities), np.inf]
    found = [((probabilities >= cut) & (labels == 1)).sum() for cut in cuts]
    sizes = [(probabilities >= cut).sum() + labels.sum() + missed for cut in cuts]
    wanted = max(2 * right / size if size else 0.0 for right, size in zip(found, sizes, strict=True))
    assert f1 == pytest.approx(wanted)


null_cases = st.lists(
    st.tuples(st.one_of(st.sampled_from([-1.0, 0.0, 0.5]), st.floats(-5, 5)), st.sampled_from([0.0, 0.5, 1.0]),
              st.sampled_from([0.0, 1.0])),
    min_size=1, max_size=10,
)  # fmt: skip


@given(null_cases)
def test_no_other_null_threshold_scores_more(rows):
    differences, answered, unanswered = map(np.array, zip(*rows, strict=True))

    def score(threshold: float) -> float:
        return float(np.where(differences > threshold, unanswered, answered).mean())

    threshold, best = best_null_threshold(differences, answered, unanswered)
    assert best == pytest.approx(score(threshold))
    assert best == pytest.approx(max(score(cut) for cut in (-np.inf, *differences)))
    assert best_null_threshold(np.zeros(0), np.zeros(0), np.zeros(0)) == (0.0, 0.0)
