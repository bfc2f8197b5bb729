"""Matchers as members: a neural cross-encoder or bi-encoder, and the lexical one."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.config import ConfigError, nearest
from common.members.lexical_matcher import LexicalMatcher
from common.members.neural import Judge
from common.text.ragged import lengths_of
from common.training.feature_tables import table_of
from competitions.tasks.text_members import TextMember, TextSettings


@dataclass
class MatcherSettings(TextSettings):
    """A matcher: a text encoder (see TextSettings) with one logit.

    task_handling: conditional_norm (the subtask conditions every layer norm; one classifier), classifier_per_task, both
    or none. condition_size: features of the subtask's embedding. max_length: tokens of a pair (cross-encoder) or of
    each text (bi-encoder).
    """

    interaction: ClassVar[str]
    task_handling: str = "conditional_norm"
    condition_size: int = 128

    def __post_init__(self) -> None:
        from models.matchers import TASK_HANDLINGS

        if self.task_handling not in TASK_HANDLINGS:
            raise ConfigError(f"task_handling is {self.task_handling!r}{nearest(self.task_handling, TASK_HANDLINGS)}")
        super().__post_init__()


@dataclass
class CrossEncoderSettings(MatcherSettings):
    """Both texts in one sequence."""

    interaction = "cross_encoder"


@dataclass
class BiEncoderSettings(MatcherSettings):
    """Each text by itself, compared as [u; v; |u - v|; u * v]."""

    interaction = "bi_encoder"


class MatcherMember(TextMember):
    """Pairs in, probabilities of a match out.

    tasks: how many subtasks the contest has, whether or not the rows hold all of them.
    """

    text_columns = ("source", "target")

    def __init__(self, settings: MatcherSettings, tasks: int, seed: int, judge: Judge) -> None:
        super().__init__(settings, seed, judge, pairs=settings.interaction == "cross_encoder")
        self.tasks = tasks

    # Features

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        sources, targets = rows["source"].tolist(), rows["target"].tolist()
        columns: dict[str, Any] = {}
        # What is cut is said for the training rows alone: what is scored later is cut in the same way.
        if self.settings.interaction == "cross_encoder":
            columns |= self.encoded(sources, targets, labelled)
        else:
            for suffix, texts in (("_a", sources), ("_b", targets)):
                columns[f"input_ids{suffix}"] = self.encoded(texts, None, labelled)["input_ids"]
        ids = [lengths_of(values) for name, values in columns.items() if name.startswith("input_ids")]
        columns |= {"task": rows["task"].to_numpy(np.int64), "length": np.sum(ids, axis=0)}
        if labelled:
            columns["labels"] = rows["label"].to_numpy(np.int64)
        return table_of(columns), np.arange(len(rows))

    def teacher_labels(self, said: np.ndarray, owner: Any) -> np.ndarray:
        return np.concatenate([1 - said[0], said[0]])

    # Model

    def build_model(self) -> torch.nn.Module:
        own = self.settings
        return self.with_idf(_model_class(own).from_encoder(
            self.text.build_encoder(), tasks=self.tasks, task_handling=own.task_handling, pooling=own.pooling,
            condition_size=own.condition_size, dropout=own.dropout, multi_sample_dropout=own.multi_sample_dropout,
        ))  # fmt: skip

    def load_model(self, folder: Path) -> torch.nn.Module:
        return _model_class(self.settings).from_pretrained(folder)

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[float]:
        return model.probabilities(**batch).float().cpu().tolist()

    def collect(self, outputs: list[float], owners: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
        return np.array(outputs, dtype=np.float32)


class PairLexicalMatcher(LexicalMatcher):
    """The lexical matcher on rows that may hold a pair and its mirror image.

    Its features are the same for both, so a mirrored row would only make it count the pair twice.
    """

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame | None, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        return super().fit(without_mirrored(train), held_out, unlabelled, folder)


def without_mirrored(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without those whose pair stands, the other way round, under the same subtask and label above them."""
    seen: set[tuple] = set()
    keep = []
    for source, target, task, label in zip(rows["source"], rows["target"], rows["task"], rows["label"], strict=True):
        keep.append((target, source, task, label) not in seen or source == target)
        seen.add((source, target, task, label))
    return rows[keep].reset_index(drop=True)


def _model_class(settings: MatcherSettings) -> type:
    from models.matchers import BiEncoder, CrossEncoder

    return CrossEncoder if settings.interaction == "cross_encoder" else BiEncoder
