"""Contests that find a set of things in each text, such as entities that may overlap or relations: what they share."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import RunConfig
from common.ensembling.blending import Blend, HillClimbing, Mean
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.subset import BestSubset
from common.evaluation.metrics import entity_counts, entity_f1
from competitions.tasks.classification import length_points
from competitions.tasks.table_contests import TableContest
from competitions.tasks.tables import FilesConfig, check_ids

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class SetConfig(RunConfig):
    """files: see FilesConfig; JSON lines. types: the entity types."""

    files: FilesConfig = field(default_factory=lambda: FilesConfig(layout="json"))
    types: list[str] = field(default_factory=list)


class SetContest(TableContest):
    """Rows have tokens; gold and predictions are lists of tuples that end in a name: micro F1 counts equal ones.

    columns: what test rows have.
    """

    config_class: ClassVar[type[RunConfig]] = SetConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "tokens")

    @abstractmethod
    def units(self, row_lengths: np.ndarray) -> np.ndarray:
        """(rows,) how many units each row has in Scores. row_lengths: what `sizes` gives."""

    @abstractmethod
    def sizes(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows,) what the units of a row follow from: its words, its entities."""

    def pretraining_texts(self) -> Iterator[str]:
        """Every text."""
        yield from map("".join, self.read_train()["tokens"])
        yield from map("".join, self.unlabelled())

    def unlabelled(self) -> Iterable[list[str]]:
        """The tokens of the test rows."""
        return self.read_test()["tokens"].head(self.config.max_rows or None).tolist()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Equal texts share a fold; each fold has its share of texts with each set of names."""
        strata = [tuple(sorted({str(item[-1]) for item in own})) for own in self.gold(train)]
        return grouped_stratified_folds(self.groups(train), strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups([("".join(tokens),) for tokens in rows["tokens"]])

    def blends(self) -> dict[str, Blend]:
        """Those that need no gold class of every unit."""
        subset = BestSubset(exhaustive=self.config.ensemble.exhaustive)
        return {blend.name: blend for blend in (Mean(), HillClimbing(), subset)}

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return np.zeros(int(self.units(self.sizes(rows)).sum()), dtype=np.int64)

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """threshold: the probability from which on a thing is there; of equally good ones that nearest to 0.5."""
        gold = self.gold(rows)

        def worth(threshold: float) -> tuple[float, float]:
            found = self.decode(rows, scores, {"threshold": threshold})
            return round(self.score(rows, gold, found)["score"], 4), -abs(threshold - 0.5)

        return {"threshold": max(THRESHOLDS, key=worth)}

    def objective(self, rows: pd.DataFrame, scores: Scores) -> float:
        # Weights are chosen at 0.5, not at the best of nine thresholds at every step.
        return self.judge(rows, scores)["score"]

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """Micro F1, its precision and recall, and F1 of each name."""
        found = entity_f1(gold, predictions)
        micro = found.pop("micro")
        parts = {f"f1 {name}": own["f1"] for name, own in found.items()}
        return {"score": micro["f1"], "precision": micro["precision"], "recall": micro["recall"], **parts}

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
        return entity_counts(gold, predictions)[:, None]

    def check_submission(self, path, test: pd.DataFrame) -> None:
        check_ids(path, self.read_submission(path)[0], test["id"].tolist())

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        names = pd.Series([item[-1] for own in self.gold(train) for item in own], dtype=object).value_counts()
        return {
            "things to find": ", ".join(f"{name} {count}" for name, count in names.sort_index().items()),
            "tokens a text": length_points(train["tokens"].map(len)),
        }
