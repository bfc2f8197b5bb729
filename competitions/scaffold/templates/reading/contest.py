"""My contest: answers to questions about a passage."""

from pathlib import Path
from typing import ClassVar

from competitions.my_contest.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableReading


class MyContest(TableReading):
    """Questions and passages to answers; the metric is the mean of F1 and exact match."""

    name: ClassVar[str] = "my_contest"
    submission_file: ClassVar[str] = "submission.json"

    def read(self, path: Path, labelled: bool):
        return read(path, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
