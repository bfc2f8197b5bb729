"""Contests that say whether two texts match: everything but how their files look."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import Contest, Member, RunConfig
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.thresholds import best_threshold, thresholds_by
from common.evaluation.metrics import binary_counts, f1_by_group
from common.members.lexical_matcher import LexicalSettings


@dataclass
class MatchingConfig(RunConfig):
    """Settings of a matching contest; so far those that every contest has."""


def _kinds() -> dict[str, type]:
    from competitions.tasks.matching_members import BiEncoderSettings, CrossEncoderSettings

    return {"cross_encoder": CrossEncoderSettings, "bi_encoder": BiEncoderSettings, "lexical": LexicalSettings}


class MatchingContest(Contest):
    """Rows have source, target, task (a number, see `subtasks`) and, when labelled, label (0 or 1).

    subtasks: the name of every task, by its number; data need not have them all.
    """

    config_class: ClassVar[type[RunConfig]] = MatchingConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "source", "target", "task")
    subtasks: ClassVar[tuple[str, ...]] = ("pairs",)

    def __init__(self, config: MatchingConfig) -> None:
        self.member_kinds = _kinds()
        super().__init__(config)

    def pretraining_texts(self) -> Iterator[str]:
        """Both texts of every labelled row, and the unlabelled ones."""
        train = self.read_train()
        for column in ("source", "target"):
            yield from train[column]
        yield from self.unlabelled()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Pairs that share a text share a fold; each fold has its share of every subtask's labels."""
        groups = self.groups(train)
        strata = list(zip(train["task"].tolist(), train["label"].tolist(), strict=True))
        return grouped_stratified_folds(groups, strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups(list(zip(rows["source"], rows["target"], strict=True)))

    def stacking_features(self, rows: pd.DataFrame) -> np.ndarray:
        from competitions.tasks.stacking_features import pair_features

        return pair_features(rows)

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.matching_members import MatcherMember, PairLexicalMatcher

        settings = self.settings[name]
        if isinstance(settings, LexicalSettings):
            return PairLexicalMatcher(replace(settings, seed=seed))
        return MatcherMember(settings, len(self.subtasks), seed, self.judge)

    def judge(self, rows: pd.DataFrame, scores: Scores) -> dict[str, float]:
        """The metric at one threshold for all rows: a fold is too small to choose one a group without guessing."""
        decision = {"threshold": best_threshold(scores.values[:, 0], self.targets(rows))[0]}
        return self.score(rows, self.gold(rows), self.decode(rows, scores, decision))

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return rows["label"].to_numpy(np.int64)

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """thresholds: of each of the metric's groups, by its name; threshold: of groups that these rows do not have.

        One for all rows whose F1 is counted together, though they be of several subtasks: for calibrated probabilities
        the best threshold is the same in all of them, and one of each subtask would be a guess on fewer rows.
        Source: Lipton, Elkan and Naryanaswamy 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure".
        """
        values, labels = scores.values[:, 0], self.targets(rows)
        found = thresholds_by(self.metric_groups(rows), values, labels)
        return {
            "thresholds": {str(group): found[group] for group in sorted(found, key=str)},
            "threshold": best_threshold(values, labels)[0],
        }

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[int]:
        """1 where the probability reaches its group's threshold, else 0; without thresholds they are 0.5."""
        own, other = decision.get("thresholds", {}), decision.get("threshold", 0.5)
        tasks = rows["task"].tolist()
        # Runs of before there were groups have a threshold of each subtask, by its number.
        thresholds = np.array([
            own.get(str(group), own.get(str(task), other))
            for group, task in zip(self.metric_groups(rows), tasks, strict=True)
        ])  # fmt: skip
        # The probabilities are float32: so is the threshold between two of them that fit_decision chose in float64.
        return (scores.values[:, 0].astype(np.float64) >= thresholds).astype(int).tolist()

    def gold(self, rows: pd.DataFrame) -> list[int]:
        return rows["label"].astype(int).tolist()

    def metric_groups(self, rows: pd.DataFrame) -> Sequence[Hashable]:
        """For each row the group whose F1 enters the score; the score is the mean over the groups that are present.

        Asked of rows to predict too, since each group has a threshold of its own.
        """
        return ["all"] * len(rows)

    def score(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        """The mean of the groups' F1 of label 1, each group's F1, and that of each subtask that the rows have."""
        groups = f1_by_group(list(self.metric_groups(rows)), gold, predictions)
        parts = {f"f1 {name}": value for name, value in sorted(groups.items(), key=str)}
        known = (rows["task"] >= 0).to_numpy()
        tasks = f1_by_group(rows["task"][known], np.asarray(gold)[known], np.asarray(predictions)[known])
        parts |= {f"f1 {self.subtasks[task]}": tasks[task] for task in sorted(tasks)}
        return {"score": float(np.mean(list(groups.values()))) if groups else 0.0, **parts}

    def counts(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
        return binary_counts(list(self.metric_groups(rows)), gold, predictions)

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for task, own in train.groupby("task"):
            facts[self.subtasks[task]] = f"{len(own)} pairs, {own['label'].mean():.0%} of label 1; {_lengths(own)}"
        for task, own in test.groupby("task"):
            facts[f"{self.subtasks[task]} (test)"] = f"{len(own)} pairs; {_lengths(own)}"
        pairs = Counter(_pairs(train))
        labels = train.assign(pair=_pairs(train)).groupby("pair")["label"].nunique()
        texts = {text for column in ("source", "target") for text in train[column]}
        repeated = [text in texts for column in ("source", "target") for text in test[column]]
        return {
            **facts,
            "training pairs that occur more than once": sum(count for count in pairs.values() if count > 1),
            "of them with both labels": int((labels > 1).sum()),
            "test pairs that are also training pairs": sum(pair in pairs for pair in _pairs(test)),
            "test texts that are also training texts": sum(repeated),
        }


def pair_key(source: str, target: str, task: int) -> tuple[str, str, int]:
    """What makes two rows the same question: both texts in any order, and the subtask."""
    return (*sorted((source, target)), task)


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str, int]]:
    return [pair_key(*row) for row in zip(rows["source"], rows["target"], rows["task"], strict=True)]


def _lengths(rows: pd.DataFrame) -> str:
    points = [rows[column].str.len().quantile([0.5, 0.99]).astype(int).tolist() for column in ("source", "target")]
    return "characters: " + ", ".join(
        f"{column} median {middle}, 99% {high}"
        for column, (middle, high) in zip(("source", "target"), points, strict=True)
    )
