"""Several tasks with one encoder as one member: each task's own member reads its rows for its head."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, concatenate_datasets

from common.config import ConfigError
from common.members.neural import Judge, NeuralMember
from common.text.truncation import encode_texts
from common.text.vocabulary import character_tokenizer
from common.training.arguments import TrainingConfig
from common.training.batching import Collator
from common.training.prepared_text import PreparedText
from common.training.trainer import measure_step
from competitions.tasks.text_settings import EncoderConfig, EncoderText, in_chunks

SHARED = ("encoder", "architecture", "min_frequency", "word_vectors", "training")
CHUNK, UNCUT = 1024, 1_000_000


@dataclass
class MultiTaskSettings(EncoderConfig):
    """One encoder, and for each task a head.

    tasks: of each task by its name what differs from the defaults of its kind's member (max_length, dropout, pooling,
    head, ...); `kind`, where another of the task's members is wanted (tagger, span_pointers, global_pointer, ...);
    `weight`, by which its loss is multiplied (1).
    condition_size: features of a task's embedding that conditions every layer norm of the encoder; 0 for none.
    training: of all tasks together; task_temperature in it says how often small ones are drawn.
    """

    tasks: dict[str, Any] = field(default_factory=dict)
    condition_size: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.condition_size < 0:
            raise ConfigError(f"condition_size is {self.condition_size}: expected 0 or more")
        for name, own in self.tasks.items():
            if common := [key for key in SHARED if key in (own or {})]:
                raise ConfigError(f"tasks.{name}.{common[0]}: all tasks share it; give it beside tasks, not in it")
            if not (own or {}).get("weight", 1.0) > 0:
                raise ConfigError(f"tasks.{name}.weight is {own['weight']}: expected a number above 0")


class MultiTaskMember(NeuralMember):
    """Rows of several tasks in, each task's probabilities out.

    members: each task's own member by the task's name, which reads its rows; their encoders are never made. rows_of:
    the rows of a table that are of a task: their places, and a table as that task's contest reads it. outputs: of each
    task the numbers that a unit of its scores has; all scores are as wide as the widest.
    """

    distributed = False  # a step leaves the heads of the other tasks alone, which data parallel training refuses

    def __init__(self, settings: MultiTaskSettings, members: Mapping[str, Any], rows_of: Any,
                 outputs: Mapping[str, int], seed: int, judge: Judge) -> None:  # fmt: skip
        super().__init__(settings.training, seed, judge)
        self.members, self.rows_of, self.outputs = dict(members), rows_of, dict(outputs)
        types = max(2 * (getattr(own, "marks", 0) + 1) if getattr(own, "marks", 0) else 0 for own in members.values())
        if types and not settings.encoder:
            settings = replace(settings, architecture={**settings.architecture, "type_vocab_size": types})
        self.settings = settings
        self.text = EncoderText(settings, character_tokenizer, types)
        for name, own in self.members.items():
            own.text = self.text
            if getattr(own.settings, "pooling", "") == "idf":
                raise ConfigError(f"tasks.{name}.pooling=idf: with several tasks expected another pooling")

    # Text

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[Any], folder: Path) -> None:
        own = [text for name in self.members for text in self._texts(name, train)]

        def texts() -> Iterator[str]:
            yield from dict.fromkeys(own)
            yield from (text if isinstance(text, str) else "".join(text) for text in unlabelled)

        def ids(source: Iterable[str]) -> Iterator[np.ndarray]:
            for chunk in in_chunks(source, CHUNK):
                yield from encode_texts(self.text.tokenizer, chunk, UNCUT)["input_ids"]

        self.text.fit(texts, ids, folder, self.seed)

    def _texts(self, name: str, train: pd.DataFrame) -> Iterator[str]:
        rows = self.rows_of(train, name)[1]
        for column in getattr(self.members[name], "text_columns", ("tokens",)):
            yield from (text if isinstance(text, str) else "".join(text) for text in rows.get(column, ()))

    def check(self) -> None:
        self.text.check()

    def restore_text(self, folder: Path) -> None:
        self.text.restore(folder)

    # Features

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        """One table for all tasks: each task's columns under its name, empty in the rows of the others."""
        tables, owners = [], []
        for number, (name, member) in enumerate(self.members.items()):
            places, own = self.rows_of(rows, name)
            if not len(own):
                continue
            table, of_rows = member.features(own, labelled)
            kept = {column: f"{name}.{column}" for column in table.column_names if column != "length"}
            tables.append(table.rename_columns(kept).add_column("batch_task", [number] * len(table)))
            owners.append(places[of_rows if of_rows.ndim == 1 else of_rows[:, 0]])
        return concatenate_datasets(tables), np.concatenate(owners)

    def collator(self) -> "TaskCollator":
        return TaskCollator({name: member.collator() for name, member in self.members.items()})

    def step_seconds(self, model: torch.nn.Module, table: Dataset) -> float:
        numbers, seconds = np.asarray(table["batch_task"]), 0.0
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            own = table.select(places)
            seconds += measure_step(model, own, self.collator(), self.training) * len(places) / len(numbers)
        return seconds

    # Model

    def build_model(self) -> torch.nn.Module:
        from models.multi_task import MultiTask

        heads = {}
        for name, member in self.members.items():
            kind, settings = member.head()
            weight = (self.settings.tasks.get(name) or {}).get("weight", 1.0)
            heads[name] = {"class": f"{kind.__module__.removeprefix('models.')}.{kind.__name__}", "weight": weight}
            heads[name] |= settings
        encoder = self.text.build_encoder()
        return MultiTask.from_encoder(encoder, tasks=heads, condition_size=self.settings.condition_size)

    def load_model(self, folder: Path) -> torch.nn.Module:
        from models.multi_task import MultiTask

        return MultiTask.from_pretrained(folder)

    # Scores: each task's rows by its own member, which sees the model as its head

    def prepared(self, rows: pd.DataFrame) -> dict[str, PreparedText]:
        own = {name: self.rows_of(rows, name)[1] for name in self.members}
        return {name: self.members[name].prepared(table) for name, table in own.items() if len(table)}

    def scores_by(self, model: torch.nn.Module, rows: pd.DataFrame, text: dict[str, PreparedText]) -> list[np.ndarray]:
        from models.multi_task import OneTask

        width, found = max(self.outputs.values()), [np.zeros((0, 0))] * len(rows)
        for name, prepared in text.items():
            places, own = self.rows_of(rows, name)
            scores = self.members[name].scores_by(OneTask(model, name), own, prepared)
            for place, values in zip(places, scores, strict=True):
                found[place] = np.pad(values, ((0, 0), (0, width - values.shape[1])))
        return found


class TaskCollator(Collator):
    """Pads the rows of a batch, which are of one task, as that task's own collator does."""

    def __init__(self, collators: Mapping[str, Collator]) -> None:
        super().__init__({})
        self.collators = dict(collators)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        number = rows[0]["batch_task"]
        name = list(self.collators)[number]
        own = [{key.removeprefix(f"{name}."): value for key, value in row.items() if key.startswith(f"{name}.")}
               for row in rows]  # fmt: skip
        return self.collators[name](own) | {"task": torch.full((len(rows),), number)}
