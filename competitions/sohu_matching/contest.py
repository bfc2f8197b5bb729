"""Sohu 2021: do two texts share a topic (A) or an event (B)? Six subtasks of short and long texts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from common.config import ConfigError, nearest
from common.contest import RunConfig
from common.files import DataError, existing
from competitions.sohu_matching.augmentation import RULES, augmented
from competitions.sohu_matching.data import (
    LAYOUT,
    SUBTASKS,
    read_labelled,
    read_labels,
    read_unlabelled_pairs,
    standard,
    write_labels,
)
from competitions.tasks.matching import MatchingConfig, MatchingContest

WHERE = "put the official files there, or build the demo set: python -m data.demo and data_dir=data/demo/sohu2021"


@dataclass
class SohuConfig(MatchingConfig):
    """augmentation: what is added to the rows a fold is trained on: swap, implied (see augmentation.py), or nothing."""

    augmentation: list[str] = field(default_factory=list)


class SohuMatching(MatchingContest):
    """Six folders of JSON lines, or those of them that are there, to an `id,label` file."""

    name: ClassVar[str] = "sohu_matching"
    submission_file: ClassVar[str] = "submission.csv"
    config_class: ClassVar[type[RunConfig]] = SohuConfig
    subtasks: ClassVar[tuple[str, ...]] = SUBTASKS

    def __init__(self, config: SohuConfig) -> None:
        super().__init__(config)
        for rule in config.augmentation:
            if rule not in RULES:
                raise ConfigError(f"augmentation names {rule!r}{nearest(rule, RULES)}")

    def _folder(self) -> Path:
        return existing(self.config.data_dir, LAYOUT, WHERE)

    def read_train(self) -> pd.DataFrame:
        return read_labelled(self._folder())

    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        """Empty when the folder holds no test file, which the published part of the contest's data does not."""
        return read_unlabelled_pairs(path or self._folder())

    def unlabelled(self) -> list[str]:
        """The texts of the test pairs; with max_rows, of as many pairs."""
        test = self.read_test()
        test = test.head(self.config.max_rows or len(test))
        return [*test["source"], *test["target"]]

    def augment(self, train: pd.DataFrame) -> pd.DataFrame:
        return augmented(train, self.config.augmentation)

    def metric_groups(self, rows: pd.DataFrame) -> Sequence[Hashable]:
        """The standard of each row: the score is the mean of F1 on A and F1 on B."""
        if "standard" in rows:
            return rows["standard"].tolist()
        return [standard(task) for task in rows["task"].tolist()]

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[Any]) -> None:
        write_labels(path, rows["id"].tolist(), predictions)

    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[int]]:
        """Rows with id, standard and task (-1 where no test file beside them or in data_dir tells it), and labels."""
        labels = read_labels(path)
        tasks: dict[str, int] = {}
        for folder in (Path(self.config.data_dir), path.parent):
            if folder.is_dir() and not tasks:
                test = read_unlabelled_pairs(folder)
                tasks = dict(zip(test["id"], test["task"].tolist(), strict=True))
        rows = []
        for line, (name, _) in enumerate(labels, start=2):
            task = tasks.get(name, -1)
            letter = standard(task) if task >= 0 else name[-1:].upper()
            if letter not in ("A", "B"):
                raise DataError(f"cannot tell the standard of the id {name!r}", path, line,
                                expected="an id that ends in a or b, or that stands in a test file",
                                action="set data_dir to the folder of the test files")  # fmt: skip
            rows.append((name, task, letter))
        return pd.DataFrame(rows, columns=["id", "task", "standard"]), [label for _, label in labels]

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        """The header, and then line by line an id of the test files, in their order, and a label 0 or 1."""
        labels, wanted = read_labels(path), test["id"].tolist()
        for line, ((name, _), other) in enumerate(zip(labels, wanted, strict=False), start=2):
            if name != other:
                raise DataError(f"has the id {name!r}", path, line, expected=f"{other!r}, as in the test files",
                                action="predict the same test files again")  # fmt: skip
        if len(labels) != len(wanted):
            first = f", the first missing id is {wanted[len(labels)]!r}" if len(labels) < len(wanted) else ""
            raise DataError(f"has {len(labels)} labels{first}", path, min(len(labels), len(wanted)) + 2,
                            expected=f"{len(wanted)} labels, one a test pair",
                            action="predict the same test files again")  # fmt: skip
