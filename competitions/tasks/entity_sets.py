"""Contests whose entities lie inside each other, or have gaps: every span, or every pair of words, has a score."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest
from common.contest import Member, RunConfig
from common.ensembling.scores import Scores
from common.files import DataError, write_lines
from common.text.labels import LabelScheme
from competitions.tasks.set_contests import SetConfig, SetContest
from competitions.tasks.tables import FilesConfig, read_cells

Entity = tuple[tuple[int, ...], str]  # the places of its words, and its type
SHAPES = ("nested", "discontinuous")


@dataclass
class EntitySetConfig(SetConfig):
    """entities: nested (one may lie inside another, none crosses another) or discontinuous (any words in order). Flat
    ones are for a TaggingContest."""

    entities: str = "nested"


def _kinds(shape: str) -> dict[str, type]:
    from competitions.tasks.entity_set_members import WordPairSettings
    from competitions.tasks.span_grid_members import BiaffineSettings, GlobalPointerSettings

    if shape == "discontinuous":
        return {"word_pairs": WordPairSettings}
    return {"global_pointer": GlobalPointerSettings, "biaffine": BiaffineSettings}


class EntitySetContest(SetContest):
    """Rows have tokens and, when labelled, entities: (places of its words, type) of each.

    Files are JSON lines; an entity is {start, end, type} by files.entity_keys, or {"pieces": [[start, end], ...], type}
    where it has gaps. Scores of a text of n words have n * n units: of nested entities the span from word to word, with
    an output a type; of discontinuous ones the pair of words, with the outputs of models/word_pairs.py. That is a
    million numbers for a text of 500 words and 4 types: set max_length and cut long texts into sentences.
    """

    config_class: ClassVar[type[RunConfig]] = EntitySetConfig

    def __init__(self, config: EntitySetConfig) -> None:
        if config.entities not in SHAPES:
            raise ConfigError(f"entities is {config.entities!r}{nearest(config.entities, SHAPES)}")
        try:
            self.scheme = LabelScheme(tuple(config.types))
        except ValueError as error:
            raise ConfigError(f"types: {error}") from None
        self.member_kinds = _kinds(config.entities)
        super().__init__(config)

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.entity_set_members import SpanSetMember, WordPairMember

        kind = WordPairMember if self.config.entities == "discontinuous" else SpanSetMember
        return kind(self.settings[name], self.scheme, seed, self.judge)

    # Files

    def read(self, path: Path, labelled: bool) -> pd.DataFrame:
        wanted = ("text", "entities") if labelled else ("text",)
        rows = []
        for line, cells in read_cells(path, self.config.files, wanted, not labelled):
            entities = read_entities(path, line, cells, self.config.files, self.config.types)
            if self.config.entities == "nested" and any(len(words) <= words[-1] - words[0] for words, _ in entities):
                raise DataError("has an entity with a gap", path, line, expected="entities without any",
                                action="set entities=discontinuous in the config")  # fmt: skip
            rows.append((cells["id"], list(cells["text"]), entities))
        return pd.DataFrame(rows, columns=["id", "tokens", "entities"])

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[list[Entity]]) -> None:
        """The texts with their entities in the training file's format."""
        own = zip(rows["id"], rows["tokens"], predictions, strict=True)
        write_lines(path, (json.dumps(entity_item(self.config.files, *row), ensure_ascii=False) for row in own))

    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        rows = self.read(path, labelled=True)
        return rows["id"].tolist(), self.gold(rows)

    # Scores

    def sizes(self, rows: pd.DataFrame) -> np.ndarray:
        return rows["tokens"].map(len).to_numpy(np.int64)

    def units(self, row_lengths: np.ndarray) -> np.ndarray:
        return row_lengths**2

    def gold(self, rows: pd.DataFrame) -> list[list[Entity]]:
        return [[(tuple(words), kind) for words, kind in own] for own in rows["entities"]]

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """A threshold for spans; pairs of words are what they most likely are."""
        return {} if self.config.entities == "discontinuous" else super().fit_decision(rows, scores)

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[list[Entity]]:
        import torch

        from models.span_grids import decode_grid
        from models.word_pairs import decode_word_pairs

        found, names = [], self.scheme.types
        limit = torch.tensor(decision.get("threshold", 0.5)).logit().item()
        for place, words in enumerate(self.sizes(rows)):
            grid = torch.from_numpy(scores.row(place).reshape(1, words, words, scores.values.shape[1]).copy())
            if self.config.entities == "discontinuous":
                found.append([(own, names[kind]) for own, kind in decode_word_pairs(grid)[0]])
                continue
            spans = decode_grid(grid.logit(eps=1e-7), limit, "nested")[0]
            found.append([(tuple(range(start, end)), names[kind]) for start, end, kind, _ in spans])
        return found


def read_entities(
    path: Path, line: int, cells: dict[str, Any], files: FilesConfig, types: Sequence[str]
) -> list[Entity]:
    """The entities of a line, as they are. Raises DataError for what is none, of no known type or outside the text."""
    text, found = cells["text"], []
    if not isinstance(text, str):
        raise DataError(f"text is {text!r}", path, line, expected="a text", action="fix the line")
    first, last, name = files.entity_keys
    for item in cells.get("entities") or []:
        try:
            pieces = item["pieces"] if "pieces" in item else [[item[first], item[last]]]
            words = tuple(word for start, end in pieces for word in range(start, end + files.inclusive))
            kind = str(item[name])
        except (TypeError, ValueError, KeyError):
            raise DataError(f"cannot read its entity {str(item)[:60]}", path, line,
                            expected=f"{', '.join(files.entity_keys)}, or pieces and {name}",
                            action="set files.entity_keys in the config, or fix the line") from None  # fmt: skip
        if kind not in types:
            raise DataError(f"has an entity of the type {kind!r}{nearest(kind, types)}", path, line,
                            expected="one of `types`", action="add it to types in the config")  # fmt: skip
        if not words or list(words) != sorted(set(words)) or words[0] < 0 or words[-1] >= len(text):
            raise DataError(f"has an entity {str(item)[:60]}", path, line, expected=f"places inside the "
                            f"{len(text)} characters", action="fix the line, or set files.inclusive")  # fmt: skip
        found.append((words, kind))
    return sorted(set(found))


def entity_item(files: FilesConfig, name: str, tokens: Sequence[str], entities: Sequence[Entity]) -> dict[str, Any]:
    """A row as `read_entities` reads it."""
    first, last, kind_key = files.entity_keys
    items = []
    for words, kind in entities:
        starts = [word for word in words if word - 1 not in words]
        ends = [word + 1 - files.inclusive for word in words if word + 1 not in words]
        where = (
            {first: starts[0], last: ends[0]} if len(starts) == 1 else {"pieces": list(zip(starts, ends, strict=True))}
        )
        items.append(where | {kind_key: kind})
    own_id, text = str(files.columns.get("id", "id")), str(files.columns.get("text", "text"))
    return {own_id: name, text: "".join(tokens), str(files.columns.get("entities", "entities")): items}
