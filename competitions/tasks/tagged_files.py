"""Files of texts with entities: CoNLL and JSON lines, read and written by a contest's settings."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from common.config import ConfigError, nearest
from common.files import DataError, write_lines
from common.logs import log
from common.text.conll import conll_lines, read_conll, spans_of_tags
from common.text.labels import Span
from competitions.tasks.tables import FilesConfig, read_cells


def read_tagged(path: Path, files: FilesConfig, types: Sequence[str], labelled: bool) -> pd.DataFrame:
    """Rows with id, tokens and spans, which are empty where not labelled.

    conll: tokens as they are. json: the characters of `text`, and `entities` as a list of objects with entity_keys, a
    list of [start, end, type], or CLUENER's {type: {mention: [[first, last], ...]}}. Of entities that overlap the
    longer is kept. Raises DataError for the first faulty line.
    """
    if files.layout not in ("conll", "json"):
        raise ConfigError(f"files.layout is {files.layout!r}: expected conll or json for texts with entities")
    rows, dropped = [], 0
    for line, name, tokens, found in (_conll if files.layout == "conll" else _json)(path, files, labelled):
        for start, end, kind in found:
            if kind not in types:
                raise DataError(f"has an entity of the type {kind!r}{nearest(kind, types)}", path, line,
                                expected="one of `types`", action="add it to types in the config")  # fmt: skip
            if not 0 <= start < end <= len(tokens):
                raise DataError(f"has an entity from {start} to {end}", path, line,
                                expected=f"a place inside the text, which has {len(tokens)} characters",
                                action="fix the line, or set files.inclusive in the config")  # fmt: skip
        spans = flat(found)
        dropped += len(found) - len(spans)
        rows.append((name, tokens, spans))
    if dropped:
        log.info(f"{path}: {dropped} entities overlap a longer one and are left out")
    return pd.DataFrame(rows, columns=["id", "tokens", "spans"])


def read_written(path: Path, files: FilesConfig, types: Sequence[str]) -> pd.DataFrame:
    """What `write_tagged` wrote: its CoNLL has a token and its tag alone, and no digit behind the token."""
    if files.layout == "conll":
        files = replace(files, columns={}, digit_suffix=False)
    return read_tagged(path, files, types, labelled=True)


def flat(spans: Sequence[Span]) -> list[Span]:
    """Spans without those that overlap a longer one (of equally long ones, an earlier one), in order."""
    kept: list[Span] = []
    for start, end, kind in sorted(set(spans), key=lambda span: (span[0] - span[1], span)):
        if all(end <= other[0] or other[1] <= start for other in kept):
            kept.append((start, end, kind))
    return sorted(kept)


def write_tagged(path: Path, rows: pd.DataFrame, predictions: Sequence[Sequence[Span]], files: FilesConfig) -> None:
    """Writes texts with predicted entities: JSON lines as they were read; CoNLL as a token, a space and its BIO tag."""
    if files.layout == "conll":
        write_lines(path, conll_lines(rows["tokens"].tolist(), predictions))
        return
    keys, text = files.entity_keys, str(files.columns.get("text", "text"))
    entities = str(files.columns.get("entities", "entities"))
    lines = []
    for name, tokens, spans in zip(rows["id"], rows["tokens"], predictions, strict=True):
        found = [dict(zip(keys, (start, end - files.inclusive, kind), strict=True)) for start, end, kind in spans]
        lines.append(json.dumps({"id": name, text: "".join(tokens), entities: found}, ensure_ascii=False))
    write_lines(path, lines)


def check_tokens(path: Path, rows: pd.DataFrame, test: pd.DataFrame) -> None:
    """Raises DataError unless a submission has the texts of the test file in their order."""
    for place, (own, other) in enumerate(zip(rows["tokens"], test["tokens"], strict=False), start=1):
        if list(own) != list(other):
            raise DataError(f"text {place} begins with {''.join(own)[:20]!r}", path,
                            expected=f"{''.join(other)[:20]!r}, as in the test file",
                            action="predict the same test file again")  # fmt: skip
    if len(rows) != len(test):
        raise DataError(f"has {len(rows)} texts", path, expected=f"{len(test)}, one a test row",
                        action="predict the same test file again")  # fmt: skip


def _conll(path: Path, files: FilesConfig, labelled: bool) -> Any:
    token, tag = (int(files.columns.get(name, place)) for name, place in (("token", 1), ("tag", -1)))
    token, tag = (place - 1 if place > 0 else place for place in (token, tag))
    sentences = read_conll(path, token, tag if labelled else None, files.digit_suffix)
    for number, (line, tokens, tags) in enumerate(sentences):
        yield line, str(number), tokens, spans_of_tags(tags)


def _json(path: Path, files: FilesConfig, labelled: bool) -> Any:
    for line, cells in read_cells(path, files, ("text", "entities") if labelled else ("text",), not labelled):
        if not isinstance(cells["text"], str):
            raise DataError(f"text is {cells['text']!r}", path, line, expected="a text", action="fix the line")
        try:
            found = list(_entities(cells.get("entities") or [], files))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise DataError(f"cannot read its entities, {str(cells['entities'])[:60]}", path, line,
                            expected=f"objects with {', '.join(files.entity_keys)}",
                            action="set files.entity_keys in the config, or fix the line") from None  # fmt: skip
        yield line, cells["id"], list(cells["text"]), found


def _entities(found: Any, files: FilesConfig) -> Any:
    if isinstance(found, dict):
        for kind, mentions in found.items():
            for places in mentions.values():
                yield from ((int(first), int(last) + 1, kind) for first, last in places)
        return
    for item in found:
        start, end, kind = (item[key] for key in files.entity_keys) if isinstance(item, dict) else item
        yield int(start), int(end) + files.inclusive, str(kind)
