"""Contests that find the answer to a question in a passage: everything but how their files look."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import Contest, Member, RunConfig
from common.ensembling.blending import Blend, HillClimbing, Mean
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.subset import BestSubset
from common.ensembling.thresholds import best_null_threshold
from common.evaluation.reading import answer_exact_match, answer_f1, reading_scores
from common.files import write_json
from common.text.reading_windows import best_spans
from competitions.tasks.classification import length_points


@dataclass
class ReadingConfig(RunConfig):
    """max_answer: characters of an answer. unanswerable: some questions have none; when to say so is then a threshold
    that out-of-fold scores choose. n_best: so many answers of each test question, with probabilities, go into
    nbest.json beside the submission; unset: none."""

    max_answer: int = 40
    unanswerable: bool = False
    n_best: int | None = None  # None and not 0: units that were finished before it existed are still the same


def _kinds() -> dict[str, type]:
    from competitions.tasks.reading_members import ReaderSettings

    return {"reader": ReaderSettings}


class ReadingContest(Contest):
    """Rows have question, passage and, when labelled, answers (texts that count as right, none for no answer) and start
    (where the first of them stands in the passage, -1 for nowhere). Scores have a unit a character and one before."""

    config_class: ClassVar[type[RunConfig]] = ReadingConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "question", "passage")
    label_column: ClassVar[str] = ""  # a prediction is a text, a label says where it stands

    def __init__(self, config: ReadingConfig) -> None:
        self.member_kinds = _kinds()
        super().__init__(config)

    def pretraining_texts(self) -> Iterator[str]:
        """Every passage once, and every question."""
        train = self.read_train()
        yield from dict.fromkeys(train["passage"])
        yield from train["question"]
        yield from self.unlabelled()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Questions about one passage share a fold; each fold has its share of those without an answer."""
        strata = [len(answers) > 0 for answers in train["answers"]]
        return grouped_stratified_folds(self.groups(train), strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups([(passage,) for passage in rows["passage"]])

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.reading_members import ReaderMember

        return ReaderMember(self.settings[name], seed, self.judge)

    def blends(self) -> dict[str, Blend]:
        """Those that need no gold class of every character."""
        subset = BestSubset(exhaustive=self.config.ensemble.exhaustive)
        return {blend.name: blend for blend in (Mean(), HillClimbing(), subset)}

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return np.zeros(int((rows["passage"].str.len() + 1).sum()), dtype=np.int64)

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """null_threshold: of how much likelier no answer has to be than the best one."""
        if not self.config.unanswerable:
            return {}
        found = self._best(rows, scores)
        answered, unanswered = (
            [_worth(answers, text) for answers, text in zip(rows["answers"], texts, strict=True)]
            for texts in ([text for text, _ in found], [""] * len(rows))
        )
        differences = np.array([difference for _, difference in found])
        return {"null_threshold": best_null_threshold(differences, np.array(answered), np.array(unanswered))[0]}

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[str]:
        """The best answer, "" for none."""
        limit = decision.get("null_threshold", 0.0) if self.config.unanswerable else np.inf
        return ["" if difference > limit else text for text, difference in self._best(rows, scores)]

    def n_best(self, rows: pd.DataFrame, scores: Scores, n: int) -> list[list[tuple[str, float]]]:
        """The n best answers of each row, each text once, with probabilities that sum to 1; "" is no answer, which is
        among them where questions may have none. Source: Devlin et al. 2019 (BERT), nbest_predictions.json."""
        found = []
        for place, passage in enumerate(rows["passage"]):
            answers, without = best_spans(scores.row(place), self.config.max_answer, n=4 * n)
            best: dict[str, float] = {"": without} if self.config.unanswerable else {}
            for start, end, score in answers:
                best.setdefault(passage[start:end], score)
            ranked = sorted(best.items(), key=lambda item: -item[1])[:n]
            chances = np.exp([score - ranked[0][1] for _, score in ranked])
            found.append([(text, float(p)) for (text, _), p in zip(ranked, chances / chances.sum(), strict=True)])
        return found

    def write_more(self, folder: Path, rows: pd.DataFrame, scores: Scores) -> None:
        """nbest.json: {id: [{"text", "probability"}]}, best first."""
        if self.config.n_best:
            found = zip(rows["id"], self.n_best(rows, scores, self.config.n_best), strict=True)
            table = {name: [{"text": text, "probability": p} for text, p in own] for name, own in found}
            write_json(folder / "nbest.json", table)

    def _best(self, rows: pd.DataFrame, scores: Scores) -> list[tuple[str, float]]:
        """Each row's best answer, and how much likelier none is: a difference of log-probabilities."""
        found = []
        for place, passage in enumerate(rows["passage"]):
            answers, without = best_spans(scores.row(place), self.config.max_answer, n=1)
            start, end, score = answers[0] if answers else (0, 0, -np.inf)
            # An empty passage has no answer.
            found.append((passage[start:end], without - score if answers else np.finfo(np.float64).max))
        return found

    def gold(self, rows: pd.DataFrame) -> list[list[str]]:
        return [list(answers) for answers in rows["answers"]]

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """CMRC 2018's average of F1 and exact match, and both."""
        return reading_scores(gold, predictions)

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
        """A row's score as what is right of one predicted and one gold answer: F1 of their sums is the mean score."""
        pairs = zip(gold, predictions, strict=True)
        right = [0.0 if text is None else _worth(answers, text) for answers, text in pairs]
        return np.stack([right, np.ones(len(right)), np.ones(len(right))], axis=-1).reshape(-1, 1, 3)

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        answers = train["answers"].map(len)
        known = set(train["passage"])
        return {
            "passages": train["passage"].nunique(),
            "characters of a passage": length_points(train["passage"].str.len()),
            "questions without an answer": f"{(answers == 0).mean():.1%}",
            "answers longer than max_answer": int(
                sum(min(map(len, own)) > self.config.max_answer for own in train["answers"] if len(own))
            ),
            "answers that the passage does not hold": int(((train["start"] < 0) & (answers > 0)).sum()),
            "test questions about a training passage": int(test["passage"].isin(known).sum()),
        }


def _worth(answers: Sequence[str], text: str) -> float:
    return (answer_f1(answers, text) + answer_exact_match(answers, text)) / 2
