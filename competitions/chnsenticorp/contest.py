"""ChnSentiCorp: is a review of a hotel, a book or a computer positive?"""

from pathlib import Path
from typing import ClassVar

from competitions.chnsenticorp.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableClassification


class ChnSentiCorp(TableClassification):
    """train.tsv and test.tsv (label, text_a) to Qianyan's tab-separated submission; accuracy."""

    name: ClassVar[str] = "chnsenticorp"
    submission_file: ClassVar[str] = "ChnSentiCorp.tsv"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
