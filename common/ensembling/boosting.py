"""Stacking by boosted trees on the members' scores and on features of the unit that is scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.ensembling.blending import Blend, Objective
from common.ensembling.scores import Scores, average

# Each tree sees some of the columns and of the rows; the same rows give the same trees, whatever the machine's cores.
DETERMINISTIC: dict[str, Any] = {
    "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1, "seed": 1, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip


@dataclass
class BoostedStacking(Blend):
    """LightGBM trees that refine the mean of the members.

    The last part holds the contest's features of each unit, not probabilities; it may have no column.
    certain: a unit of several outputs keeps the mean where the mean is at least this sure of one: no tree would turn
        it, and most tokens are such. Pairs are all refined.
    units: at most this many units are fitted on, evenly spaced. rounds, leaves, learning_rate, leaf_units, l2: of the
        trees: their number, leaves of each, the step, the fewest units of a leaf, the penalty on leaf values.
    model: the trees in LightGBM's text format; empty where there was nothing to tell apart.
    The trees start from the mean's log-probabilities, and for pairs can only rise with a member's score, so that few
    rows change little. Tokens are seen with the mean of their neighbours.
    Source: Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree".
    """

    name = "boosted_stacking"
    complexity = 2
    takes_features: ClassVar[bool] = True
    certain: float = 0.98
    units: int = 60_000
    rounds: int = 60
    leaves: int = 8
    learning_rate: float = 0.05
    leaf_units: int = 20
    l2: float = 5.0
    model: str = ""

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        import lightgbm

        self.model = ""
        mean = average(parts[:-1])
        places = self._doubtful(mean)
        if not len(places):
            return
        places = places[np.unique(np.linspace(0, len(places) - 1, min(self.units, len(places))).astype(int))]
        if len(np.unique(targets[places])) < 2:
            return
        outputs = mean.values.shape[1]
        table = self._table(parts, mean, places)
        kind = {
            "objective": "binary",
            "monotone_constraints": [1] * (len(parts) - 1) + [0] * (table.shape[1] - len(parts) + 1),
        }
        settings: dict[str, Any] = {
            **(kind if outputs == 1 else {"objective": "multiclass", "num_class": outputs}),
            "learning_rate": self.learning_rate, "num_leaves": self.leaves, "min_data_in_leaf": self.leaf_units,
            "lambda_l2": self.l2, "boost_from_average": False, **DETERMINISTIC,
        }  # fmt: skip
        start = self._start(mean.values[places])
        data = lightgbm.Dataset(table, label=targets[places], init_score=start.ravel() if outputs == 1 else start)
        self.model = lightgbm.train(settings, data, self.rounds).model_to_string()

    def apply(self, parts: Sequence[Scores]) -> Scores:
        mean = average(parts[:-1])
        places = self._doubtful(mean)
        if not self.model or not len(places):
            return mean
        import lightgbm

        # What was fitted goes through its text here too: a restored blend then gives the same to the last bit.
        trees = lightgbm.Booster(model_str=self.model)
        bent = trees.predict(self._table(parts, mean, places), raw_score=True, num_threads=1)
        logits = self._start(mean.values[places]) + bent.reshape(len(places), -1)
        values = mean.values.copy()
        if values.shape[1] == 1:
            values[places] = 1 / (1 + np.exp(-logits))
        else:
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            values[places] = shares / shares.sum(axis=1, keepdims=True)
        return mean.with_values(values)

    def _doubtful(self, mean: Scores) -> np.ndarray:
        if mean.values.shape[1] == 1:
            return np.arange(len(mean.values))
        return np.flatnonzero(mean.values.max(axis=1) < self.certain)

    @staticmethod
    def _start(values: np.ndarray) -> np.ndarray:
        """Log-odds of single outputs, log-probabilities of several."""
        values = values.astype(np.float64).clip(1e-6, 1 - 1e-6)
        return np.log(values) - np.log1p(-values) if values.shape[1] == 1 else np.log(values)

    @staticmethod
    def _table(parts: Sequence[Scores], mean: Scores, places: np.ndarray) -> np.ndarray:
        """(places, columns): the members' scores, for tokens also the mean of both neighbours, and the features."""
        columns = [part.values[places] for part in parts[:-1]]
        if mean.values.shape[1] > 1:
            padded = np.concatenate([mean.values, np.zeros((1, mean.values.shape[1]), np.float32)])
            row_first, row_last = mean.offsets[:-1], mean.offsets[1:] - 1
            # Beside the first and the last unit of a row stands nothing: the row of zeros.
            columns.append(padded[np.where(np.isin(places, row_first), -1, places - 1)])
            columns.append(padded[np.where(np.isin(places, row_last), -1, places + 1)])
        return np.concatenate([*columns, parts[-1].values[places]], axis=1).astype(np.float64)
