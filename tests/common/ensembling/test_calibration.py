"""Calibration against scikit-learn and scipy, and what it must not change."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from common.ensembling.blending import HillClimbing, Mean
from common.ensembling.calibration import Isotonic, Temperature, isotonic_points
from common.ensembling.scores import Scores


def overconfident(outputs: int, factor: float, seed: int = 0, units: int = 4000) -> tuple[Scores, np.ndarray]:
    """Scores whose log-odds are `factor` times what they should be, and the gold classes."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (units, max(2, outputs)))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (true.cumsum(1) < random.random((units, 1))).sum(1)
    sharp = true**factor / (true**factor).sum(1, keepdims=True)
    values = sharp[:, 1:] if outputs == 1 else sharp
    return Scores.of([str(row) for row in range(units)], list(values[:, None])), targets


def full(values: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_is_that_of_the_highest_likelihood(outputs, factor):
    part, targets = overconfident(outputs, factor)
    logits = np.log(full(part.values.astype(np.float64)).clip(1e-6))

    def loss(number: float) -> float:
        scaled = number * logits
        return (np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(targets)), targets]).mean()

    expected = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    found = Temperature.learn(part.values, targets)
    assert found == pytest.approx(expected, rel=1e-5) and found == pytest.approx(1 / factor, rel=0.1)
    scaled = np.exp(found * logits)
    expected = (scaled / scaled.sum(1, keepdims=True))[:, -outputs:]
    assert np.allclose(Temperature.calibrate(part.values, found), expected)


def test_scores_without_a_mistake_get_a_temperature_all_the_same():
    values = np.array([[0.9], [0.8], [0.2], [0.1]])
    assert Temperature.learn(values, np.array([1, 1, 0, 0])) == 20.0
    assert Temperature.learn(values, np.array([0, 0, 1, 1])) == pytest.approx(0.05)


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_regression_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    values = random.random(500).round(2).astype(np.float32)  # with ties
    hits = random.random(500) < values
    reference = IsotonicRegression(out_of_bounds="clip").fit(values, hits)
    new = np.linspace(0, 1, 1001)
    points = isotonic_points(values, hits)
    assert np.allclose(np.interp(new, *points), reference.predict(new), atol=1e-6)
    assert len(points[0]) <= len(reference.X_thresholds_) + 2


def test_isotonic_outputs_of_tags_are_each_regressed_and_sum_to_one():
    part, targets = overconfident(3, 2.0)
    learnt = Isotonic.learn(part.values, targets)
    values = part.values.astype(np.float64)
    columns = [IsotonicRegression().fit(values[:, tag], targets == tag).predict(values[:, tag]) for tag in range(3)]
    expected = np.stack(columns, 1).clip(1e-6, 1 - 1e-6)
    found = Isotonic.calibrate(part.values, learnt)
    assert np.allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("kind", [Temperature, Isotonic])
@pytest.mark.parametrize("outputs", [1, 4])
def test_calibrated_scores_are_likelier_on_new_units(kind, outputs):
    part, targets = overconfident(outputs, 3.0)
    new, gold = overconfident(outputs, 3.0, seed=1)
    blend = kind()
    blend.fit([part], targets, lambda scores: 0.0)
    classes = range(max(2, outputs))
    before, after = (log_loss(gold, full(scores.values), labels=classes) for scores in (new, blend.apply([new])))
    assert after < before - 0.1


def test_each_member_is_calibrated_by_itself_before_the_inner_blend_is_fitted():
    (first, targets), (second, _) = overconfident(1, 3.0), overconfident(1, 0.3)
    own = [part.with_values(Temperature.calibrate(part.values, Temperature.learn(part.values, targets)))
           for part in (first, second)]  # fmt: skip
    assert np.allclose(fitted(Temperature(), [first, second], targets).values, Mean().apply(own).values)
    expected = fitted(HillClimbing(), own, targets).values
    assert np.allclose(fitted(Temperature(HillClimbing()), [first, second], targets).values, expected)


def fitted(blend, parts, targets) -> Scores:
    blend.fit(parts, targets, lambda scores: -float(((scores.values[:, 0] - targets) ** 2).mean()))
    return blend.apply(parts)


def test_it_takes_evenly_spaced_units_when_there_are_too_many():
    part, targets = overconfident(1, 2.0, units=301)
    blend = Temperature(units=101)
    blend.fit([part], targets, lambda scores: 0.0)
    assert blend.calibrations == [Temperature.learn(part.values[::3], targets[::3])]
