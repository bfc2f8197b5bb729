"""Which way to combine is taken: the best of the simple ones, a model only when it gains more than chance."""

import numpy as np

from common.ensembling.choice import best_way


def around(*scores: float, spread: float, common: float = 0.05) -> np.ndarray:
    """Resampled scores: what the rows do to all alike, and what they do to each by itself."""
    random = np.random.default_rng(0)
    shared = random.normal(0, common, 2000)
    return np.stack([score + shared + random.normal(0, spread, 2000) for score in scores])


def test_a_model_must_gain_more_than_chance():
    scores = [0.80, 0.82, 0.83]
    assert best_way(scores, [0, 1, 2], around(*scores, spread=0.02)) == 1
    assert best_way(scores, [0, 1, 2], around(*scores, spread=0.002)) == 2


def test_a_few_fitted_numbers_need_no_more_than_the_higher_score():
    scores = [0.80, 0.82, 0.821]
    assert best_way(scores, [0, 0, 1], around(*scores, spread=0.02)) == 2


def test_what_all_share_is_no_reason_for_doubt():
    scores = [0.80, 0.81]
    assert best_way(scores, [0, 2], around(*scores, spread=0.001, common=0.5)) == 1


def test_among_equally_simple_ones_the_highest_is_taken_and_the_first_on_a_tie():
    scores = [0.80, 0.81, 0.81]
    assert best_way(scores, [0, 0, 0], around(*scores, spread=0.1)) == 1
    scores = [0.70, 0.80, 0.81]
    assert best_way(scores, [0, 1, 1], around(*scores, spread=0.01)) == 2


def test_without_resamples_the_highest_score_is_taken():
    assert best_way([0.80, 0.81, 0.82], [0, 1, 2], None) == 2
    assert best_way([0.80, 0.81, 0.79], [0, 1, 2], None) == 1
