"""A member that matches pairs by shared words and characters: logistic regression, refined by gradient boosting."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from common.files import DataError, atomic_path, existing, read_json, write_json
from common.logs import log
from common.text.lexical import PairFeatures, direction

REPORT_SECONDS = 15


@dataclass
class LexicalSettings:
    """Settings of a LexicalMatcher.

    characters, subsequence_characters: how much of each text is read; see PairFeatures.
    regularisation: C of the logistic regression, small is strong.
    rounds, depth, learning_rate, sample, columns, leaf_weight, l2: of the boosted trees: their number, how deep, the
        step, the share of rows and of columns that each sees, the least weight of a leaf, the penalty on leaf values.
    bags: boosters that differ in their seed alone and are averaged. seed: of the first.
    """

    characters: int = 800
    subsequence_characters: int = 600
    regularisation: float = 0.05
    rounds: int = 30
    depth: int = 3
    learning_rate: float = 0.05
    sample: float = 0.6
    columns: float = 0.3
    leaf_weight: float = 5.0
    l2: float = 5.0
    bags: int = 5
    seed: int = 1


class LexicalMatcher:
    """Probability that a pair matches, from PairFeatures and the subtask.

    Rows have source, target, task (a whole number) and, to fit, label (0 or 1). All subtasks are fitted together.

    The trees start from the logistic regression's log-odds and may only bend them the way a feature speaks (more
    overlap never makes a match less likely): on a few hundred pairs they change little, on many they take over.
    Source: Chen and Guestrin 2016, "XGBoost: A Scalable Tree Boosting System", section 2 (the start is its base score).
    """

    def __init__(self, settings: LexicalSettings | None = None) -> None:
        self.settings = settings or LexicalSettings()
        self.features: PairFeatures | None = None
        self.linear: dict[str, Any] = {}
        self.boosters: list[Any] = []

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame | None, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        """Fits on `train` alone and saves into `folder`; `held_out` and `unlabelled` are not looked at.

        Returns {"features", "boosters"}: how many. Raises DataError when the rows have only one label or lack a column.
        """
        labels = _labels(train)
        self.features = PairFeatures(self.settings.characters, self.settings.subsequence_characters)
        self.features.fit(train["source"].tolist(), train["target"].tolist())
        table = self._table(train, fitted=True)
        tasks = train["task"].to_numpy()
        self.linear = self._fit_linear(table, tasks, labels)
        self.boosters = self._fit_boosters(table, tasks, labels)
        self.save(folder)
        return {"features": table.shape[1], "boosters": len(self.boosters)}

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """P(label = 1) of each row; float32 (rows,). Raises RuntimeError before `fit` or `restore`."""
        if self.features is None:
            raise RuntimeError("LexicalMatcher.scores was called before fit or restore")
        if not len(rows):
            return np.zeros(0, np.float32)
        table, tasks = self._table(rows, fitted=False), rows["task"].to_numpy()
        matrix = self._matrix(table, tasks)
        return np.mean([booster.predict(matrix) for booster in self.boosters], axis=0).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes settings, statistics and coefficients as JSON, and the boosters in XGBoost's own JSON format."""
        for number, booster in enumerate(self.boosters):
            with atomic_path(folder / f"booster-{number}.json") as draft:
                booster.save_model(draft)
        write_json(folder / "features.json", self.features.state())
        write_json(folder / "linear.json", {"settings": asdict(self.settings), **self.linear})

    def restore(self, folder: Path) -> "LexicalMatcher":
        """Loads what `fit` saved, its settings included; returns itself."""
        import xgboost

        self.linear = read_json(folder / "linear.json")
        self.settings = LexicalSettings(**self.linear.pop("settings"))
        self.features = PairFeatures.restore(read_json(folder / "features.json"))
        self.boosters = []
        for number in range(self.settings.bags):
            path = existing(folder / f"booster-{number}.json", "a fitted booster", "run the train stage again")
            self.boosters.append(xgboost.Booster({"nthread": 1}, model_file=path))
        return self

    @classmethod
    def load(cls, folder: Path) -> "LexicalMatcher":
        """The matcher that `fit` saved in `folder`."""
        return cls().restore(folder)

    def _table(self, rows: pd.DataFrame, fitted: bool) -> pd.DataFrame:
        return self.features.transform(rows["source"].tolist(), rows["target"].tolist(), fitted, _progress())

    def _fit_linear(self, table: pd.DataFrame, tasks: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression

        scales = {"all": _scale(table)}
        known = sorted({int(task) for task in tasks})
        # Long texts overlap more than short ones whatever they say: overlap counts against what its subtask has.
        scales |= {str(task): _scale(table[tasks == task]) for task in known if (tasks == task).sum() > 50}
        linear = {"names": list(table), "tasks": known, "scales": scales}
        model = LogisticRegression(C=self.settings.regularisation, max_iter=5000)
        model.fit(_standardised(table, tasks, linear), labels)
        return {**linear, "coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0])}

    def _fit_boosters(self, table: pd.DataFrame, tasks: np.ndarray, labels: np.ndarray) -> list[Any]:
        import xgboost

        settings = self.settings
        matrix = self._matrix(table, tasks, labels)
        directions = [direction(name) for name in table] + [0] * len(self.linear["tasks"])
        parameters = {
            "objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "max_depth": settings.depth,
            "eta": settings.learning_rate, "subsample": settings.sample, "colsample_bytree": settings.columns,
            "min_child_weight": settings.leaf_weight, "lambda": settings.l2,
            "monotone_constraints": tuple(directions),
        }  # fmt: skip
        return [
            xgboost.train({**parameters, "seed": settings.seed + bag}, matrix, settings.rounds)
            for bag in range(settings.bags)
        ]

    def _matrix(self, table: pd.DataFrame, tasks: np.ndarray, labels: np.ndarray | None = None) -> Any:
        """What boosters read: features and subtask, starting from the logistic regression's log-odds."""
        import xgboost

        start = _standardised(table, tasks, self.linear) @ self.linear["coefficients"] + self.linear["intercept"]
        values = np.concatenate([table.to_numpy(), _one_hot(tasks, self.linear["tasks"])], axis=1)
        return xgboost.DMatrix(values, label=labels, base_margin=start, nthread=1)


def _labels(rows: pd.DataFrame) -> np.ndarray:
    missing = [name for name in ("source", "target", "task", "label") if name not in rows]
    if missing:
        raise DataError(
            f"the training rows have no column {', '.join(missing)}", expected="source, target, task and label"
        )
    labels = rows["label"].to_numpy(dtype=np.int64)
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"all {len(labels)} training rows have the same label, so a matcher has nothing to tell apart",
            expected="rows with label 0 and rows with label 1", action="use more rows (smoke and max_rows cut them)",
        )  # fmt: skip
    return labels


def _scale(table: pd.DataFrame) -> list[list[float]]:
    """Mean and standard deviation of every feature, 1 for a constant one."""
    deviation = table.to_numpy().std(axis=0)
    return [table.to_numpy().mean(axis=0).tolist(), np.where(deviation > 1e-9, deviation, 1.0).tolist()]


def _standardised(table: pd.DataFrame, tasks: np.ndarray, linear: dict[str, Any]) -> np.ndarray:
    """(rows, features + tasks): features by the mean and deviation of their subtask, then the subtask."""
    if list(table) != linear["names"]:
        raise DataError("the features differ from those the matcher was fitted on",
                        action="train again with this version of the kit")  # fmt: skip
    scales = linear["scales"]
    keys = [str(task) if str(task) in scales else "all" for task in tasks]
    mean, deviation = np.array([scales[key] for key in keys]).transpose(1, 0, 2)
    # A value far outside what was fitted on says "very much", not ten times as much.
    values = np.clip((table.to_numpy() - mean) / deviation, -5, 5)
    # A subtask's own rate of matches should not be shrunk as similarities are: larger inputs need smaller weights.
    return np.concatenate([values, 3 * _one_hot(tasks, linear["tasks"])], axis=1)


def _one_hot(tasks: np.ndarray, known: list[int]) -> np.ndarray:
    return (np.asarray(tasks)[:, None] == np.asarray(known)[None, :]).astype(np.float64)


def _progress() -> Callable[[int, int], None]:
    """Says how far the features are, every now and then."""
    last = monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if monotonic() - last > REPORT_SECONDS:
            last = monotonic()
            log.info(f"  lexical features of {done} of {total} pairs")

    return report
