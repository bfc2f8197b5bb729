"""Relation classifiers as members: entities are given, every ordered pair of them gets its relations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, concatenate_datasets

from common.config import ConfigError, nearest
from common.members.neural import Judge
from common.text.labels import LabelScheme
from competitions.tasks.span_grid_members import SpanGridSettings
from competitions.tasks.tagging_members import TaggerMember


@dataclass
class RelationSettings(SpanGridSettings):
    """Pairs of entities -> a layer -> relations (models/relations.py).

    features: pooled (the maximum over an entity's words) or first (its first word). pair_size: of the layer. type_size:
    features of an entity's type, 0 for none.
    """

    features: str = "pooled"
    pair_size: int = 128
    type_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features not in (known := ("pooled", "first")):
            raise ConfigError(f"features is {self.features!r}{nearest(self.features, known)}")
        if self.pair_size < 1 or self.type_size < 0:
            raise ConfigError(f"pair_size and type_size are {self.pair_size} and {self.type_size}: expected above 0")


class RelationMember(TaggerMember):
    """Words and their entities in, the probability of each relation of each ordered pair out.

    scheme: the entity types. relations: their names. several: whether a pair may have several.
    """

    def __init__(self, settings: RelationSettings, scheme: LabelScheme, relations: Sequence[str], several: bool,
                 seed: int, judge: Judge) -> None:  # fmt: skip
        super().__init__(settings, scheme, seed, judge)
        self.relations, self.several = list(relations), several

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        table, owners = super().features(rows, labelled)
        kinds = {kind: place for place, kind in enumerate(self.scheme.types)}
        spans, types = [], []
        for owner in owners.tolist():
            own = [rows["spans"].iloc[owner[0]][place] for place in self._inside(rows, *owner)]
            # One row of padding tells the collator how wide the entities of a window without any would be.
            spans.append(np.array([(a - owner[1], b - owner[1]) for a, b, _ in own] or [(-1, -1)], dtype=np.int64))
            types.append(np.array([kinds[kind] for *_, kind in own] or [-1], dtype=np.int64))
        extra = Dataset.from_dict({"entity_spans": spans, "entity_types": types})
        return concatenate_datasets([table, extra], axis=1), owners

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        names, columns = {name: place for place, name in enumerate(self.relations)}, []
        for owner in owners:
            place = {number: own for own, number in enumerate(self._inside(rows, *owner))}
            found = [(place[head], place[tail], names[name]) for head, tail, name in rows["relations"].iloc[owner[0]]
                     if head in place and tail in place]  # fmt: skip
            columns.append(np.array(found or [(-1, -1, -1)], dtype=np.int64))
        return {"relation_labels": columns}

    def _inside(self, rows: pd.DataFrame, row: int, first: int, stop: int) -> list[int]:
        """Which of a row's entities lie inside a window."""
        spans = rows["spans"].iloc[row]
        return [place for place, (start, end, _) in enumerate(spans) if first <= start and end <= stop]

    def head(self) -> tuple[type, dict[str, Any]]:
        from models.relations import RelationClassifier

        own, words = self.settings, self.word_settings()
        words["types"] = words["types"] if own.type_size else []
        extra = {"relations": self.relations, "several": self.several, "features": own.features,
                 "pair_size": own.pair_size, "type_size": own.type_size}  # fmt: skip
        return RelationClassifier, extra | words

    def text_key(self) -> tuple[Any, ...]:
        # The rows' entities are part of the features, and their types have numbers by the scheme.
        return ("relations", *self.scheme.types, *super().text_key())

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        return list(model.probabilities(**batch).float().cpu().numpy())

    def collect(self, outputs: list[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
        """(entities * entities, relations) of each row; no relation where no window holds both entities."""
        count = len(self.relations)
        grids = [np.zeros((len(spans), len(spans), count), dtype=np.float32) for spans in rows["spans"]]
        for owner, values in zip(owners.tolist(), outputs, strict=True):
            own = np.array(self._inside(rows, *owner), dtype=np.int64)
            places = np.ix_(own, own)
            grids[owner[0]][places] = np.maximum(grids[owner[0]][places], values[: len(own), : len(own)])
        return [grid.reshape(-1, count) for grid in grids]
