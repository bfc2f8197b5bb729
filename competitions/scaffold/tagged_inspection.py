"""Looking at a file of texts with entities: layout, types, how long texts are, and what the settings read in it."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from common.files import DataError, read_json_lines
from common.text.conll import BETWEEN, PARTS
from competitions.scaffold.look import IDS, Look, mean_length, rounded_length
from competitions.tasks.tables import FilesConfig
from competitions.tasks.tagged_files import read_tagged

TAG = re.compile(f"O|[{PARTS}]-.+")


def conll(path: Path, lines: list[str]) -> Look:
    """Looks at a token and its tag a line. Raises DataError for what is none, or has no entity."""
    cells = [BETWEEN.split(line.rstrip()) for line in lines if line.strip()]
    tagged = sum(len(own) > 1 and bool(TAG.fullmatch(own[-1])) for own in cells)
    if tagged < 0.9 * len(cells):
        raise DataError("is neither CoNLL nor JSON lines", path, expected="a token, white space and a BIO or BMES tag "
                        "a line, or a JSON object a line", action="convert it first")  # fmt: skip
    tokens = [own[0] for own in cells]
    suffix = sum(len(token) == 2 and token[1].isdigit() for token in tokens) > 0.95 * len(tokens)
    lengths = [0]
    for line in lines:
        if line.strip():
            lengths[-1] += 1
        elif lengths[-1]:
            lengths.append(0)
    if len(lengths) < 2 or not lengths[1]:
        raise DataError("has no blank line between sentences", path, expected="sentences between blank lines",
                        action="put one behind each sentence")  # fmt: skip
    kinds = sorted({own[-1][2:] for own in cells if TAG.fullmatch(own[-1])} - {""})
    files = {"layout": "conll", "header": False, "columns": {"token": 1, "tag": -1}, "digit_suffix": suffix}
    return _with_types(path, kinds, files, [length for length in lengths if length])


def entities(path: Path) -> Look:
    """Looks at objects with a text and its entities. Raises DataError where there are none."""
    items = [item for _, item in read_json_lines(path)]
    shared = [key for key in items[0] if all(key in item for item in items)]
    texts = [key for key in shared if all(isinstance(item[key], str) for item in items)]
    found = [key for key in shared if all(isinstance(item[key], (list, dict)) for item in items)]
    if not texts or not found:
        raise DataError(f"has the keys {', '.join(shared)}", path, expected="a text and a list of entities in each",
                        action="leave --from out and write data.py")  # fmt: skip
    text = max(texts, key=lambda key: mean_length([item[key] for item in items]))
    own = found[0]
    columns = {"text": text, "entities": own}
    if own_id := next((key for key in shared if key.lower() in IDS), None):
        columns = {"id": own_id} | columns
    files: dict[str, Any] = {"layout": "json", "header": True, "columns": columns}
    some = [(item[text], entity) for item in items for entity in item[own]]
    if isinstance(items[0][own], dict):
        kinds = {kind for _, kind in some}
    elif some and isinstance(some[0][1], dict):
        keys = [
            _key(path, some[0][1], hints) for hints in (("start", "begin"), ("end",), ("type", "label", "category"))
        ]
        kinds = {str(entity[keys[2]]) for _, entity in some}
        files |= {"entity_keys": keys, "inclusive": _inclusive(some, keys)}
    else:
        kinds = {str(entity[2]) for _, entity in some}
    return _with_types(path, sorted(kinds), files, [len(item[text]) for item in items])


def _key(path: Path, entity: dict[str, Any], hints: Sequence[str]) -> str:
    for key in entity:
        if any(hint in key.lower() for hint in hints):
            return key
    raise DataError(f"has entities with {', '.join(entity)}", path, expected=f"a key with {' or '.join(hints)} in it",
                    action="leave --from out and set files.entity_keys in the config")  # fmt: skip


def _inclusive(some: Sequence[tuple[str, dict[str, Any]]], keys: Sequence[str]) -> bool:
    """Whether ends are last characters, where the entities hold their own text."""
    votes = Counter()
    for text, entity in some[:1000]:
        start, end = int(entity[keys[0]]), int(entity[keys[1]])
        for value in entity.values():
            if isinstance(value, str) and value:
                votes[False] += text[start:end] == value
                votes[True] += text[start : end + 1] == value
    return votes[True] > votes[False]


def _with_types(path: Path, kinds: list[str], files: dict[str, Any], lengths: list[int]) -> Look:
    if not kinds:
        raise DataError("has no entity", path, expected="a training file", action="name the training file")
    rows = read_tagged(path, FilesConfig(**files), kinds, labelled=True)
    pairs = zip(rows["tokens"], rows["spans"], strict=True)
    said = (f"{''.join(own[start:end])} is {kind}" for own, spans in pairs for start, end, kind in spans)
    return Look(files, kinds, rounded_length(lengths), example=", ".join(islice(said, 3)))
