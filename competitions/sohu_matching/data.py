"""Sohu 2021 files: six folders of JSON lines, or a later round's single file of mixed ids, to one table of pairs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from common.files import DataError, existing, read_json_lines, read_lines, write_lines
from common.logs import log

SUBTASKS = ("短短匹配A类", "短短匹配B类", "短长匹配A类", "短长匹配B类", "长长匹配A类", "长长匹配B类")
SHORT = 200  # characters: what the organisers call short is a title or a paragraph
LABELLED, TEST = ("train*.txt", "valid*.txt"), "test*.txt"
LAYOUT = f"the official folders ({SUBTASKS[0]} ... {SUBTASKS[-1]}) with train.txt, valid.txt and test_with_id.txt"


def standard(task: int) -> str:
    """ "A" (same topic) or "B" (same event) of a subtask number."""
    return SUBTASKS[task][-2]


def read_labelled(folder: Path) -> pd.DataFrame:
    """Labelled pairs of the subtasks that are present: id, source, target, task (number in SUBTASKS), label (0 or 1).

    Both train*.txt and valid*.txt count, and round 2's `<subtask>.txt` beside the folders: folds replace a split.
    Raises DataError for the first faulty line, or when no subtask has a labelled file.
    """
    rows = []
    for task, name in enumerate(SUBTASKS):
        files = [file for pattern in LABELLED for file in sorted((folder / name).glob(pattern))]
        files += [file for file in (folder / f"{name}.txt",) if file.is_file()]
        for file in files:
            key = f"label{standard(task)}"
            for line, item in read_json_lines(file, ("source", "target", key)):
                label = str(item[key]).strip()
                if label not in ("0", "1"):
                    raise DataError(
                        f"{key} is {item[key]!r}", file, line, expected='"0" or "1"', action="fix the label"
                    )
                source, target = _texts(item, file, line)
                rows.append((f"{name}/{file.stem}/{line}", source, target, task, int(label)))
    if not rows:
        raise DataError("holds no labelled Sohu pairs", folder, expected=LAYOUT,
                        action="put the official files there, or build the demo set: python -m data.demo")  # fmt: skip
    present = dict.fromkeys(SUBTASKS[row[3]] for row in rows)
    log.info(f"{len(rows)} labelled pairs of {len(present)} of 6 subtasks: {', '.join(present)}")
    return pd.DataFrame(rows, columns=["id", "source", "target", "task", "label"])


def read_unlabelled_pairs(path: Path) -> pd.DataFrame:
    """Pairs to predict, in official order: id, source, target, task.

    path: the folder of the subtask folders (each one's test*.txt is read), or one file of mixed ids.
    In a single file the last letter of an id, a or b, is the standard, and the lengths of the texts tell the subtask.
    Returns an empty table when a folder holds no test file. Raises DataError for a faulty line or a repeated id.
    """
    rows: list[tuple[str, str, str, int]] = []
    seen: dict[str, str] = {}
    guessed = Counter()
    for file, line, item, task in _test_items(existing(path, LAYOUT, "check the path")):
        source, target = _texts(item, file, line)
        name = str(item["id"]).strip()
        if not name or "," in name:
            raise DataError(
                f"the id is {item['id']!r}", file, line, expected="an id without commas", action="fix the line"
            )
        if name in seen:
            raise DataError(f"the id {name!r} was used before, in {seen[name]}", file, line, expected="unique ids",
                            action="remove one of the two lines")  # fmt: skip
        seen[name] = f"{file.parent.name}/{file.name} line {line}"
        if task is None:
            task = _task_of(name, source, target, file, line)
            guessed[SUBTASKS[task]] += 1
        rows.append((name, source, target, task))
    if guessed:
        found = ", ".join(f"{guessed[name]} {name}" for name in SUBTASKS if guessed[name])
        log.info(f"subtasks told by the ids' last letter and by lengths, above {SHORT} characters long: {found}")
    return pd.DataFrame(rows, columns=["id", "source", "target", "task"])


def _test_items(path: Path) -> Iterator[tuple[Path, int, dict, int | None]]:
    if path.is_file():
        task = SUBTASKS.index(path.parent.name) if path.parent.name in SUBTASKS else None
        yield from ((path, line, item, task) for line, item in read_json_lines(path, ("source", "target", "id")))
        return
    for task, name in enumerate(SUBTASKS):
        for file in sorted((path / name).glob(TEST)):
            yield from ((file, line, item, task) for line, item in read_json_lines(file, ("source", "target", "id")))
    for file in sorted(path.glob(TEST)):
        yield from ((file, line, item, None) for line, item in read_json_lines(file, ("source", "target", "id")))


def _task_of(name: str, source: str, target: str, file: Path, line: int) -> int:
    letter = name[-1].upper()
    if letter not in "AB":
        raise DataError(f"cannot tell the standard of the id {name!r}", file, line,
                        expected="an id that ends in a or b",
                        action=f"put the lines into the folders {SUBTASKS[0]} ... {SUBTASKS[-1]}")  # fmt: skip
    long_texts = (len(source) > SHORT) + (len(target) > SHORT)
    return 2 * long_texts + (letter == "B")


def _texts(item: dict, file: Path, line: int) -> tuple[str, str]:
    for key in ("source", "target"):
        if not isinstance(item[key], str) or not item[key].strip():
            raise DataError(f"{key} is {item[key]!r}", file, line, expected="a text that is not empty",
                            action="fix or delete the line")  # fmt: skip
    return item["source"], item["target"]


def write_labels(path: Path, ids: Sequence[str], labels: Sequence[int]) -> None:
    """Writes `id,label` lines under that header, in the order given."""
    write_lines(path, ["id,label", *(f"{name},{label}" for name, label in zip(ids, labels, strict=True))])


def read_labels(path: Path) -> list[tuple[str, int]]:
    """(id, label) of an `id,label` file. Raises DataError for the first line that is not of that form."""
    rows = []
    for line, text in read_lines(path):
        if line == 1:
            if text.strip() != "id,label":
                raise DataError(f"begins with {text[:40]!r}", path, 1, expected='the header "id,label"',
                                action="is this a submission of another contest?")  # fmt: skip
            continue
        name, comma, label = text.rpartition(",")
        if not comma or label not in ("0", "1"):
            raise DataError(f"reads {text[:60]!r}", path, line, expected="id,0 or id,1", action="fix the line")
        rows.append((name, int(label)))
    return rows
