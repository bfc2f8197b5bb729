"""Readers as members: an encoder that says where an answer starts and where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.config import ConfigError
from common.members.neural import Judge
from common.text.ragged import lengths_of
from common.text.reading_windows import ReadingWindows, reading_windows
from common.text.shared_ngrams import shared_ngrams
from common.text.tokenization import Encoding, WholeWordTokenizer
from common.training.arguments import TrainingConfig
from common.training.batching import Collator
from common.training.feature_tables import feature_table, table_of
from common.training.prepared_text import PreparedText
from common.training.trainer import predict_rows
from competitions.tasks.text_members import TextCollator, TextMember
from competitions.tasks.text_settings import EncoderConfig

IGNORED = -100


@dataclass
class ReaderSettings(EncoderConfig):
    """A reader: question and passage -> encoder -> start and end.

    max_length: tokens of a window; longer passages become windows that share `overlap` tokens. max_question: tokens of
    a question. dropout, multi_sample_dropout: of the head. shared_ngrams: a new encoder is told which n-grams up to
    this length question and passage share; 0: not.
    """

    max_length: int = 512
    overlap: int = 128
    max_question: int = 64
    dropout: float = 0.1
    multi_sample_dropout: int = 1
    shared_ngrams: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)


class ReadingText(PreparedText):
    """Windows as padded batches, and the passage of each row as tokens, which maps answers back to characters."""

    def __init__(self, rows: Dataset, collator: Collator, owners: np.ndarray, passages: list[Encoding]) -> None:
        super().__init__(rows, collator, owners)
        self.passages = passages


class ReaderMember(TextMember):
    """Questions and passages in; of each character that the answer starts, and that it ends there, out."""

    text_columns = ("question", "passage")

    def __init__(self, settings: ReaderSettings, seed: int, judge: Judge) -> None:
        super().__init__(settings, seed, judge, pairs=True)
        self._read: dict[str, Encoding] | None = None  # passages that `features` tokenized, while they are collected

    def text_key(self) -> tuple[Any, ...]:
        own = self.settings
        return ("reading", min(own.max_length, self.text.positions()), own.overlap, own.max_question, self.marks,
                self.text.key())  # fmt: skip

    def prepared(self, rows: pd.DataFrame) -> ReadingText:
        """The windows, and the passages that they were cut from, each tokenized once."""
        self._read = {}
        try:
            table, owners = feature_table(rows, False, self.features, self.feature_key())
            known = self._read
        finally:
            self._read = None
        # Features from the cache were made without a look at the passages.
        if texts := [text for text in dict.fromkeys(rows["passage"]) if text not in known]:
            known |= dict(zip(texts, WholeWordTokenizer(self.text.tokenizer).encode_many(texts), strict=True))
        return ReadingText(table, self.collator(), owners, [known[text] for text in rows["passage"]])

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        own = self.settings
        try:
            found = reading_windows(WholeWordTokenizer(self.text.tokenizer), rows["question"].tolist(),
                                    rows["passage"].tolist(), min(own.max_length, self.text.positions()), own.overlap,
                                    own.max_question)  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self._read is not None:
            self._read |= dict(zip(rows["passage"], found.passages, strict=True))
        columns: dict[str, Any] = dict(found.columns)
        del columns["attention_mask"]  # the collator makes it
        if self.marks:
            sides, special = columns["token_type_ids"], self.text.tokenizer.all_special_ids
            shared = shared_ngrams(columns["input_ids"], sides, special, self.marks)
            columns["token_type_ids"] = [side + 2 * own for side, own in zip(sides, shared, strict=True)]
        columns["length"] = lengths_of(columns["input_ids"])
        if labelled:
            columns |= self._labels(found, rows)
        return table_of(columns), found.owners

    def _labels(self, found: ReadingWindows, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Where the first answer stands; rows whose answer is not a part of the passage teach nothing."""
        places = list(zip(rows["start"].tolist(), rows["answers"].tolist(), strict=True))
        labels = found.labels([(start, start + len(answers[0])) if start >= 0 else None for start, answers in places])
        lost = np.array([start < 0 and bool(len(answers)) for start, answers in places])[found.owners[:, 0]]
        return {name: np.where(lost, IGNORED, own) for name, own in labels.items()}

    def collator(self) -> Collator:
        padding = self.text.tokenizer.pad_token_id or 0
        return TextCollator({"input_ids": padding, "token_type_ids": 0, "passage_mask": 0})

    def build_model(self) -> torch.nn.Module:
        from models.reading import Reader

        own = self.settings
        return Reader.from_encoder(
            self.text.build_encoder(), dropout=own.dropout, multi_sample_dropout=own.multi_sample_dropout
        )

    def load_model(self, folder: Path) -> torch.nn.Module:
        from models.reading import Reader

        return Reader.from_pretrained(folder)

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        logits = model(**batch).logits.float().cpu().numpy()
        return [own[:length] for own, length in zip(logits, batch["attention_mask"].sum(1).tolist(), strict=True)]

    def scores_by(self, model: torch.nn.Module, rows: pd.DataFrame, text: ReadingText) -> list[np.ndarray]:
        outputs = predict_rows(model, text, self.forward, self.training.predict_precision or "fp32")
        return self._characters(outputs, text.owners, text.passages)

    def collect(self, outputs: Sequence[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
        """(1 + characters, 2) of each row: no answer, then its characters."""
        texts = list(dict.fromkeys(rows["passage"]))
        known = dict(zip(texts, WholeWordTokenizer(self.text.tokenizer).encode_many(texts), strict=True))
        return self._characters(outputs, owners, [known[text] for text in rows["passage"]])

    @staticmethod
    def _characters(outputs: Sequence[np.ndarray], owners: np.ndarray, passages: list[Encoding]) -> list[np.ndarray]:
        return ReadingWindows({}, owners, passages).character_scores(outputs)
