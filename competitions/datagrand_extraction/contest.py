"""DataGrand 2019: three types of entities in text whose characters are replaced by numbers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest
from common.contest import RunConfig
from common.files import DataError, existing
from common.logs import log
from competitions.datagrand_extraction.augmentation import SCHEMES, drop_one_type
from competitions.datagrand_extraction.data import TYPES, Corpus, read_tagged, read_untagged, write_tagged
from competitions.tasks.tagging import TaggingConfig, TaggingContest

WHERE = (
    "put the official files there, or build the demo set (python -m data.demo) and say data_dir=data/demo/datagrand2019"
)


@dataclass
class DatagrandConfig(TaggingConfig):
    """augmentation: none, or a scheme that adds lines with the entities of one type dropped (see augmentation.py)."""

    augmentation: str = "none"


class DatagrandExtraction(TaggingContest):
    """train.txt, test.txt and corpus.txt to a submission in train.txt's format."""

    name: ClassVar[str] = "datagrand_extraction"
    submission_file: ClassVar[str] = "submission.txt"
    config_class: ClassVar[type[RunConfig]] = DatagrandConfig
    pretraining_tokenizer: ClassVar[str] = "anonymised"

    def __init__(self, config: DatagrandConfig) -> None:
        super().__init__(config)
        if sorted(config.types) != sorted(TYPES):
            raise ConfigError(f"types is {list(config.types)}: expected DataGrand's {list(TYPES)}, in any order")
        if config.augmentation not in SCHEMES:
            raise ConfigError(f"augmentation is {config.augmentation!r}{nearest(config.augmentation, SCHEMES)}")

    def _file(self, name: str) -> Path:
        return existing(Path(self.config.data_dir) / name, f"DataGrand 2019's {name}", WHERE)

    def read_train(self) -> pd.DataFrame:
        rows = read_tagged(self._file("train.txt"))
        log.info(f"{len(rows)} labelled lines")
        return rows

    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        return read_untagged(path or self._file("test.txt"))

    def unlabelled(self) -> Iterable[list[str]]:
        """The lines of corpus.txt, where it is present, and of test.txt."""
        folder = Path(self.config.data_dir)
        return Corpus([*sorted(folder.glob("corpus*.txt")), folder / "test.txt"])

    def pretraining_texts(self) -> Iterator[str]:
        """Every line as the files have it, numbers joined by `_`."""
        yield from map("_".join, self.read_train()["tokens"])
        yield from map("_".join, self.unlabelled())

    def augment(self, train: pd.DataFrame) -> pd.DataFrame:
        return drop_one_type(train, self.config.augmentation, np.random.default_rng(self.config.fold_seed))

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[Any]) -> None:
        write_tagged(path, rows["tokens"].tolist(), predictions)

    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[Any]]:
        rows = read_tagged(path)
        if like is not None:
            self._same_tokens(path, rows, read_tagged(like))
        return rows, rows["spans"].tolist()

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        self._same_tokens(path, read_tagged(path), test)

    @staticmethod
    def _same_tokens(path: Path, rows: pd.DataFrame, wanted: pd.DataFrame) -> None:
        """Raises DataError unless both have the same lines in the same order."""
        for line, (own, other) in enumerate(zip(rows["tokens"], wanted["tokens"], strict=False), start=1):
            if own != other:
                place = next((n for n, pair in enumerate(zip(own, other, strict=False)) if pair[0] != pair[1]),
                             min(len(own), len(other)))  # fmt: skip
                raise DataError(f"differs from the test file at token {place + 1}", path, line,
                                expected="the test lines, token by token, in their order",
                                action="predict the same test file again")  # fmt: skip
        if len(rows) != len(wanted):
            raise DataError(f"has {len(rows)} lines", path, expected=f"{len(wanted)} lines, one a test line",
                            action="predict the same test file again")  # fmt: skip
