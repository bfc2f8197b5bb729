"""C3: which of up to four candidates answers a question about a dialogue or a text?"""

from pathlib import Path
from typing import ClassVar

from competitions.c3.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableChoice


class C3(TableChoice):
    """C3's JSON of passages with their questions to CLUE's submission; accuracy."""

    name: ClassVar[str] = "c3"
    submission_file: ClassVar[str] = "c311_predict.json"

    def read(self, path: Path, labelled: bool):
        return read(path, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions)

    def read_submission(self, path: Path):
        return read_submission(path)
