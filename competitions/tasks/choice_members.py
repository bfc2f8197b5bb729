"""Members that choose among a question's candidates: an encoder with a choice head, and the lexical matcher."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.members.lexical_matcher import LexicalMatcher
from common.members.neural import Judge
from common.text.ragged import lengths_of
from competitions.tasks.choice_rows import candidates
from competitions.tasks.text_members import TextCollator, TextMember, TextSettings


@dataclass
class ChoiceSettings(TextSettings):
    """A chooser (see TextSettings): question and candidate, then the passage, in one sequence for each candidate.

    max_length: tokens of such a sequence. Question and candidate are short: what is cut is the passage.
    """


class ChoiceCollator:
    """Rows of flat candidates to (batch, choices, length); what a row has fewer of is padding, masked as a whole.

    padding: the value of each column of tokens.
    """

    def __init__(self, padding: Mapping[str, int]) -> None:
        self.padding, self.flat = dict(padding), TextCollator(padding)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [np.asarray(row["lengths"]) for row in rows]
        names = [name for name in rows[0] if name in self.padding]
        cut = [{name: np.split(np.asarray(row[name]), np.cumsum(own)[:-1]) for name in names}
               for row, own in zip(rows, lengths, strict=True)]  # fmt: skip
        each = [{name: own[name][place] for name in names} for own in cut for place in range(len(own[names[0]]))]
        batch = self.flat(each)
        counts = torch.tensor([len(own) for own in lengths])
        present = torch.arange(int(counts.max())) < counts[:, None]
        out = {}
        for name, values in batch.items():
            table = values.new_full((*present.shape, values.shape[1]), self.padding.get(name, 0))
            table[present] = values
            out[name] = table
        if "labels" in rows[0]:
            out["labels"] = torch.tensor([row["labels"] for row in rows])
        return out


class ChoiceMember(TextMember):
    """Questions in, the probability of each of their candidates out."""

    text_columns = ("source", "target")

    def __init__(self, settings: ChoiceSettings, seed: int, judge: Judge) -> None:
        super().__init__(settings, seed, judge, pairs=True)

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[str], folder: Path) -> None:
        super().fit_text(candidates(train), unlabelled, folder)

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        table, counts = candidates(rows), rows["choices"].map(len).to_numpy(np.int64)
        flat = self.encoded(table["source"].tolist(), table["target"].tolist(), labelled)
        ends, lengths = np.cumsum(counts), lengths_of(flat["input_ids"])
        own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        columns: dict[str, Any] = {
            name: [np.concatenate(values[part]) for part in own] for name, values in flat.items()
        }
        columns["lengths"] = [lengths[part] for part in own]
        columns["length"] = lengths_of(columns["input_ids"])
        if labelled:
            columns["labels"] = rows["label"].to_numpy(np.int64)
        return Dataset.from_dict(columns), np.arange(len(rows))

    def collator(self) -> ChoiceCollator:
        return ChoiceCollator({"input_ids": self.text.tokenizer.pad_token_id or 0, "token_type_ids": 0})

    def build_model(self) -> torch.nn.Module:
        from models.classifiers import ChoiceClassifier

        own = self.settings
        return self.with_idf(ChoiceClassifier.from_encoder(
            self.text.build_encoder(), pooling=own.pooling, dropout=own.dropout,
            multi_sample_dropout=own.multi_sample_dropout,
        ))  # fmt: skip

    def load_model(self, folder: Path) -> torch.nn.Module:
        from models.classifiers import ChoiceClassifier

        return ChoiceClassifier.from_pretrained(folder)

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        return list(model.probabilities(**batch).float().cpu().numpy())

    def collect(self, outputs: Sequence[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
        """(candidates, 1) of each row."""
        return [own[: len(choices), None] for own, choices in zip(outputs, rows["choices"], strict=True)]


class ChoiceLexicalMatcher(LexicalMatcher):
    """The lexical matcher on candidates, each with its question against the passage; a question's sum to one."""

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame | None, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        return super().fit(candidates(train), None, unlabelled, folder)

    def scores(self, rows: pd.DataFrame) -> list[np.ndarray]:
        """(candidates, 1) of each row."""
        values = super().scores(candidates(rows))
        ends = np.cumsum(rows["choices"].map(len).to_numpy(np.int64))
        return [(own / own.sum())[:, None] for own in np.split(values, ends[:-1])] if len(rows) else []
