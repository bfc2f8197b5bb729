"""The public sets that encoders are measured on: their files as tables, and which rows are scored by which fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.files import DataError, read_json_lines, read_lines
from common.text.conll import spans_of_tags
from common.text.labels import Span

FOLDS, FOLD_SEED, SAMPLE_SEED = 5, 1, 1
NEVER = -1  # the fold of rows that are trained on and never scored


@dataclass(frozen=True)
class Data:
    """A data set.

    rows: tokens and spans (tagging), or source, target (empty for single texts), task (0) and label (a class number).
    fold: (rows,) the fold that scores each row, NEVER for rows of a training file. names: the classes or entity types.
    """

    rows: pd.DataFrame
    fold: np.ndarray
    names: tuple[str, ...]

    @property
    def folds(self) -> list[int]:
        return sorted(set(self.fold.tolist()) - {NEVER})

    def split(self, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows to train on and rows to score."""
        held_out = self.fold == fold
        return self.rows[~held_out].reset_index(drop=True), self.rows[held_out].reset_index(drop=True)


def read_texts(train: Path, scored: Path) -> Data:
    """Tab-separated label (0 or 1) and text with a header; trained on one file and scored on the other.

    Texts of the scored file that stand in the training file too are taken out there, and so are its repetitions.
    """
    tables = [_labelled_texts(path) for path in (train, scored)]
    seen, keep = {text_key(text) for text in tables[1]["source"]}, []
    for text in tables[0]["source"]:
        keep.append(text_key(text) not in seen)
        seen.add(text_key(text))
    return _train_and_scored(tables[0][keep], tables[1], ("negative", "positive"))


def read_pairs(path: Path) -> Data:
    """Tab-separated text, text and label (1 same meaning, 0 not) without a header, in folds that share no text."""
    rows = []
    for number, line in read_lines(path):
        cells = line.split("\t")
        if len(cells) != 3 or cells[2] not in ("0", "1"):
            raise DataError(f"{len(cells)} cells", path, number, expected="text, text and 0 or 1, between tabs")
        rows.append((cells[0], cells[1], int(cells[2])))
    return _in_folds(_pairs(rows), ("different", "same"))


def read_topic_pairs(paths: Sequence[Path]) -> Data:
    """JSON lines with source, target and labelA (1 same topic, 0 not) of several files, in folds that share no text."""
    rows = []
    for path in paths:
        for number, item in read_json_lines(path, ("source", "target", "labelA")):
            if str(item["labelA"]) not in ("0", "1"):
                raise DataError(f"labelA is {item['labelA']!r}", path, number, expected="0 or 1")
            rows.append((item["source"], item["target"], int(item["labelA"])))
    return _in_folds(_pairs(rows), ("different", "same"))


def read_inference(path: Path) -> Data:
    """JSON lines with sentence1, sentence2 and label, `-` (no majority) left out, in folds that share no text."""
    names, rows = ("entailment", "neutral", "contradiction"), []
    for number, item in read_json_lines(path, ("sentence1", "sentence2", "label")):
        if item["label"] == "-":
            continue
        if item["label"] not in names:
            raise DataError(f"label {item['label']!r}", path, number, expected=", ".join((*names, "-")))
        rows.append((item["sentence1"], item["sentence2"], names.index(item["label"])))
    return _in_folds(_pairs(rows), names)


def read_tagged(train: Path, scored: Path | None = None) -> Data:
    """One character and its BIO or BMES tag a line, sentences between blank lines.

    scored: the file to score; without one `train` is cut into folds that share no sentence.
    """
    tables = [_tagged(path) for path in (train, scored) if path is not None]
    names = tuple(sorted({kind for table in tables for spans in table["spans"] for *_, kind in spans}))
    return _in_folds(tables[0], names) if scored is None else _train_and_scored(*tables, names)


def sampled(data: Data, rows: int) -> Data:
    """A small part for trying things: at most `rows` rows that are never scored, and as many that are."""
    random = np.random.default_rng(SAMPLE_SEED)
    parts = [np.flatnonzero(data.fold == NEVER), np.flatnonzero(data.fold != NEVER)]
    keep = np.sort(np.concatenate([random.permutation(part)[:rows] for part in parts]))
    return Data(data.rows.iloc[keep].reset_index(drop=True), data.fold[keep], data.names)


def _labelled_texts(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in read_lines(path):
        label, _, text = line.partition("\t")
        if number == 1 and label == "label":
            continue
        if label not in ("0", "1"):
            raise DataError(f"begins with {label[:20]!r}", path, number, expected="0 or 1, a tab and a text")
        rows.append((text, "", int(label)))
    return _pairs(rows)


def _tagged(path: Path) -> pd.DataFrame:
    rows: list[tuple[list[str], list[Span]]] = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in [*read_lines(path), (0, "")]:
        if line.strip():
            cells = line.split()
            if len(cells) != 2 or not (cells[1] == "O" or cells[1][:2] in ("B-", "I-", "M-", "E-", "S-")):
                raise DataError(f"{line!r}", path, number, expected="a character, a blank and a BIO or BMES tag")
            tokens.append(cells[0])
            tags.append(cells[1])
        elif tokens:
            rows.append((tokens, spans_of_tags(tags)))
            tokens, tags = [], []
    return pd.DataFrame(rows, columns=["tokens", "spans"])


def _pairs(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "target", "label"]).assign(task=0)


def _train_and_scored(train: pd.DataFrame, scored: pd.DataFrame, names: tuple[str, ...]) -> Data:
    fold = np.repeat([NEVER, 0], [len(train), len(scored)])
    return Data(pd.concat([train, scored], ignore_index=True), fold, names)


def _in_folds(rows: pd.DataFrame, names: tuple[str, ...]) -> Data:
    if "tokens" in rows:
        texts: list[Any] = [["".join(tokens)] for tokens in rows["tokens"]]
        strata = [bool(spans) for spans in rows["spans"]]
    else:
        texts, strata = list(zip(rows["source"], rows["target"], strict=True)), rows["label"].tolist()
    return Data(rows, grouped_stratified_folds(text_groups(texts), strata, FOLDS, FOLD_SEED), names)


def text_key(text: str) -> str:
    """What texts that count as the same have in common: all but case and white space."""
    return "".join(text.lower().split())
