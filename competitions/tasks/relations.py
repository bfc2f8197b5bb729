"""Contests that find the relations between entities that are known, such as those that an entity contest predicted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError
from common.contest import Member, RunConfig
from common.ensembling.scores import Scores
from common.files import DataError, write_lines
from common.text.labels import LabelScheme
from competitions.tasks.entity_sets import Entity, entity_item, read_entities
from competitions.tasks.set_contests import SetConfig, SetContest
from competitions.tasks.tables import read_cells

Relation = tuple[tuple[int, int, str], tuple[int, int, str], str]  # head and tail (start, end, type), and its name
KEYS = ("head", "tail", "type")


@dataclass
class RelationConfig(SetConfig):
    """relations: their names. several: whether a pair of entities may have several of them, or one at most."""

    relations: list[str] = field(default_factory=list)
    several: bool = False


class RelationContest(SetContest):
    """Rows have tokens, spans (start, end, type) and, when labelled, relations: (place of its head in spans, of its
    tail, name).

    Files are JSON lines: {"text", "entities": [{start, end, type}], "relations": [{"head", "tail", "type"}]}, head and
    tail being places in entities, from 0; a test file has the entities, so what a --task span contest submits is one.
    Scores of a text with n entities have n * n units, [head, tail], with an output a relation.
    """

    config_class: ClassVar[type[RunConfig]] = RelationConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "tokens", "spans")

    def __init__(self, config: RelationConfig) -> None:
        from competitions.tasks.relation_members import RelationSettings

        try:
            self.scheme = LabelScheme(tuple(config.types))
            LabelScheme(tuple(config.relations))
        except ValueError as error:
            raise ConfigError(f"types or relations: {error}") from None
        self.member_kinds = {"relations": RelationSettings}
        super().__init__(config)

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.relation_members import RelationMember

        own = self.config
        return RelationMember(self.settings[name], self.scheme, list(own.relations), own.several, seed, self.judge)

    # Files

    def read(self, path: Path, labelled: bool) -> pd.DataFrame:
        wanted = ("text", "entities", "relations") if labelled else ("text", "entities")
        files, types, rows = self.config.files, self.config.types, []
        for line, cells in read_cells(path, files, wanted, not labelled):
            # In their own order, which relations count by.
            entities = [read_entities(path, line, cells | {"entities": [item]}, files, types)[0]
                        for item in cells["entities"]]  # fmt: skip
            spans = [(words[0], words[-1] + 1, kind) for words, kind in entities]
            relations = self._relations(path, line, cells.get("relations") or [], len(spans))
            rows.append((cells["id"], list(cells["text"]), spans, relations))
        return pd.DataFrame(rows, columns=["id", "tokens", "spans", "relations"])

    def _relations(self, path: Path, line: int, items: list[Any], entities: int) -> list[tuple[int, int, str]]:
        found = []
        for item in items:
            try:
                head, tail, name = int(item["head"]), int(item["tail"]), str(item["type"])
            except (TypeError, ValueError, KeyError):
                raise DataError(f"cannot read its relation {str(item)[:60]}", path, line,
                                expected=", ".join(KEYS), action="fix the line") from None  # fmt: skip
            if name not in self.config.relations:
                raise DataError(f"has the relation {name!r}", path, line, expected="one of `relations`",
                                action="add it to relations in the config")  # fmt: skip
            if head == tail or not (0 <= head < entities and 0 <= tail < entities):
                raise DataError(f"has a relation from {head} to {tail}", path, line, expected=f"places of two of its "
                                f"{entities} entities, from 0", action="fix the line")  # fmt: skip
            found.append((head, tail, name))
        return sorted(set(found))

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[list[Relation]]) -> None:
        """The texts with their entities and relations in the training file's format."""
        lines, key = [], str(self.config.files.columns.get("relations", "relations"))
        for name, tokens, spans, found in zip(rows["id"], rows["tokens"], rows["spans"], predictions, strict=True):
            entities: list[Entity] = [(tuple(range(start, end)), kind) for start, end, kind in spans]
            place = {tuple(span): number for number, span in enumerate(spans)}
            items = [dict(zip(KEYS, (place[head], place[tail], own), strict=True)) for head, tail, own in found]
            item = entity_item(self.config.files, name, tokens, entities) | {key: items}
            lines.append(json.dumps(item, ensure_ascii=False))
        write_lines(path, lines)

    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        rows = self.read(path, labelled=True)
        return rows["id"].tolist(), self.gold(rows)

    # Scores

    def sizes(self, rows: pd.DataFrame) -> np.ndarray:
        return rows["spans"].map(len).to_numpy(np.int64)

    def units(self, row_lengths: np.ndarray) -> np.ndarray:
        return row_lengths**2

    def gold(self, rows: pd.DataFrame) -> list[list[Relation]]:
        return [[(tuple(spans[head]), tuple(spans[tail]), name) for head, tail, name in own]
                for spans, own in zip(rows["spans"], rows["relations"], strict=True)]  # fmt: skip

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[list[Relation]]:
        found, names, limit = [], list(self.config.relations), decision.get("threshold", 0.5)
        for place, spans in enumerate(rows["spans"]):
            grid = scores.row(place).reshape(len(spans), len(spans), len(names))
            taken = grid >= limit
            if not self.config.several and len(spans):
                taken &= grid >= grid.max(axis=-1, keepdims=True)
            found.append([(tuple(spans[head]), tuple(spans[tail]), names[kind]) for head, tail, kind in
                          zip(*np.nonzero(taken), strict=True)])  # fmt: skip
        return found
