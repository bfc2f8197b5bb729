"""The bootstrap against an explicit loop, and what its intervals promise."""

import time

import numpy as np
import pytest
from sklearn.metrics import f1_score

from common.evaluation.bootstrap import bootstrap_scores, f1_from_counts, interval
from common.evaluation.metrics import binary_counts, entity_counts, entity_f1


def test_scores_are_those_of_a_loop_over_the_same_resamples():
    random = np.random.default_rng(0)
    labels, kinds, groups = random.integers(0, 2, 40), random.choice(list("AB"), 40), random.integers(0, 15, 40)
    systems = [np.where(random.random(40) < right, labels, 1 - labels) for right in (0.6, 0.8)]
    counts = np.stack([binary_counts(kinds.tolist(), labels, own) for own in systems])
    found = bootstrap_scores(counts, groups, resamples=30, seed=5)
    draw = np.random.default_rng(5)
    members = [np.flatnonzero(groups == number) for number in np.unique(groups)]
    drawn = draw.integers(0, len(members), (30, len(members)), dtype=np.int32)
    for resample in range(30):
        rows = np.concatenate([members[number] for number in drawn[resample]])
        for place, own in enumerate(systems):
            parts = [f1_score(labels[rows][kinds[rows] == kind], own[rows][kinds[rows] == kind], zero_division=0.0)
                     for kind in "AB"]  # fmt: skip
            assert found[place, resample] == pytest.approx(np.mean(parts), abs=1e-6)


def test_the_draw_does_not_depend_on_how_it_is_cut(monkeypatch):
    counts = np.random.default_rng(0).integers(0, 4, (2, 50, 1, 3)).astype(float)
    whole = bootstrap_scores(counts, np.arange(50), 100)
    monkeypatch.setattr("common.evaluation.bootstrap.CHUNK", 50 * 7)
    assert (bootstrap_scores(counts, np.arange(50), 100) == whole).all()


def test_counts_of_rows_add_up_to_the_metrics():
    random = np.random.default_rng(1)
    spans = lambda: [[(n, n + 1, "ab"[n % 2]) for n in range(5) if random.random() < 0.5] for _ in range(30)]  # noqa: E731
    gold, predicted = spans(), spans()
    found = f1_from_counts(entity_counts(gold, predicted)[:, None].sum(axis=0))
    assert found == pytest.approx(entity_f1(gold, predicted)["micro"]["f1"])
    assert f1_from_counts(np.zeros((2, 3))) == 0
    assert entity_counts([], []).shape == (0, 3)


def test_a_system_against_itself_gains_nothing_in_every_resample():
    counts = np.random.default_rng(0).integers(0, 4, (1, 50, 1, 3)).repeat(2, axis=0)
    scores = bootstrap_scores(counts, np.arange(50))
    assert interval(scores[0] - scores[1]) == (0, 0)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial():
    """Accuracy as F1: every row has one predicted and one gold."""
    right = (np.arange(1000) < 800).astype(float)
    counts = np.stack([right, np.ones(1000), np.ones(1000)], axis=1)[None, :, None]
    low, high = interval(bootstrap_scores(counts, np.arange(1000))[0])
    assert (low, high) == pytest.approx((0.8 - 1.96 * 0.01265, 0.8 + 1.96 * 0.01265), abs=0.003)


def test_rows_that_are_tied_make_the_interval_wider():
    right = np.random.default_rng(0).integers(0, 2, 200).repeat(5)
    counts = np.stack([right, np.ones(1000), np.ones(1000)], axis=1)[None, :, None]
    free, tied = (interval(bootstrap_scores(counts, own)[0]) for own in (np.arange(1000), np.arange(1000) // 5))
    assert (tied[1] - tied[0]) / (free[1] - free[0]) == pytest.approx(5**0.5, rel=0.1)


def test_two_thousand_resamples_of_a_whole_contest_take_a_moment():
    counts = np.random.default_rng(0).integers(0, 4, (12, 13541, 1, 3)).astype(float)
    started = time.process_time()
    bootstrap_scores(counts, np.arange(13541))
    assert time.process_time() - started < 6  # half a second on a core of its own
