"""Classifiers as members: an encoder with a classification head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.cache import fingerprint
from common.config import ConfigError
from common.members.neural import Judge
from common.text.ragged import lengths_of
from common.training.feature_tables import table_of
from competitions.tasks.text_members import TextMember, TextSettings


@dataclass
class ClassifierSettings(TextSettings):
    """A classifier of one text or a pair (see TextSettings). ordinal: the classes are grades, from low to high."""

    ordinal: bool = False


class ClassifierMember(TextMember):
    """Texts or pairs in, probabilities of their classes out.

    classes: their names. several: whether a row has any number of them, else one. pair: whether rows have `text_b`.
    """

    def __init__(
        self, settings: ClassifierSettings, classes: Sequence[str], several: bool, pair: bool, seed: int, judge: Judge
    ) -> None:
        if settings.ordinal and several:
            raise ConfigError("ordinal=true is for one grade a text: expected ordinal=false where labels are several")
        super().__init__(settings, seed, judge, pairs=pair)
        self.classes, self.several = list(classes), several
        self.text_columns = ("text", "text_b") if pair else ("text",)

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        texts = [rows[column].tolist() for column in self.text_columns]
        columns: dict[str, Any] = self.encoded(texts[0], texts[1] if len(texts) > 1 else None, labelled)
        columns["length"] = lengths_of(columns["input_ids"])
        if labelled:
            columns["labels"] = self._labels(rows["label"])
        return table_of(columns), np.arange(len(rows))

    def feature_key(self) -> str:
        return f"{super().feature_key()}{fingerprint(self.classes, self.several)}"

    def _labels(self, labels: pd.Series) -> Any:
        if not self.several:
            return labels.map({name: place for place, name in enumerate(self.classes)}).to_numpy(np.int64)
        return [[float(name in own) for name in self.classes] for own in labels]

    def teacher_labels(self, said: np.ndarray, owner: Any) -> np.ndarray:
        return np.concatenate([1 - said, said], axis=1) if self.several else said[0]

    def collator(self) -> Any:
        collator = super().collator()
        collator.padding["labels"] = 0.0  # of several labels; each row has as many, so that nothing is padded
        return collator

    def head(self) -> tuple[type, dict[str, Any]]:
        """The head on the encoder, and its settings."""
        from models.classifiers import Classifier

        own = self.settings
        kind = "ordinal" if own.ordinal else "multi_label" if self.several else "single_label"
        return Classifier, {"classes": self.classes, "kind": kind, "pooling": own.pooling, "dropout": own.dropout,
                            "multi_sample_dropout": own.multi_sample_dropout}  # fmt: skip

    def build_model(self) -> torch.nn.Module:
        kind, settings = self.head()
        return self.with_idf(kind.from_encoder(self.text.build_encoder(), **settings))

    def load_model(self, folder: Path) -> torch.nn.Module:
        from models.classifiers import Classifier

        return Classifier.from_pretrained(folder)

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        return list(model.probabilities(**batch).float().cpu().numpy())

    def collect(self, outputs: list[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
        """(rows, 1, classes), or for several labels (rows, classes, 1)."""
        values = np.array(outputs, dtype=np.float32).reshape(len(rows), len(self.classes))
        return values[:, :, None] if self.several else values[:, None]
