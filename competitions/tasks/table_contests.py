"""Contests whose files `tables` and `tagged_files` can read: what is left to say is how a submission looks."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest
from common.contest import Contest, RunConfig
from common.ensembling.scores import Scores
from common.ensembling.thresholds import best_accuracy_threshold
from common.evaluation.metrics import binary_f1
from common.files import DataError, existing
from common.logs import log
from competitions.tasks.choice import ChoiceConfig, ChoiceContest
from competitions.tasks.classification import ClassificationConfig, ClassificationContest, set_of
from competitions.tasks.matching import MatchingConfig, MatchingContest
from competitions.tasks.reading import ReadingConfig, ReadingContest
from competitions.tasks.tables import FilesConfig, check_ids
from competitions.tasks.tagging import TaggingConfig, TaggingContest


class TableContest(Contest):
    """Files by config.files. A subclass says how rows are read, and how a submission is written and read."""

    @abstractmethod
    def read(self, path: Path, labelled: bool) -> pd.DataFrame:
        """The rows of a file, with what `columns` names and, labelled, their labels."""

    @abstractmethod
    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        """The ids and predictions of a file that write_submission wrote."""

    def read_train(self) -> pd.DataFrame:
        folder, names = Path(self.config.data_dir), list(self.config.files.train)
        where = "put it there, or set data_dir and files.train"
        found = [name for name in names if (folder / name).exists()]
        if not found:
            existing(folder / (names or ["train.csv"])[0], "a training file", where)
        tables = []
        for name in found:
            table = self.read(folder / name, labelled=True)
            log.info(f"{folder / name}: {len(table)} labelled rows")
            # Rows of several files may have the same numbers.
            tables.append(table.assign(id=f"{name}:" + table["id"]) if len(found) > 1 else table)
        for name in names:
            if name not in found:
                log.info(f"{folder / name} is not there: left out")
        rows = pd.concat(tables, ignore_index=True)
        if not len(rows):
            raise DataError("holds no rows", folder / found[0], expected="training rows", action="check files.train")
        return rows

    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        """Empty when there is no test file."""
        own = Path(self.config.data_dir) / (self.config.files.test or "no test file")
        if path is None and not own.is_file():
            return pd.DataFrame(columns=list(self.columns))
        return self.read(path or own, labelled=False)

    def unlabelled(self) -> Iterable[Any]:
        """The texts of the test rows."""
        test = self.read_test()
        test = test.head(self.config.max_rows or len(test))
        return [text for column in self.columns[1:3] if column not in ("task", "spans") for text in test[column]]

    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[Any]]:
        """A gold file in the training file's format; with `like`, which is that file, a submission."""
        if like is None:
            rows = self.read(path, labelled=True)
            return rows, self.gold(rows)
        ids, predictions = self.read_submission(path)
        return pd.DataFrame({"id": ids}), predictions

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        check_ids(path, self.read_submission(path)[0], test["id"].tolist())


@dataclass
class TableClassificationConfig(ClassificationConfig):
    """files: see FilesConfig."""

    files: FilesConfig = field(default_factory=FilesConfig)


class TableClassification(TableContest, ClassificationContest):
    """A class, or several, of a text or a pair."""

    config_class: ClassVar[type[RunConfig]] = TableClassificationConfig

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        super().check_submission(path, test)
        known = set(self.config.classes)
        for place, prediction in enumerate(self.read_submission(path)[1], start=1):
            if strange := set_of(prediction) - known:
                raise DataError(f"prediction {place} is {min(strange)!r}", path, expected="one of `classes`",
                                action="predict the same test file again")  # fmt: skip


@dataclass
class TableMatchingConfig(MatchingConfig):
    """files: see FilesConfig. metric: f1 (of label 1) or accuracy."""

    files: FilesConfig = field(default_factory=FilesConfig)
    metric: str = "f1"


class TableMatching(TableContest, MatchingContest):
    """Whether two texts match."""

    config_class: ClassVar[type[RunConfig]] = TableMatchingConfig

    def __init__(self, config: TableMatchingConfig) -> None:
        if config.metric not in (known := ("f1", "accuracy")):
            raise ConfigError(f"metric is {config.metric!r}{nearest(config.metric, known)}")
        super().__init__(config)

    def judge(self, rows: pd.DataFrame, scores: Scores) -> dict[str, float]:
        if self.config.metric == "f1":
            return super().judge(rows, scores)
        return self.score(rows, self.gold(rows), self.decode(rows, scores, self.fit_decision(rows, scores)))

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        if self.config.metric == "f1":
            return super().fit_decision(rows, scores)
        return {"threshold": best_accuracy_threshold(scores.values[:, 0], self.targets(rows))[0]}

    def score(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        accuracy, f1 = float(np.mean(np.equal(gold, predictions))), binary_f1(gold, predictions)
        return {"score": accuracy if self.config.metric == "accuracy" else f1, "accuracy": accuracy, "f1": f1}

    def counts(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
        if self.config.metric == "f1":
            return super().counts(rows, gold, predictions)
        right = np.equal(gold, predictions).astype(np.float64)
        return np.stack([right, np.ones_like(right), np.ones_like(right)], axis=1)[:, None]


@dataclass
class TableTaggingConfig(TaggingConfig):
    """files: see FilesConfig."""

    files: FilesConfig = field(default_factory=FilesConfig)


class TableTagging(TableContest, TaggingContest):
    """Entities in texts."""

    config_class: ClassVar[type[RunConfig]] = TableTaggingConfig


@dataclass
class TableReadingConfig(ReadingConfig):
    """files: see FilesConfig; of these the names alone."""

    files: FilesConfig = field(default_factory=FilesConfig)


class TableReading(TableContest, ReadingContest):
    """Answers to questions about a passage."""

    config_class: ClassVar[type[RunConfig]] = TableReadingConfig


@dataclass
class TableChoiceConfig(ChoiceConfig):
    """files: see FilesConfig; of these the names alone."""

    files: FilesConfig = field(default_factory=FilesConfig)


class TableChoice(TableContest, ChoiceContest):
    """The right one of each question's candidates."""

    config_class: ClassVar[type[RunConfig]] = TableChoiceConfig

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        super().check_submission(path, test)
        counts = test["choices"].map(len)
        for name, prediction, count in zip(test["id"], self.read_submission(path)[1], counts, strict=True):
            if not 0 <= prediction < count:
                raise DataError(f"question {name} has the answer {prediction}", path,
                                expected=f"the place of one of its {count} candidates, 0 for the first",
                                action="predict the same test file again")  # fmt: skip
