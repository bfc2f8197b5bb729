"""Heads on spans or on pairs of words as members whose scores keep entities that overlap or have gaps apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.config import ConfigError
from competitions.tasks.span_grid_members import SpanGridMember, SpanGridSettings
from competitions.tasks.tagging_members import TaggerMember


@dataclass
class WordPairSettings(SpanGridSettings):
    """A grid of word pairs (models/word_pairs.py).

    pair_size: features of a pair. distance_size: of the distance between its words. convolutions: dilations of the
    convolutions over the grid.
    """

    pair_size: int = 64
    distance_size: int = 16
    convolutions: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min([self.pair_size, self.distance_size, *self.convolutions]) < 1:
            raise ConfigError("pair_size, distance_size and every dilation of convolutions: expected at least 1")


class GridMember(TaggerMember):
    """Words in, for each text a grid of probabilities out, flattened: words * words units."""

    def _words_of(self, rows: pd.DataFrame, row: int, first: int, stop: int) -> list[tuple[list[int], int]]:
        """Entities of a row that lie inside a window, in its words, and their types' numbers."""
        kinds = {kind: place for place, kind in enumerate(self.scheme.types)}
        return [([word - first for word in words], kinds[kind]) for words, kind in rows["entities"].iloc[row]
                if first <= words[0] and words[-1] < stop]  # fmt: skip

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        values = model.probabilities(**batch).float().cpu().numpy()
        lengths = (batch["word_positions"] >= 0).sum(1).tolist()
        return [own[:length, :length] for own, length in zip(values, lengths, strict=True)]

    def collect(self, outputs: list[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
        """(words * words, outputs) of each row; where windows overlap, the higher of their probabilities."""
        if not len(rows):
            return []
        width = outputs[0].shape[-1]
        grids = [np.zeros((len(tokens), len(tokens), width), dtype=np.float32) for tokens in rows["tokens"]]
        for (row, first, stop), values in zip(owners.tolist(), outputs, strict=True):
            own = grids[row][first:stop, first:stop]
            np.maximum(own, values, out=own)
        return [grid.reshape(-1, width) for grid in grids]


class SpanSetMember(GridMember, SpanGridMember):
    """GlobalPointer or biaffine: of each span the probability of each type."""

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        own = [[(words[0], words[-1] + 1, kind) for words, kind in self._words_of(rows, *owner)] for owner in owners]
        # One row of padding tells the collator how wide the entities of a line without any would be.
        return {"span_labels": [np.array(spans or [(-1, -1, -1)], dtype=np.int64) for spans in own]}


class WordPairMember(GridMember):
    """Word pairs: whether one word is the next of another in an entity, and where entities of each type end."""

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        from models.word_pairs import word_pairs

        pairs = [word_pairs(self._words_of(rows, *owner)) for owner in owners]
        return {"pair_labels": [np.array(own or [(-1, -1, -1)], dtype=np.int64) for own in pairs]}

    def head(self) -> tuple[type, dict[str, Any]]:
        from models.word_pairs import WordPairTagger

        own = self.settings
        extra = {"pair_size": own.pair_size, "distance_size": own.distance_size, "convolutions": list(own.convolutions)}
        return WordPairTagger, extra | self.word_settings()
