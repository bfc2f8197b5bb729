"""Contests that say which class, or which classes, a text or a pair of texts has: everything but how files look."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest
from common.contest import Contest, Member, RunConfig
from common.ensembling.blending import Blend
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.thresholds import best_threshold
from common.evaluation.metrics import f1_of_counts
from common.members.tfidf_classifier import TfidfClassifier, TfidfSettings

METRICS = ("accuracy", "macro_f1", "micro_f1")
MOST_GROUPS = 20  # classes beyond which a macro F1 has too many counts for intervals


@dataclass
class ClassificationConfig(RunConfig):
    """classes: their names as the files have them; of grades, from low to high.

    metric: accuracy (of several labels: all of a row's are right), macro_f1 (the mean over classes) or micro_f1 (of one
    label a row that is accuracy).
    """

    classes: list[str] = field(default_factory=list)
    metric: str = "accuracy"


def _kinds() -> dict[str, type]:
    from competitions.tasks.classification_members import ClassifierSettings

    return {"classifier": ClassifierSettings, "tfidf": TfidfSettings}


class ClassificationContest(Contest):
    """Rows have text and, when labelled, label (the name of a class).

    pair: rows have text_b too, as in natural language inference. several: label is a list of names, none included.
    Scores have one unit a row with an output a class; of several labels one unit a class, with one output.
    """

    config_class: ClassVar[type[RunConfig]] = ClassificationConfig
    pair: ClassVar[bool] = False
    several: ClassVar[bool] = False
    # Trees for every class of every row take longer than all other blends.
    slow_blends: ClassVar[tuple[str, ...]] = ("boosted_stacking",)

    def __init__(self, config: ClassificationConfig) -> None:
        self.member_kinds = _kinds()
        if len(set(config.classes)) < (1 if self.several else 2) or len(set(config.classes)) < len(config.classes):
            raise ConfigError(f"classes is {list(config.classes)}: expected every class once, and at least two of them")
        if config.metric not in METRICS:
            raise ConfigError(f"metric is {config.metric!r}{nearest(config.metric, METRICS)}")
        self.columns = ("id", "text", "text_b") if self.pair else ("id", "text")
        super().__init__(config)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold text."""
        return self.columns[1:]

    def pretraining_texts(self) -> Iterator[str]:
        """Every text of the labelled rows, and the unlabelled ones."""
        train = self.read_train()
        for column in self.texts:
            yield from train[column]
        yield from self.unlabelled()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Rows that share a text share a fold; each fold has its share of every class, or set of classes."""
        strata = [tuple(sorted(own)) for own in train["label"]] if self.several else train["label"].tolist()
        return grouped_stratified_folds(self.groups(train), strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups(list(zip(*(rows[column] for column in self.texts), strict=True)))

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.classification_members import ClassifierMember

        settings, classes = self.settings[name], list(self.config.classes)
        if isinstance(settings, TfidfSettings):
            return TfidfClassifier(settings, classes, self.several, self.pair)
        return ClassifierMember(settings, classes, self.several, self.pair, seed, self.judge)

    def blends(self) -> dict[str, Blend]:
        kinds = super().blends()
        if not self.several:
            del kinds["rank_mean"]  # the ranks of several classes do not sum to one
        return kinds

    def stacking_features(self, rows: pd.DataFrame) -> np.ndarray:
        """Of several labels which one a unit is about; of one, nothing."""
        if not self.several:
            return super().stacking_features(rows)
        return np.tile(np.arange(len(self.config.classes), dtype=np.float64), len(rows))[:, None]

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        if self.several:
            return np.array([name in own for own in rows["label"] for name in self.config.classes], dtype=np.int64)
        return rows["label"].map({name: place for place, name in enumerate(self.config.classes)}).to_numpy(np.int64)

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """Of several labels: thresholds, one a class, or one for all where the metric is micro F1."""
        if not self.several:
            return {}
        values, labels = self._by_class(scores.values), self._by_class(self.targets(rows))
        if self.config.metric == "micro_f1":
            return {"thresholds": [best_threshold(values.ravel(), labels.ravel())[0]] * len(self.config.classes)}
        return {"thresholds": [best_threshold(*pair)[0] for pair in zip(values.T, labels.T, strict=True)]}

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[Any]:
        """The most likely class; of several labels those that reach their threshold, by default 0.5."""
        names = self.config.classes
        if not self.several:
            return [names[place] for place in scores.values.argmax(axis=1)]
        thresholds = decision.get("thresholds", 0.5)
        taken = self._by_class(scores.values.astype(np.float64)) >= np.asarray(thresholds)
        return [[names[place] for place in np.flatnonzero(own)] for own in taken]

    def _by_class(self, values: np.ndarray) -> np.ndarray:
        """(rows, classes) of several labels' units."""
        return values.reshape(-1, len(self.config.classes))

    def gold(self, rows: pd.DataFrame) -> list[Any]:
        return [list(own) for own in rows["label"]] if self.several else rows["label"].tolist()

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """The metric as score, then accuracy, macro F1 and micro F1, and F1 of each class.

        The mean over classes takes those that the gold rows or the predictions have, as scikit-learn does.
        """
        right, found, wanted = (self._counts(gold, predictions)[:, :, part].sum(axis=0) for part in range(3))
        present = np.flatnonzero(found + wanted)
        each = {place: f1_of_counts(right[place], found[place], wanted[place])["f1"] for place in present}
        parts = {
            "accuracy": float(np.mean([set_of(a) == set_of(b) for a, b in zip(gold, predictions, strict=True)] or 0.0)),
            "macro_f1": float(np.mean(list(each.values()) or 0.0)),
            "micro_f1": f1_of_counts(right.sum(), found.sum(), wanted.sum())["f1"],
        }
        return {
            "score": parts[self.config.metric],
            **parts,
            **{f"f1 {self.config.classes[place]}": f1 for place, f1 in each.items()},
        }

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray | None:
        if self.config.metric == "accuracy":
            right = [set_of(a) == set_of(b) for a, b in zip(gold, predictions, strict=True)]
            return np.array([(own, 1, 1) for own in right], dtype=np.float64).reshape(-1, 1, 3)
        each = self._counts(gold, predictions)
        if self.config.metric == "micro_f1":
            return each.sum(axis=1, keepdims=True)
        # Every way to predict must have the same classes to be the mean over.
        return each if each.shape[1] <= MOST_GROUPS and each[:, :, 2].any(axis=0).all() else None

    def _counts(self, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
        """(rows, classes, 3) what each row adds to right, predicted and gold of each class."""
        place = {name: number for number, name in enumerate(self.config.classes)}
        found, wanted = np.zeros((2, len(gold), len(place)), dtype=bool)
        for table, labels in ((wanted, gold), (found, predictions)):
            for row, own in enumerate(labels):
                for name in set_of(own):
                    table[row, place[name]] = True
        return np.stack([found & wanted, found, wanted], axis=2).astype(np.float64)

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        labels = Counter(name for own in train["label"] for name in set_of(own))
        known = set(zip(*(train[column] for column in self.texts), strict=True))
        return {
            "classes": ", ".join(f"{name} {labels[name]}" for name in self.config.classes),
            **{f"characters of {column}": length_points(train[column].str.len()) for column in self.texts},
            "training rows that repeat another": len(train) - len(known),
            "test rows that are also training rows": sum(
                own in known for own in zip(*(test[column] for column in self.texts), strict=True)
            ),
        }


def set_of(labels: Any) -> set[str]:
    """The labels of a row: of one, itself."""
    return {labels} if isinstance(labels, str) else set(labels)


def length_points(lengths: pd.Series) -> str:
    """What to know of lengths, in words."""
    points = lengths.quantile([0.5, 0.9, 0.99]).astype(int).tolist()
    return f"median {points[0]}, 90% {points[1]}, 99% {points[2]}, longest {lengths.max()}"
