"""The power mean of probabilities: between the lowest and the highest member, as far as out-of-fold scores like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.ensembling.blending import Blend, Objective
from common.ensembling.scores import Scores, average

EXPONENTS = (1.0, 0.0, 0.5, 2.0, -1.0)  # the plain mean first: it keeps ties


@dataclass
class PowerMean(Blend):
    """(mean of p^e)^(1/e), made to sum to one; the exponent e is the one of EXPONENTS that the metric likes best.

    1 is the mean, 0 the geometric mean (of pairs: the mean of log-odds), -1 the harmonic mean. The smaller e, the more
    one member's doubt counts; the larger, the more one member's certainty. A pair's p and 1 - p are treated alike.
    """

    name = "power_mean"
    complexity = 1
    exponent: float = 1.0

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        self.exponent = max(EXPONENTS, key=lambda exponent: objective(power_mean(parts, exponent)))

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return power_mean(parts, self.exponent)


def power_mean(parts: Sequence[Scores], exponent: float) -> Scores:
    """The power mean of several scores of the same units, normalised to sum to one."""
    if exponent == 1:
        return average(parts)
    values = [_mean(np.stack([part.values for part in parts]), exponent)]
    if parts[0].values.shape[1] == 1:
        values.append(_mean(1 - np.stack([part.values for part in parts]), exponent))
    return parts[0].with_values(values[0] / sum(item.sum(axis=1, keepdims=True) for item in values))


def _mean(values: np.ndarray, exponent: float) -> np.ndarray:
    values = np.maximum(values, 1e-6)
    if exponent == 0:
        return np.exp(np.log(values).mean(axis=0))
    return (values**exponent).mean(axis=0) ** (1 / exponent)
