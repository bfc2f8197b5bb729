"""Looking at a data file: its layout, what its columns are, which labels it has and how long its texts are."""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import DataError, read_json_lines, read_lines
from competitions.scaffold.look import IDS, Look, mean_length, rounded_length
from competitions.scaffold.tagged_inspection import conll, entities

HAN = re.compile("[\u4e00-\u9fff]")
LABELS = ("label", "labels", "labela", "labelb", "class", "category", "sentiment", "标签", "类别", "分类", "target")
KNOWN = (*LABELS, *IDS, "text", "text_a", "text_b", "sentence", "sentence1", "sentence2", "query", "title", "review",
         "content", "source", "premise", "hypothesis", "question1", "question2", "文本", "内容")  # fmt: skip
SEPARATORS = "|;,，、 "


def inspect(path: Path, task: str) -> Look:
    """Looks at a whole training file. Raises DataError where it does not look like one of the task."""
    if task == "reading":
        return _questions(path)
    lines = [text for _, text in read_lines(path)]
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first:
        raise DataError("is empty", path, expected="a training file", action="name another file")
    is_json = first[0] == "{" or (first[0] == "[" and _is_json_list(first, lines))
    if task in ("tagging", "span"):
        return entities(path) if is_json else conll(path, lines)
    return _json_table(path, task) if is_json else _table(path, lines, task)


def _is_json_list(first: str, lines: list[str]) -> bool:
    # "[1] ..." may begin a text; a list goes on with an object, a list or a new line.
    return first in ("[", "[]") or first[1:].lstrip()[:1] in ("{", "[") or len(lines) == 1


# Tables


def _table(path: Path, lines: list[str], task: str) -> Look:
    filled = [line for line in lines if line.strip()]
    tabs = Counter(line.count("\t") for line in filled[:200]).most_common(1)[0]
    layout = "tsv" if tabs[0] and tabs[1] >= 0.9 * len(filled[:200]) else "csv"
    if layout == "tsv":
        rows = [line.split("\t") for line in filled]
    else:
        try:
            rows = [cells for cells in csv.reader((f"{line}\n" for line in lines), strict=True) if cells]
        except csv.Error as error:
            raise DataError(f"is neither CSV ({error}) nor TSV nor JSON lines", path, expected="one of them",
                            action="convert it first") from None  # fmt: skip
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width < 2:
        raise DataError("has one column", path, expected="text and label, between tabs or commas, or JSON lines",
                        action="convert it first, or leave --from out and write data.py")  # fmt: skip
    if uneven := next((number for number, cells in enumerate(rows, 1) if len(cells) != width), 0):
        raise DataError(f"row {uneven} has {len(rows[uneven - 1])} columns", path, expected=f"{width}, as most rows",
                        action="fix the row, or quote text that holds the separator")  # fmt: skip
    header = _is_header(rows)
    body = rows[1:] if header else rows
    if not body:
        raise DataError("has a header and no rows", path, expected="training rows", action="name another file")
    names = rows[0] if header else list(range(1, width + 1))
    look = _columns(path, dict(zip(names, zip(*body, strict=True), strict=True)), task)
    look.files |= {"layout": layout, "header": header}
    return look


def _is_header(rows: list[list[str]]) -> bool:
    first = [cell.strip().lower() for cell in rows[0]]
    # The first column may have no name: pandas writes its row numbers like that.
    if len(set(first)) < len(first) or any(not cell for cell in first[1:]) or any(map(_is_number, first)):
        return False
    if any(cell in KNOWN for cell in first):
        return True
    for name, values in zip(first, list(zip(*rows[1:], strict=True))[: len(first)], strict=False):
        # A name above numbers, or above a few values that come again and again.
        counts = Counter(value.strip().lower() for value in values)
        if all(map(_is_number, counts)) or (len(counts) <= len(values) // 3 and name not in counts):
            return True
    # Names of columns are no Chinese sentences, and stand above some.
    return not any(HAN.search(cell) for cell in first) and any(HAN.search(cell) for row in rows[1:20] for cell in row)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+([.]\d+)?", text.strip()))


def _json_table(path: Path, task: str) -> Look:
    items = [item for _, item in read_json_lines(path)]
    shared = [key for key in items[0] if all(key in item for item in items)]
    look = _columns(path, {key: [item[key] for item in items] for key in shared}, task)
    look.files |= {"layout": "json", "header": True}
    return look


def _columns(path: Path, table: dict[Any, Sequence[Any]], task: str) -> Look:
    wanted = {"matching": ("source", "target"), "nli": ("text", "text_b")}.get(task, ("text",))
    flags = [str(name) for name, values in table.items() if {str(value) for value in values} <= {"0", "1"}]
    if task == "multilabel" and len(flags) > 1:
        raise DataError(f"has a column of 0 and 1 for each label ({', '.join(flags[:5])})", path, expected="one column "
                        "of labels", action="write them into one, such as A|B, or into a JSON list")  # fmt: skip
    label = _label_column(path, table, task, len(wanted))
    own_id = next((name for name in table if str(name).lower() in IDS and len(set(table[name])) == len(table[name])),
                  None)  # fmt: skip
    texts = [name for name, values in table.items()
             if name not in (label, own_id) and all(isinstance(value, str) for value in values)]  # fmt: skip
    # Chinese before dates and names of users, then the longer.
    texts = sorted(texts, key=lambda name: (-mean_length(map(HAN.findall, table[name])), -mean_length(table[name])))
    texts = texts[: len(wanted)]
    if len(texts) < len(wanted):
        raise DataError(f"has {len(texts)} columns of text beside the labels", path, expected=f"{len(wanted)}",
                        action=f"is this a file for --task {task}?")  # fmt: skip
    chosen = dict(zip(wanted, (name for name in table if name in texts), strict=True)) | {"label": label}
    files: dict[str, Any] = {"columns": ({"id": own_id} if own_id is not None else {}) | chosen}
    values = table[label]
    if task == "multilabel":
        if not any(isinstance(value, list) for value in values):
            files["label_separator"] = _separator(values)
            values = [str(value).split(files["label_separator"]) for value in values]
        values = [part for value in values for part in (value if isinstance(value, list) else [value])]
    elif any(isinstance(value, (list, dict)) for value in values):
        raise DataError(f"{label} holds lists", path, expected="one label a row", action="use --task multilabel")
    labels = sorted({str(value).strip() for value in values} - {""})
    if task == "nli" and "-" in labels:
        files["skip"] = ["-"]
        labels.remove("-")
    if task == "matching" and labels != ["0", "1"]:
        raise DataError(f"has the labels {', '.join(labels[:5])}", path, expected="0 and 1",
                        action="use --task nli for other classes of pairs")  # fmt: skip
    if len(labels) < 2:
        raise DataError(f"{label} is always {', '.join(labels)!r}", path, expected="at least two labels",
                        action="name the training file")  # fmt: skip
    lengths = [sum(map(len, row)) for row in zip(*(table[chosen[column]] for column in wanted), strict=True)]
    example = " | ".join([*(_shortened(table[chosen[column]][0]) for column in wanted), str(table[label][0])])
    return Look(files, sorted(labels, key=lambda text: (len(text), text) if text.isdigit() else (99, text)),
                rounded_length(lengths), example=example)  # fmt: skip


def _label_column(path: Path, table: dict[Any, Sequence[Any]], task: str, texts: int) -> Any:
    for hint in LABELS:
        for name in table:
            if str(name).lower() == hint:
                return name
    kinds = {name: len({json.dumps(value, ensure_ascii=False) for value in values}) for name, values in table.items()}
    total = len(next(iter(table.values())))
    likely = [name for name, count in kinds.items()
              if 2 <= count <= max(2, total // 2) and mean_length(table[name]) <= 40]  # fmt: skip
    if not likely or len(table) <= texts:
        raise DataError("has no column that looks like labels", path, expected="a column named label, or one with few "
                        "different values", action="leave --from out and set files.columns in the config")  # fmt: skip
    return min(likely, key=lambda name: (kinds[name], mean_length(table[name])))


def _separator(values: Sequence[Any]) -> str:
    """The separator that leaves the fewest different labels."""

    def kinds(separator: str) -> int:
        return len({part for value in values for part in str(value).split(separator)})

    return min(SEPARATORS, key=kinds)


# Questions


def _questions(path: Path) -> Look:
    from competitions.tasks.reading_files import read_squad

    first = next((text for _, text in read_lines(path) if text.strip()), "")
    if first.strip().endswith("}") and '"data"' not in first and '"paragraphs"' not in first and len(first.strip()) > 2:
        raise DataError("is JSON lines", path, expected="SQuAD's JSON: {\"data\": [{\"paragraphs\": [{\"context\", "
                        "\"qas\": [{\"id\", \"question\", \"answers\"}]}]}]}",
                        action="convert it first, or read it in data.py")  # fmt: skip
    rows = read_squad(path, labelled=True)
    lengths = [min(map(len, answers)) for answers in rows["answers"] if answers]
    if not lengths:
        raise DataError("has no answers", path, expected="a training file", action="name the training file")
    need = sorted(lengths)[int(0.99 * (len(lengths) - 1))]
    return Look({"layout": "json", "header": True, "columns": {}}, [],
                rounded_length((rows["passage"].str.len() + rows["question"].str.len()).tolist()), -(-need // 10) * 10,
                len(lengths) < len(rows))  # fmt: skip


def _shortened(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}…"
