"""What a task of a multi-task contest may be: a small contest by config alone, and the members it can have."""

from pathlib import Path
from typing import Any, ClassVar

from competitions.tasks.table_contests import TableClassification, TableTagging
from competitions.tasks.tables import labels_of, read_labels, read_texts, write_table
from competitions.tasks.tagged_files import check_tokens, read_tagged, read_written, write_tagged


class TextPart(TableClassification):
    """The class of a text. A submission has a line `id,label` for every row.

    default_member, encoder_members: kinds of its members that stand on an encoder.
    """

    name: ClassVar[str] = "part"
    submission_file: ClassVar[str] = "submission.csv"
    default_member: ClassVar[str] = "classifier"
    encoder_members: ClassVar[tuple[str, ...]] = ("classifier",)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that hold text."""
        return self.texts

    @property
    def outputs(self) -> int:
        """How many numbers a unit of its scores has."""
        return 1 if self.several else len(self.config.classes)

    def file_of(self, task: str) -> str:
        """The name of its file in a submission's folder."""
        return f"{task}.csv"

    def read(self, path: Path, labelled: bool):
        classes = self.config.classes if labelled else None
        return read_texts(path, self.config.files, self.texts, classes, self.several)

    def write_submission(self, path: Path, rows, predictions) -> None:
        separator = self.config.files.label_separator
        cells = [separator.join(own) for own in predictions] if self.several else predictions
        write_table(path, ("id", "label"), zip(rows["id"], cells, strict=True))

    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        pairs = read_labels(path)
        labels = [labels_of(cell, self.config.files) if self.several else cell for _, cell in pairs]
        return [name for name, _ in pairs], labels


class LabelsPart(TextPart):
    """Any number of classes of a text."""

    several: ClassVar[bool] = True


class PairPart(TextPart):
    """The class of a pair of texts, such as whether they match."""

    pair: ClassVar[bool] = True


class TaggingPart(TableTagging):
    """Entities in texts; a submission is as `write_tagged` writes it."""

    name: ClassVar[str] = "part"
    submission_file: ClassVar[str] = "submission.txt"
    default_member: ClassVar[str] = "tagger"
    encoder_members: ClassVar[tuple[str, ...]] = ("tagger", "span_pointers", "global_pointer", "biaffine")
    text_columns: ClassVar[tuple[str, ...]] = ("tokens",)

    @property
    def outputs(self) -> int:
        """How many numbers a unit of its scores has."""
        return len(self.scheme.tags)

    def file_of(self, task: str) -> str:
        """The name of its file in a submission's folder."""
        return f"{task}.{'json' if self.config.files.layout == 'json' else 'txt'}"

    def read(self, path: Path, labelled: bool):
        return read_tagged(path, self.config.files, self.config.types, labelled)

    def write_submission(self, path: Path, rows, predictions) -> None:
        write_tagged(path, rows, predictions, self.config.files)

    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        rows = read_written(path, self.config.files, self.config.types)
        return rows["id"].tolist(), self.gold(rows)

    def check_submission(self, path: Path, test) -> None:
        check_tokens(path, read_written(path, self.config.files, self.config.types), test)


Part = TextPart | TaggingPart
PARTS: dict[str, type] = {
    "classification": TextPart, "multilabel": LabelsPart, "pairs": PairPart, "tagging": TaggingPart,
}  # fmt: skip
