"""CMRC 2018: answers to questions about Wikipedia passages."""

from pathlib import Path
from typing import ClassVar

from competitions.cmrc2018.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableReading


class Cmrc2018(TableReading):
    """SQuAD's JSON to CMRC 2018's answers by question id; the mean of F1 and exact match."""

    name: ClassVar[str] = "cmrc2018"
    submission_file: ClassVar[str] = "predictions.json"

    def read(self, path: Path, labelled: bool):
        return read(path, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
