"""CLUENER's files: {"text", "label": {type: {mention: [[first, last]]}}} a line; CoNLL for the other sets."""

import json

from common.files import read_json_lines, write_lines
from competitions.tasks.tagged_files import read_tagged, read_written, write_tagged


def read(path, config, labelled):
    """Rows with id, tokens (characters) and spans."""
    return read_tagged(path, config.files, config.types, labelled)


def write_submission(path, rows, predictions, config):
    """CLUE's format, {"id", "label": {type: {mention: [[first, last]]}}} a line; for CoNLL files, BIO tags."""
    if config.files.layout == "conll":
        write_tagged(path, rows, predictions, config.files)
        return
    lines = []
    for name, tokens, spans in zip(rows["id"], rows["tokens"], predictions, strict=True):
        label: dict[str, dict[str, list]] = {}
        for start, end, kind in spans:
            label.setdefault(kind, {}).setdefault("".join(tokens[start:end]), []).append([start, end - 1])
        lines.append(json.dumps({"id": int(name) if name.isdigit() else name, "label": label}, ensure_ascii=False))
    write_lines(path, lines)


def read_submission(path, config):
    """The ids and entities of a file that `write_submission` wrote."""
    if config.files.layout == "conll":
        rows = read_written(path, config.files, config.types)
        return rows["id"].tolist(), rows["spans"].tolist()
    ids, found = [], []
    for _, item in read_json_lines(path, ("id", "label")):
        ids.append(str(item["id"]))
        found.append(sorted((first, last + 1, kind) for kind, mentions in item["label"].items()
                            for places in mentions.values() for first, last in places))  # fmt: skip
    return ids, found
