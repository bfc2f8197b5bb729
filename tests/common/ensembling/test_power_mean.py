"""Power means against their formulas."""

import numpy as np
import pytest
from scipy.stats import gmean, hmean, pmean

from common.ensembling.power_mean import EXPONENTS, PowerMean, power_mean
from common.ensembling.scores import Scores


def parts_of(outputs: int, seed: int = 0) -> list[Scores]:
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.ones(max(outputs, 2)), (3, 50))[..., :outputs]
    return [Scores.of([str(row) for row in range(50)], list(item[:, None])) for item in values]


@pytest.mark.parametrize(("exponent", "formula"), [
    (1.0, np.mean), (0.0, gmean), (-1.0, hmean), (2.0, lambda values, axis: pmean(values, 2, axis=axis)),
    (0.5, lambda values, axis: pmean(values, 0.5, axis=axis)),
])  # fmt: skip
@pytest.mark.parametrize("outputs", [1, 4])
def test_it_is_the_power_mean_of_each_class_normalised(exponent, formula, outputs):
    parts = parts_of(outputs)
    values = np.stack([part.values.astype(np.float64) for part in parts])
    values = np.concatenate([values, 1 - values], axis=2) if outputs == 1 else values
    expected = formula(values, axis=0)
    expected = (expected / expected.sum(axis=1, keepdims=True))[:, :outputs]
    assert np.allclose(power_mean(parts, exponent).values, expected, atol=1e-6)


def test_the_geometric_mean_of_pairs_is_the_mean_of_log_odds():
    parts = parts_of(1)
    odds = np.mean([np.log(part.values / (1 - part.values)) for part in parts], axis=0)
    assert np.allclose(power_mean(parts, 0.0).values, 1 / (1 + np.exp(-odds)), atol=1e-5)


@pytest.mark.parametrize("wanted", EXPONENTS)
def test_the_exponent_is_the_one_that_the_metric_likes_best(wanted):
    parts = parts_of(3)
    ideal = power_mean(parts, wanted).values
    blend = PowerMean()
    blend.fit(parts, np.zeros(50), lambda scores: -float(np.abs(scores.values - ideal).sum()))
    assert blend.exponent == wanted and (blend.apply(parts).values == ideal).all()


def test_a_tie_keeps_the_plain_mean():
    blend = PowerMean()
    blend.fit(parts_of(3), np.zeros(50), lambda scores: 0.0)
    assert blend.exponent == 1


def test_a_probability_of_zero_is_a_number_in_every_mean():
    zero = Scores.of(["a"], np.array([0.0]))
    for exponent in EXPONENTS:
        assert np.isfinite(power_mean([zero, zero], exponent).values).all()
