"""OCNLI: does a sentence follow from another, contradict it, or neither?"""

from pathlib import Path
from typing import ClassVar

from competitions.ocnli.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableClassification


class Ocnli(TableClassification):
    """JSON lines of sentence1, sentence2 and label to CLUE's submission; accuracy."""

    name: ClassVar[str] = "ocnli"
    pair: ClassVar[bool] = True
    submission_file: ClassVar[str] = "ocnli_50k_predict.json"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
