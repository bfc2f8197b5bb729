"""My contest: entities in text."""

from pathlib import Path
from typing import ClassVar

from competitions.my_contest.data import read, read_submission, write_submission
from competitions.tasks.table_contests import TableTagging
from competitions.tasks.tagged_files import check_tokens


class MyContest(TableTagging):
    """Texts to entities; the metric is entity micro F1."""

    name: ClassVar[str] = "my_contest"
    submission_file: ClassVar[str] = "submission.txt"

    def read(self, path: Path, labelled: bool):
        return read(path, self.config, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_submission(path, rows, predictions, self.config)

    def read_submission(self, path: Path):
        rows = read_submission(path, self.config)
        return rows["id"].tolist(), self.gold(rows)

    def check_submission(self, path: Path, test) -> None:
        check_tokens(path, read_submission(path, self.config), test)
