"""Ways to combine members. Each is fitted on out-of-fold scores, applied to any others, and kept as plain JSON."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from common.ensembling.scores import Scores, average

Objective = Callable[[Scores], float]


class Blend(ABC):
    """One way to turn the scores of several members into one.

    `fit` sees out-of-fold scores only, `apply` any rows; the members come in the same order both times.
    complexity: how much is fitted: 0 nothing, 1 a few numbers by the metric, 2 a model of its own.
    takes_features: whether the contest's features of each unit follow as one part more.
    """

    name: ClassVar[str]
    complexity: ClassVar[int] = 0
    takes_features: ClassVar[bool] = False

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:  # noqa: B027
        """Learns what the blend needs.

        parts: out-of-fold scores of each member. targets: (units,) gold class of each unit.
        objective: the contest's metric of blended scores, higher is better. The base class has nothing to learn.
        """

    @abstractmethod
    def apply(self, parts: Sequence[Scores]) -> Scores:
        """The blended scores of each member's scores."""

    def votes(self, part: Scores) -> Scores:
        """What `apply` first makes of a member's scores; twice is as once, so that it can be done in advance."""
        return part

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values."""
        return {"name": self.name, **vars(self)}


@dataclass
class Wrapped(Blend):
    """A blend around another: it changes what the inner one is given."""

    inner: Blend = field(default_factory=lambda: Mean())

    def state(self) -> dict[str, Any]:
        return {**super().state(), "inner": self.inner.state()}


@dataclass
class Mean(Blend):
    """The plain mean of probabilities."""

    name = "mean"

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return average(parts)


@dataclass
class RankMean(Blend):
    """The mean of ranks: each member's probability is replaced by its quantile among that member's out-of-fold scores.

    The quantiles are kept, so a single new row has a rank too, and test scores share the scale of the out-of-fold ones
    that thresholds were chosen on. For single-output scores (pairs); ranks of tags would not be probabilities.
    """

    name = "rank_mean"
    quantiles: list[list[float]] = field(default_factory=list)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        grid = np.linspace(0, 1, 1001)
        self.quantiles = [np.quantile(part.values[:, 0], grid).tolist() for part in parts]

    def apply(self, parts: Sequence[Scores]) -> Scores:
        ranks = []
        for part, points in zip(parts, np.asarray(self.quantiles), strict=True):
            # Equal quantiles (a member that repeats a score) get the middle of their ranks.
            left = np.searchsorted(points, part.values[:, 0], side="left")
            right = np.searchsorted(points, part.values[:, 0], side="right")
            ranks.append((left + right) / 2 / len(points))
        return parts[0].with_values(np.mean(ranks, axis=0)[:, None])


@dataclass
class HillClimbing(Blend):
    """Weights by greedy selection with replacement: add whichever member helps the metric most, until none does.

    rounds: the most members added. patience: rounds without gain before stopping.
    Source: Caruana et al. 2004, "Ensemble selection from libraries of models", section 2.
    """

    name = "hill_climbing"
    complexity = 1
    rounds: int = 20
    patience: int = 3
    weights: list[float] = field(default_factory=list)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        counts = np.zeros(len(parts), dtype=int)
        total = np.zeros_like(parts[0].values, dtype=np.float64)
        best, best_counts, idle = -np.inf, counts.copy(), 0
        known: dict[tuple[int, ...], float] = {}

        def gain_of(place: int) -> float:
            trial = counts.copy()
            trial[place] += 1
            # (2, 0) and (1, 0) are the same blend: the metric is asked once.
            key = tuple((trial // np.gcd.reduce(trial)).tolist())
            if key not in known:
                known[key] = objective(parts[0].with_values((total + parts[place].values) / (counts.sum() + 1)))
            return known[key]

        for _ in range(self.rounds if len(parts) > 1 else 1):
            gains = [gain_of(place) for place in range(len(parts))]
            choice = int(np.argmax(gains))
            counts[choice] += 1
            total += parts[choice].values
            if gains[choice] > best + 1e-12:
                best, best_counts, idle = gains[choice], counts.copy(), 0
            else:
                idle += 1
                if idle == self.patience:
                    break
        self.weights = (best_counts / best_counts.sum()).tolist()

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return parts[0].with_values(
            sum(weight * part.values.astype(np.float64) for weight, part in zip(self.weights, parts, strict=True))
        )


@dataclass
class Stacking(Blend):
    """Logistic regression on the members' log-odds.

    regularisation: C of scikit-learn, small is strong. units: at most this many units are fitted on, evenly spaced.
    """

    name = "stacking"
    complexity = 2
    regularisation: float = 1.0
    units: int = 30_000
    coefficients: list[list[float]] = field(default_factory=list)
    intercepts: list[float] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        from sklearn.linear_model import LogisticRegression

        places = np.unique(np.linspace(0, len(targets) - 1, min(self.units, len(targets))).astype(int))
        self.classes = np.unique(targets[places]).tolist()
        if len(self.classes) < 2:
            return  # nothing to tell apart: `apply` gives the mean
        model = LogisticRegression(C=self.regularisation, solver="newton-cholesky", tol=1e-7)
        model.fit(self._features(parts)[places], targets[places])
        self.coefficients, self.intercepts = model.coef_.tolist(), model.intercept_.tolist()

    def apply(self, parts: Sequence[Scores]) -> Scores:
        if len(self.classes) < 2:
            return average(parts)
        logits = self._features(parts) @ np.asarray(self.coefficients).T + np.asarray(self.intercepts)
        if parts[0].values.shape[1] == 1:
            return parts[0].with_values(1 / (1 + np.exp(-logits)))
        if len(self.classes) == 2:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        values = np.zeros_like(parts[0].values)
        values[:, self.classes] = shares / shares.sum(axis=1, keepdims=True)
        return parts[0].with_values(values)

    @staticmethod
    def _features(parts: Sequence[Scores]) -> np.ndarray:
        values = np.concatenate([part.values for part in parts], axis=1).astype(np.float64).clip(1e-6, 1 - 1e-6)
        return np.log(values) - np.log1p(-values)


BLENDS: dict[str, type[Blend]] = {kind.name: kind for kind in (Mean, RankMean, HillClimbing, Stacking)}


def kinds_of(blends: Iterable[Blend]) -> dict[str, type[Blend]]:
    """The classes of these blends and of those inside them, by name: what `restore` may build."""
    kinds: dict[str, type[Blend]] = {}
    for blend in blends:
        kinds[blend.name] = type(blend)
        if isinstance(blend, Wrapped):
            kinds |= kinds_of([blend.inner])
    return kinds


def restore(state: dict[str, Any], kinds: dict[str, type[Blend]] = BLENDS) -> Blend:
    """The blend that `state` describes, fitted as it was."""
    values = dict(state)
    blend = kinds[values.pop("name")]()
    if "inner" in values:
        values["inner"] = restore(values["inner"], kinds)
    vars(blend).update(values)
    return blend
