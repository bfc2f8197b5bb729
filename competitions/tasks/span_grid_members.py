"""Heads that score every span as members: GlobalPointer and the biaffine classifier."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.config import ConfigError
from common.members.neural import NeuralMember
from common.training.arguments import TrainingConfig
from competitions.tasks.tagging_members import TaggerMember, check_recurrent_size
from competitions.tasks.text_settings import EncoderConfig


@dataclass
class SpanGridSettings(EncoderConfig):
    """What both heads share.

    max_length, overlap, recurrent_size, dropout, multi_sample_dropout, layer_norm: as for a tagger.
    """

    max_length: int = 512
    overlap: int = 64
    recurrent_size: int = 0
    dropout: float = 0.3
    multi_sample_dropout: int = 1
    layer_norm: bool = False
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_recurrent_size(self.recurrent_size)


@dataclass
class GlobalPointerSettings(SpanGridSettings):
    """An inner product of its first and last word scores every span.

    head_size: features of the inner product. efficient: one for all types. rotary: positions turn the features.
    """

    head_size: int = 64
    efficient: bool = True
    rotary: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_size < 2 or self.head_size % 2:
            raise ConfigError(f"head_size is {self.head_size}: expected an even number above 0")


@dataclass
class BiaffineSettings(SpanGridSettings):
    """A biaffine form of its first and last word classifies every span.

    span_size: features of a word as first and as last word.
    """

    span_size: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.span_size < 1:
            raise ConfigError(f"span_size is {self.span_size}: expected a number above 0")


class SpanGridMember(TaggerMember):
    """Every span's score, turned into tag probabilities so that they blend with taggers."""

    teacher_labels = NeuralMember.teacher_labels  # its distributions are of spans

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        kinds = {kind: place for place, kind in enumerate(self.scheme.types)}
        spans_of, columns = rows["spans"].tolist(), []
        for row, first, stop in owners:
            own = [
                (start - first, end - first, kinds[kind])
                for start, end, kind in spans_of[row]
                if first <= start and end <= stop
            ]
            # One row of padding tells the collator how wide the entities of a line without any would be.
            columns.append(np.array(own or [(-1, -1, -1)], dtype=np.int64))
        return {"span_labels": columns}

    def head(self) -> tuple[type, dict[str, Any]]:
        from models.biaffine import BiaffineTagger
        from models.global_pointer import GlobalPointer

        own = self.settings
        if isinstance(own, GlobalPointerSettings):
            extra = {"head_size": own.head_size, "efficient": own.efficient, "rotary": own.rotary}
            return GlobalPointer, extra | self.word_settings()
        return BiaffineTagger, {"span_size": own.span_size} | self.word_settings()

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, ...]]:
        from models.span_grids import grid_tag_probabilities

        values = grid_tag_probabilities(model(**batch).logits, self.scheme).cpu().numpy()
        lengths = (batch["word_positions"] >= 0).sum(1).tolist()
        return [(values[row, :length],) for row, length in enumerate(lengths)]
