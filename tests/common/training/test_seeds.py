"""The best score to expect from n trials is what drawing n of them many times gives."""

from itertools import product

import numpy as np
import pytest

from common.training.seeds import draw_expected_best, expected_best

SCORES = [0.5, 0.9, 0.7, 0.7]


@pytest.mark.parametrize("trials", [1, 2, 3, 5])
def test_it_is_the_mean_and_spread_over_all_draws(trials):
    best = [max(draw) for draw in product(SCORES, repeat=trials)]
    assert expected_best(SCORES, trials) == pytest.approx((np.mean(best), np.std(best)))


def test_one_trial_is_the_mean_and_many_are_the_maximum():
    assert expected_best(SCORES, 1)[0] == pytest.approx(np.mean(SCORES))
    assert expected_best(SCORES, 1000) == pytest.approx((0.9, 0.0), abs=1e-9)


def test_nothing_has_no_best():
    with pytest.raises(ValueError, match="at least one score"):
        expected_best([], 3)


def test_the_picture_is_drawn(tmp_path):
    draw_expected_best({"plain": SCORES, "fgm": [0.6, 0.8]}, tmp_path / "trials" / "best.png", "F1")
    assert (tmp_path / "trials" / "best.png").read_bytes()[1:4] == b"PNG"
