"""CLUENER 2020, Resume, Weibo or MSRA: entities in text."""

from pathlib import Path
from typing import ClassVar

from competitions.cluener.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableTagging


class Cluener(TableTagging):
    """JSON lines or CoNLL to CLUE's submission or CoNLL; entity micro F1."""

    name: ClassVar[str] = "cluener"
    submission_file: ClassVar[str] = "cluener_predict.json"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions, self.config)

    def read_submission(self, path: Path):
        return read_submission(path, self.config)
