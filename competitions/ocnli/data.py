"""OCNLI's files: a JSON object a line with sentence1, sentence2 and label, `-` where annotators had no majority."""

import json

from common.files import read_json_lines, write_lines
from competitions.tasks.tables import read_texts


def read(path, config, labelled):
    """Rows with id, text, text_b and, where labelled, label."""
    return read_texts(path, config.files, ("text", "text_b"), config.classes if labelled else None)


def write_submission(path, rows, predictions):
    """CLUE's format: {"id": number, "label": name} a line."""
    pairs = zip(rows["id"], predictions, strict=True)
    write_lines(path, (json.dumps({"id": int(name) if name.isdigit() else name, "label": own}) for name, own in pairs))


def read_submission(path):
    """The ids and labels of a file that `write_submission` wrote."""
    items = [item for _, item in read_json_lines(path, ("id", "label"))]
    return [str(item["id"]) for item in items], [str(item["label"]) for item in items]
