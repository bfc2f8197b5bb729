"""Contests that ask which of a question's candidates is its answer: everything but how their files look."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import Contest, Member, RunConfig
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.members.lexical_matcher import LexicalSettings
from competitions.tasks.choice_rows import candidates
from competitions.tasks.classification import length_points


@dataclass
class ChoiceConfig(RunConfig):
    """Settings of a choice contest; so far those that every contest has."""


def _kinds() -> dict[str, type]:
    from competitions.tasks.choice_members import ChoiceSettings

    return {"choice": ChoiceSettings, "lexical": LexicalSettings}


class ChoiceContest(Contest):
    """Rows have passage, question, choices (texts; rows may have different numbers of them) and, when labelled, label
    (the place of the right one, 0 for the first). Scores have a unit a candidate, with one output: that it is right."""

    config_class: ClassVar[type[RunConfig]] = ChoiceConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "passage", "question", "choices")
    # Trees for every candidate take longer than all other blends.
    slow_blends: ClassVar[tuple[str, ...]] = ("boosted_stacking",)

    def __init__(self, config: ChoiceConfig) -> None:
        self.member_kinds = _kinds()
        super().__init__(config)

    def pretraining_texts(self) -> Iterator[str]:
        """Every passage once, every question and every candidate."""
        train = self.read_train()
        yield from dict.fromkeys(train["passage"])
        yield from train["question"]
        yield from (choice for own in train["choices"] for choice in own)
        yield from self.unlabelled()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Questions about one passage share a fold; each fold has its share of every number of candidates."""
        strata = train["choices"].map(len).tolist()
        return grouped_stratified_folds(self.groups(train), strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups([(passage,) for passage in rows["passage"]])

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.choice_members import ChoiceLexicalMatcher, ChoiceMember

        settings = self.settings[name]
        if isinstance(settings, LexicalSettings):
            return ChoiceLexicalMatcher(replace(settings, seed=seed))
        return ChoiceMember(settings, seed, self.judge)

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return candidates(rows)["label"].to_numpy(np.int64)

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[int]:
        """The likeliest candidate, the first of equals."""
        counts = np.diff(scores.offsets)
        table = np.full((len(counts), max(1, counts.max(initial=1))), -np.inf)
        table[np.arange(table.shape[1]) < counts[:, None]] = scores.values[:, 0]
        return table.argmax(axis=1).tolist()

    def gold(self, rows: pd.DataFrame) -> list[int]:
        return rows["label"].astype(int).tolist()

    def score(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        """Accuracy."""
        accuracy = float(np.mean(np.equal(gold, predictions))) if len(gold) else 0.0
        return {"score": accuracy, "accuracy": accuracy}

    def counts(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
        right = np.equal(gold, predictions).astype(np.float64)
        return np.stack([right, np.ones_like(right), np.ones_like(right)], axis=1)[:, None]

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        counts, known = train["choices"].map(len), set(train["passage"])
        return {
            "questions": ", ".join(f"{rows} with {size} candidates" for size, rows in counts.value_counts().items()),
            "right by guessing": f"{(1 / counts).mean():.1%}",
            "passages": train["passage"].nunique(),
            "characters of a passage": length_points(train["passage"].str.len()),
            "characters of a question": length_points(train["question"].str.len()),
            "characters of a candidate": length_points(candidates(train)["choice"].str.len()),
            "test questions about a training passage": int(test["passage"].isin(known).sum()),
        }
