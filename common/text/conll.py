"""Tagged text as one token and its tag a line, sentences between blank lines: what most entity sets come in."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.files import DataError, read_lines
from common.text.labels import LabelScheme, Span

PARTS = "BIMES"
BETWEEN = re.compile("[ \t]+")


def read_conll(
    path: Path, token: int = 0, tag: int | None = -1, digit_suffix: bool = False
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Sentences of a file as (line of the first token, tokens, tags).

    token, tag: which cell of a line, from 0, or from the right with a minus; tag None reads no tags. digit_suffix:
    whether every token ends in a digit that is no text (Weibo NER: a character's place in its word).
    Raises DataError for a line without these cells, or whose tag is no BIO, BMES or BIOES tag.
    """
    tokens: list[str] = []
    tags: list[str] = []
    number = 0
    for number, line in read_lines(path):
        if not line.strip():
            if tokens:
                yield number - len(tokens), tokens, tags
                tokens, tags = [], []
            continue
        # Not at every white space: a full-width space is a token of Chinese text, and a blank one before the tag too.
        cells = BETWEEN.split(line.rstrip(" \t"))
        try:
            text, own = cells[token] or " ", "O" if tag is None else cells[tag]
        except IndexError:
            text, own = "", ""
        missing = tag is not None and len(cells) < 2
        if missing or not (own == "O" or (own[:1] in PARTS and own[1:2] == "-" and own[2:])):
            raise DataError(f"reads {line[:40]!r}", path, number, expected="a token, white space and a tag such as "
                            "B-LOC or O", action="fix the line; sentences end at a blank line")  # fmt: skip
        tokens.append(text[:-1] if digit_suffix and text[-1:].isdigit() and len(text) > 1 else text)
        tags.append(own)
    if tokens:
        yield number + 1 - len(tokens), tokens, tags


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """Entities of one sentence's tags: BIO, BIOES or BMES (M is I, S a single one). What breaks the scheme is none."""
    closed = any(tag[0] in "MES" for tag in tags)
    tags = [f"I{tag[1:]}" if tag[0] == "M" else tag for tag in tags]
    kinds = tuple(sorted({tag[2:] for tag in tags} - {""}))
    if not kinds:
        return []
    scheme = LabelScheme(kinds, "BIOES" if closed else "BIO")
    return scheme.decode([scheme.tags.index(tag) for tag in tags])


def conll_lines(tokens: Sequence[Sequence[str]], spans: Sequence[Sequence[Span]]) -> Iterator[str]:
    """Lines of a file of sentences: token, blank and BIO tag, a blank line behind each sentence."""
    for own, found in zip(tokens, spans, strict=True):
        tags = ["O"] * len(own)
        for start, end, kind in found:
            tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        yield from (f"{token} {tag}" for token, tag in zip(own, tags, strict=True))
        yield ""
