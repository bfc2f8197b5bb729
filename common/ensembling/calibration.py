"""Calibration of each member before it is blended: temperature and isotonic regression."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.ensembling.blending import Blend, Objective, Wrapped
from common.ensembling.scores import Scores

FLOOR = 1e-6


@dataclass
class Calibrated(Wrapped):
    """A blend of members whose probabilities were first made to mean what they say, on the rows it is fitted on.

    inner: the blend. units: at most this many units are calibrated on, evenly spaced.
    calibrations: what each member's calibration has learnt.
    """

    complexity = 1
    units: int = 100_000
    calibrations: list[Any] = field(default_factory=list)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        places = np.unique(np.linspace(0, len(targets) - 1, min(self.units, len(targets))).astype(int))
        self.calibrations = [self.learn(part.values[places], targets[places]) for part in parts]
        self.inner.fit(self._calibrated(parts), targets, objective)

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return self.inner.apply(self._calibrated(parts))

    def _calibrated(self, parts: Sequence[Scores]) -> list[Scores]:
        pairs = zip(parts, self.calibrations, strict=True)
        return [part.with_values(self.calibrate(part.values, learnt)) for part, learnt in pairs]

    @staticmethod
    def learn(values: np.ndarray, targets: np.ndarray) -> Any:
        """JSON values from probabilities (units, outputs) and gold classes (units,)."""
        raise NotImplementedError

    @staticmethod
    def calibrate(values: np.ndarray, learnt: Any) -> np.ndarray:
        """Calibrated probabilities (units, outputs)."""
        raise NotImplementedError


class Temperature(Calibrated):
    """Log-probabilities (of a pair: log-odds) times one number, that of the highest likelihood.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2; the number is 1 / temperature.
    """

    name = "temperature"

    @staticmethod
    def learn(values: np.ndarray, targets: np.ndarray) -> float:
        logits = _log_probabilities(values)
        gold = logits[np.arange(len(targets)), targets]
        number = 1.0
        # Newton's steps: the likelihood is concave in the number. Scores without a mistake would want it endless.
        for _ in range(30):
            shares = _softmax(number * logits)
            mean = (shares * logits).sum(axis=1)
            slope = (gold - mean).mean()
            curve = ((shares * logits**2).sum(axis=1) - mean**2).mean()
            step = slope / max(curve, 1e-12)
            number, before = float(np.clip(number + step, number / 2, number * 2).clip(0.05, 20.0)), number
            if abs(number - before) < 1e-7:
                break
        return number

    @staticmethod
    def calibrate(values: np.ndarray, learnt: float) -> np.ndarray:
        found = _softmax(learnt * _log_probabilities(values))
        return found[:, 1:] if values.shape[1] == 1 else found


class Isotonic(Calibrated):
    """Each output through the rising steps that fit its frequencies best; outputs then sum to one again.

    Source: Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates".
    """

    name = "isotonic"
    complexity = 2

    @staticmethod
    def learn(values: np.ndarray, targets: np.ndarray) -> list[list[list[float]]]:
        first = 1 if values.shape[1] == 1 else 0
        return [isotonic_points(values[:, column], targets == column + first) for column in range(values.shape[1])]

    @staticmethod
    def calibrate(values: np.ndarray, learnt: list[list[list[float]]]) -> np.ndarray:
        columns = [np.interp(column, *points) for column, points in zip(values.T, learnt, strict=True)]
        found = np.stack(columns, axis=1).clip(FLOOR, 1 - FLOOR)
        return found if len(learnt) == 1 else found / found.sum(axis=1, keepdims=True)


def isotonic_points(values: np.ndarray, hits: np.ndarray) -> list[list[float]]:
    """The isotonic regression of `hits` (0 and 1) on `values`: corners (x, y) to interpolate between."""
    from scipy.optimize import isotonic_regression

    x, place = np.unique(values.astype(np.float64), return_inverse=True)
    weights = np.bincount(place)
    y = isotonic_regression(np.bincount(place, weights=hits) / weights, weights=weights).x
    # Between equal neighbours a point says nothing: a step keeps its two ends.
    kept = np.ones(len(x), dtype=bool)
    kept[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
    return [x[kept].tolist(), y[kept].tolist()]


def _log_probabilities(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    values = np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values
    return np.log(np.maximum(values, FLOOR))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


CALIBRATIONS: dict[str, type[Blend]] = {kind.name: kind for kind in (Temperature, Isotonic)}
