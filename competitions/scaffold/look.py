"""What looking at a data file finds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

IDS = ("id", "idx", "index", "qid", "guid", "uid", "编号", "序号")
MOST_LENGTH = 512


@dataclass
class Look:
    """What a file seems to be.

    files: settings of FilesConfig. labels: classes or entity types. max_length: tokens. longest, unanswerable: of
    reading, characters of an answer, and whether some questions have none. example: what the settings read in a row, by
    which a person sees whether they are right.
    """

    files: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    max_length: int = 128
    longest: int = 0
    unanswerable: bool = False
    example: str = ""


def rounded_length(lengths: Sequence[int]) -> int:
    """max_length for texts of these characters: what 99 % need beside special tokens, in steps of 16."""
    ranked = sorted(lengths)
    need = ranked[int(0.99 * (len(ranked) - 1))] + 3
    return min(MOST_LENGTH, max(32, -(-need // 16) * 16))


def mean_length(values: Iterable[Any]) -> float:
    """Mean number of characters, or of the items of lists."""
    lengths = [len(value) if isinstance(value, list) else len(str(value)) for value in values]
    return sum(lengths) / max(len(lengths), 1)
