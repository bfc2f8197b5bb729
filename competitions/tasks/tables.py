"""Contest files that are tables (CSV, TSV, JSON lines): read by a few settings, and submissions written as CSV."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from common.config import ConfigError, nearest
from common.files import DataError, atomic_path, read_json_lines, read_lines

LAYOUTS = ("csv", "tsv", "json", "conll")
# What a field may hold: long documents are no mistake.
csv.field_size_limit(2**31 - 1)


@dataclass
class FilesConfig:
    """How a contest's files look.

    train: names in data_dir, read one after another; those that are absent are left out, one must be there. test: the
    file to predict; empty or absent for none.
    layout: csv (commas, quotes), tsv (tabs, quotes are text), json (an object a line) or conll (a token and its tag a
    line, sentences between blank lines).
    header: whether the first line of csv and tsv names the columns.
    columns: the kit's name of a column -> the file's name, or its number from 1 where there is no header (from the
    right with a minus). Without id, rows are numbered from 0.
    skip: labels whose rows are left out of training. label_separator: between several labels in one cell.
    entity_keys: of json, what start, end and type of an entity are called. inclusive: whether its end is its last
    character, not the one behind it. digit_suffix: of conll, whether each token ends in a digit that is not text.
    """

    train: list[str] = field(default_factory=lambda: ["train.csv"])
    test: str = "test.csv"
    layout: str = "csv"
    header: bool = True
    columns: dict[str, Any] = field(default_factory=dict)
    skip: list[str] = field(default_factory=list)
    label_separator: str = "|"
    entity_keys: list[str] = field(default_factory=lambda: ["start", "end", "type"])
    inclusive: bool = False
    digit_suffix: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"files.layout is {self.layout!r}{nearest(self.layout, LAYOUTS)}")
        if len(self.entity_keys) != 3:
            raise ConfigError(f"files.entity_keys is {self.entity_keys}: expected three keys: of start, end and type")


def read_texts(
    path: Path, files: FilesConfig, texts: Sequence[str], classes: Sequence[str] | None, several: bool = False
) -> pd.DataFrame:
    """Rows with id, texts and, with classes, label.

    texts: the text columns. classes: what a label may be; None reads no labels. several: whether a label is a list of
    classes, in one cell or a JSON list. Raises DataError for the first faulty line.
    """
    wanted = (*texts, *(() if classes is None else ("label",)))
    known, rows = set(classes or ()), []
    for line, cells in read_cells(path, files, wanted, id_needed=classes is None):
        for column in texts:
            if not isinstance(cells[column], str) or (classes is not None and not cells[column].strip()):
                raise DataError(f"{files.columns.get(column, column)} is {cells[column]!r}", path, line,
                                expected="a text that is not empty", action="fix or delete the line")  # fmt: skip
        if classes is not None:
            value = cells["label"]
            own = labels_of(value, files) if several else [_as_text(value)]
            if not several and own[0] in files.skip:
                continue
            for label in own:
                if label not in known:
                    raise DataError(f"has the label {label!r}{nearest(label, known) if label else ''}", path, line,
                                    expected="one of `classes`", action="add it to classes, or to files.skip, in the "
                                    "config; or check files.columns and files.header")  # fmt: skip
            cells["label"] = own if several else own[0]
        rows.append(cells)
    return pd.DataFrame(rows, columns=["id", *wanted])


def labels_of(value: Any, files: FilesConfig) -> list[str]:
    """Several labels: a JSON list, or one cell with separators."""
    parts = value if isinstance(value, list) else _as_text(value).split(files.label_separator)
    return [text for part in parts if (text := _as_text(part))]


def read_cells(
    path: Path, files: FilesConfig, wanted: Sequence[str], id_needed: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of a table as (line number, {id and the wanted columns}), by the kit's names.

    id_needed: whether an id column that the settings name has to be there; else rows without are numbered from 0.
    """
    read = _json_cells if files.layout == "json" else _separated_cells
    for number, (line, cells) in enumerate(read(path, files, wanted, id_needed)):
        name = _as_text(cells["id"]) if "id" in cells else str(number)
        if not name:
            raise DataError("has no id", path, line, expected="an id in every row", action="fix the line")
        yield line, {**cells, "id": name}


def _json_cells(path: Path, files: FilesConfig, wanted: Sequence[str], id_needed: bool) -> Iterator[Any]:
    names = {column: str(files.columns.get(column, column)) for column in wanted}
    own_id = files.columns.get("id")
    required = [*names.values(), *([str(own_id)] if own_id and id_needed else [])]
    for line, item in read_json_lines(path, required):
        cells = {column: item[name] for column, name in names.items()}
        yield line, (cells | {"id": item[own_id]} if own_id in item else cells)


def _separated_cells(path: Path, files: FilesConfig, wanted: Sequence[str], id_needed: bool) -> Iterator[Any]:
    rows = separated_lines(path, files.layout)
    columns = {column: files.columns.get(column, column) for column in wanted}
    if files.columns.get("id"):
        columns["id"] = files.columns["id"]
    width = 0
    if files.header:
        line, header = next(rows, (1, []))
        width = len(header)
        for column, name in list(columns.items()):
            if name in header:
                columns[column] = header.index(name)
            elif column == "id" and not id_needed:
                del columns["id"]
            else:
                raise DataError(f"no column {name!r} (columns: {', '.join(map(repr, header)) or 'none'})", path, line,
                                expected=f"the columns {', '.join(map(str, columns.values()))}",
                                action="set files.columns, or files.header=false, in the config")  # fmt: skip
    else:
        for column, number in columns.items():
            if not isinstance(number, int) or number == 0:
                raise ConfigError(f"files.columns.{column} is {number!r}: without a header a column is named by its "
                                  f"number, 1 for the first")  # fmt: skip
            columns[column] = number - 1 if number > 0 else number
    least = max((place + 1 if place >= 0 else -place) for place in columns.values())
    for line, cells in rows:
        if len(cells) < least or (width and len(cells) != width):
            raise DataError(f"has {len(cells)} columns", path, line, expected=f"{width or f'at least {least}'}",
                            action="fix the line, or set files.layout and files.columns in the config")  # fmt: skip
        yield line, {column: cells[place] for column, place in columns.items()}


def separated_lines(path: Path, layout: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a csv or tsv file; blank lines are left out. Raises DataError for broken quotes."""
    if layout == "tsv":
        yield from ((line, text.split("\t")) for line, text in read_lines(path) if text.strip())
        return
    reader = csv.reader((f"{text}\n" for _, text in read_lines(path)), strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise DataError(f"not CSV ({error})", path, reader.line_num, expected='cells with commas or quotes in "quotes"',
                        action="fix the line, or say files.layout=tsv where the file has tabs") from None  # fmt: skip


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], separator: str = ",") -> None:
    """Writes a CSV file atomically."""
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_labels(path: Path, header: Sequence[str] = ("id", "label"), separator: str = ",") -> list[tuple[str, str]]:
    """(id, label) of a file that `write_table` wrote with two columns. Raises DataError for another one."""
    layout = "tsv" if separator == "\t" else "csv"
    rows = separated_lines(path, layout)
    line, first = next(rows, (1, []))
    if first != list(header):
        raise DataError(f"begins with {separator.join(first)[:40]!r}", path, line,
                        expected=f"the header {separator.join(header)!r}",
                        action="is this a submission of another contest?")  # fmt: skip
    pairs = []
    for line, cells in rows:
        if len(cells) != 2:
            raise DataError(f"has {len(cells)} columns", path, line, expected="an id and a label", action="fix it")
        pairs.append((cells[0], cells[1]))
    return pairs


def check_ids(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises DataError unless a submission has the test file's ids in their order."""
    for place, (own, other) in enumerate(zip(found, wanted, strict=False), start=1):
        if own != other:
            raise DataError(f"prediction {place} has the id {own!r}", path, expected=f"{other!r}, as in the test file",
                            action="predict the same test file again")  # fmt: skip
    if len(found) != len(wanted):
        raise DataError(f"has {len(found)} predictions", path, expected=f"{len(wanted)}, one a test row",
                        action="predict the same test file again")  # fmt: skip


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).strip()
