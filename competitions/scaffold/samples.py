"""Made-up Chinese text in a contest's own format, so that a new folder runs before there is any data."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files import write_json, write_lines
from common.text.conll import conll_lines
from competitions.tasks.tables import FilesConfig, write_table

WORDS = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split()
PEOPLE = ["小王", "小李", "老张", "老陈", "阿明", "阿芳", "小周", "老吴", "小郑", "阿强"]
PLACES = ["北湖", "南山", "东桥", "西岭", "青石", "白云", "红旗", "长河", "平川", "高台"]
TIMES = ["今天", "昨天", "上周", "早上", "晚上", "周末", "去年", "春天"]
MARKS = ["确实如此", "也许会变", "并非这样"]


def write_sample(folder: Path, task: str, files: FilesConfig, labels: Sequence[str]) -> None:
    """Writes a training and a test file with the names, columns and labels of the settings."""
    draw = random.Random(1)
    if task == "reading":
        for name, first, count in ((files.train[0], 0, 60), (files.test, 60, 12)):
            _write_questions(folder / name, range(first, first + count), draw)
        return
    train = max(60, 6 * len(labels))
    rows = list(_rows(task, train + 12, list(labels), draw))
    # Every label is seen before the first is seen again: no shuffling.
    for name, part, labelled in ((files.train[0], rows[:train], True), (files.test, rows[train:], False)):
        (_write_tagged if task in ("tagging", "span") else _write_table)(folder / name, part, files, labelled)


def _rows(task: str, count: int, labels: list[str], draw: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(count):
        place = number % len(labels)
        who, where, when = draw.choice(PEOPLE), draw.choice(PLACES), draw.choice(TIMES)
        start = f"{when}{who}在{where}第{number}次"
        if task == "classification":
            yield {"id": str(number), "text": f"{start}说到{_mark(place)}", "label": labels[place]}
        elif task == "multilabel":
            own = sorted({place, draw.randrange(len(labels))})
            said = "和".join(map(_mark, own))
            yield {"id": str(number), "text": f"{start}说到{said}", "label": [labels[place] for place in own]}
        elif task == "matching":
            thing, other = draw.sample(WORDS, 2)
            label = labels[place]
            yield {"id": str(number), "source": f"{when}{who}在{where}买{thing}{number}个",
                   "target": f"{who}{when}买的{thing if label == '1' else other}是哪里的", "label": label}  # fmt: skip
        elif task == "nli":
            thing = draw.choice(WORDS)
            said = MARKS[place] if place < len(MARKS) else f"这是{_mark(place)}"
            yield {"id": str(number), "text": f"{start}说到{thing}", "text_b": f"{who}说到{thing}，{said}",
                   "label": labels[place]}  # fmt: skip
        else:
            yield _tagged(number, labels, start, draw)


def _tagged(number: int, labels: list[str], start: str, draw: random.Random) -> dict[str, Any]:
    text, spans = f"{start}看见", []
    for place in dict.fromkeys((number % len(labels), draw.randrange(len(labels)))):
        name = f"{draw.choice(PLACES)}{_mark(place)}"
        spans.append((len(text), len(text) + len(name), labels[place]))
        text += f"{name}和"
    return {"id": str(number), "text": f"{text}其他的东西", "spans": spans}


def _mark(place: int) -> str:
    """A word that stands for a label."""
    first = WORDS[place % len(WORDS)]
    return first if place < len(WORDS) else first + WORDS[place // len(WORDS)]


def _write_table(path: Path, rows: Sequence[dict[str, Any]], files: FilesConfig, labelled: bool) -> None:
    wanted = [key for key in rows[0] if key in files.columns and (labelled or key != "label")]
    names = {key: files.columns[key] for key in wanted}
    if files.layout == "json":
        lines = [{name: row[key] for key, name in names.items()} for row in rows]
        write_lines(path, (json.dumps(line, ensure_ascii=False) for line in lines))
        return
    order = list(range(1, max(names.values()) + 1)) if not files.header else list(names.values())
    cells = {name: key for key, name in names.items()}
    table = [[_cell(row[cells[name]], files) if name in cells else "" for name in order] for row in rows]
    if files.layout == "csv" and files.header:
        write_table(path, order, table)
    else:
        separator = "\t" if files.layout == "tsv" else ","
        write_lines(path, (separator.join(map(str, line)) for line in ([order] if files.header else []) + table))


def _write_questions(path: Path, numbers: Iterable[int], draw: random.Random) -> None:
    """SQuAD's JSON; the answers stand in test files too, as its own do, and are not read from them."""
    paragraphs = []
    for number in numbers:
        who, where, thing = draw.choice(PEOPLE), draw.choice(PLACES), draw.choice(WORDS)
        text = f"{draw.choice(TIMES)}{who}去第{number}次，在{where}看见{thing}。"
        answers = [{"text": where, "answer_start": text.index(where)}]
        paragraphs.append({"context": text, "qas": [{"id": f"q{number}", "question": f"{who}在哪里看见{thing}？",
                                                     "answers": answers}]})  # fmt: skip
    write_json(path, {"data": [{"paragraphs": paragraphs}]})


def _cell(value: Any, files: FilesConfig) -> str:
    return files.label_separator.join(value) if isinstance(value, list) else value


def _write_tagged(path: Path, rows: Sequence[dict[str, Any]], files: FilesConfig, labelled: bool) -> None:
    if files.layout == "conll":
        tokens = [[f"{char}0" if files.digit_suffix else char for char in row["text"]] for row in rows]
        lines = conll_lines(tokens, [row["spans"] for row in rows])
        write_lines(path, lines if labelled else (line.partition(" ")[0] for line in lines))
        return
    text, entities = files.columns.get("text", "text"), files.columns.get("entities", "entities")
    items = []
    for row in rows:
        found = [dict(zip(files.entity_keys, (start, end - files.inclusive, kind), strict=True))
                 for start, end, kind in row["spans"]]  # fmt: skip
        item = {files.columns["id"]: row["id"]} if "id" in files.columns else {}
        items.append(item | {text: row["text"]} | ({entities: found} if labelled else {}))
    write_lines(path, (json.dumps(item, ensure_ascii=False) for item in items))
