"""DataGrand 2019 files: numbers joined by "_", segments `id_id/c` two spaces apart, to tables of tokens and spans."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from common.files import DataError, read_lines, write_lines
from common.text.labels import Span

TYPES = ("a", "b", "c")
OUTSIDE = "o"


def read_tagged(path: Path) -> pd.DataFrame:
    """Labelled lines: id (the line number), tokens, spans. Raises DataError for a faulty line or no line."""
    rows = [(f"{line}", *parse_tagged(text, path, line)) for line, text in _filled(path)]
    if not rows:
        raise DataError(
            "is empty", path, expected="lines of segments such as 12_7/a  3_9/o", action="is it the right file?"
        )
    return pd.DataFrame(rows, columns=["id", "tokens", "spans"])


def parse_tagged(text: str, path: Path | str, line: int) -> tuple[list[str], list[Span]]:
    """Tokens and spans of one labelled line; neighbouring segments of one type stay two entities."""
    tokens: list[str] = []
    spans: list[Span] = []
    for segment in text.strip().split("  "):
        body, slash, kind = segment.rpartition("/")
        if not slash or kind not in (*TYPES, OUTSIDE):
            fault = f"an unknown tag {kind[:40]!r}" if slash else "no tag"
            raise DataError(f"the segment {segment[:40]!r} has {fault}", path, line,
                            expected="id_id/TAG with a TAG of a, b, c or o, two spaces between segments",
                            action="is this a file in the format of DataGrand 2019's train.txt?")  # fmt: skip
        own = _tokens(body, path, line)
        if kind != OUTSIDE:
            spans.append((len(tokens), len(tokens) + len(own), kind))
        tokens += own
    return tokens, spans


def read_untagged(path: Path) -> pd.DataFrame:
    """Unlabelled lines: id (the line number), tokens, spans (none). Raises DataError for a faulty line or no line."""
    rows = [(f"{line}", _tokens(text.strip(), path, line), []) for line, text in _filled(path)]
    if not rows:
        raise DataError("is empty", path, expected="lines such as 12_7_3", action="is it the right file?")
    return pd.DataFrame(rows, columns=["id", "tokens", "spans"])


class Corpus:
    """The token lists of several unlabelled files, read anew at each pass so that 1.67 million lines need no memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = [file for file in files if file.is_file()]

    def __iter__(self) -> Iterator[list[str]]:
        for file in self.files:
            for line, text in read_lines(file):
                if text.strip():
                    yield _tokens(text.strip(), file, line)

    def content(self) -> str:
        """A fingerprint of the files, read as bytes: many times as fast as all their lines."""
        found = []
        for file in self.files:
            with file.open("rb") as stream:
                found.append(hashlib.file_digest(stream, "sha256").hexdigest())
        return " ".join(found)


def write_tagged(path: Path, rows: Sequence[Sequence[str]], spans: Sequence[Sequence[Span]]) -> None:
    """Writes the labelled format, one line a row in the order given.

    rows: the tokens of each line. spans: its entities, not overlapping.
    """
    write_lines(path, (tagged_line(tokens, own) for tokens, own in zip(rows, spans, strict=True)))


def tagged_line(tokens: Sequence[str], spans: Sequence[Span]) -> str:
    """One line in the labelled format: entities under their type, what lies between them under o."""
    segments, place = [], 0
    for start, end, kind in [*sorted(spans), (len(tokens), len(tokens), "")]:
        if place < start:
            segments.append("_".join(tokens[place:start]) + f"/{OUTSIDE}")
        if start < end:
            segments.append("_".join(tokens[start:end]) + f"/{kind}")
        place = end
    return "  ".join(segments)


def _filled(path: Path) -> Iterator[tuple[int, str]]:
    """Lines; an empty one is an error, since the order of lines is what the submission is matched by."""
    for line, text in read_lines(path):
        if not text.strip():
            raise DataError("the line is empty", path, line, expected="at least one token", action="delete the line")
        yield line, text


def _tokens(body: str, path: Path | str, line: int) -> list[str]:
    # A token that occurs a thousand times is held once.
    tokens = list(map(sys.intern, body.split("_")))
    for token in tokens:
        if not (token.isascii() and token.isdigit()):
            hint = "two spaces between segments" if " " in token else 'numbers joined by "_"'
            raise DataError(f"the token {token[:40]!r} is not a number", path, line, expected=hint,
                            action="check that the file belongs to DataGrand 2019 and was not edited")  # fmt: skip
    return tokens
