"""LCQMC, BQ, PAWS-X or OPPO: do two questions mean the same?"""

from pathlib import Path
from typing import ClassVar

from competitions.lcqmc.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableMatching


class Lcqmc(TableMatching):
    """Files of text, text and label to Qianyan's tab-separated submission; accuracy."""

    name: ClassVar[str] = "lcqmc"
    submission_file: ClassVar[str] = "submission.tsv"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
