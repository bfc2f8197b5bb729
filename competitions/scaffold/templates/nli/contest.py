"""My contest: what a text says of another."""

from pathlib import Path
from typing import ClassVar

from competitions.my_contest.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableClassification


class MyContest(TableClassification):
    """Pairs of texts to classes; the metric is `metric` in the config."""

    name: ClassVar[str] = "my_contest"
    pair: ClassVar[bool] = True
    submission_file: ClassVar[str] = "submission.csv"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
