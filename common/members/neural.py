"""A member that is a torch model: text to features, features to batches, the Trainer, and back to probabilities."""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, concatenate_datasets
from torch import nn
from transformers import set_seed
from transformers.utils import logging

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.files import write_json
from common.training.arguments import TrainingConfig, training_arguments
from common.training.batching import Collator
from common.training.feature_tables import feature_table
from common.training.layers import reinitialise
from common.training.losses import TEACHER
from common.training.prepared_text import PreparedText, SharedText
from common.training.trainer import FoldTrainer, Pause, measure_step, predict_rows
from common.training.tricks import LossConfig

Judge = Callable[[pd.DataFrame, Scores], dict[str, float]]


class NeuralMember(ABC):
    """Trains a head on an encoder. A task says how text becomes features and outputs become scores.

    distributed: under torchrun its fit is run by every process, on its share of the batches.
    training: how to train. seed: of weights, data order and dropout. judge: the contest's metric of (rows, scores).
    """

    distributed = True
    pause_after: float | None = None  # share of the steps after which `fit` stops, to go on at another call

    def __init__(self, training: TrainingConfig, seed: int, judge: Judge) -> None:
        self.training, self.seed, self.judge = training, seed, judge
        self.model: nn.Module | None = None
        self._shared: SharedText | None = None

    @abstractmethod
    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[Any], folder: Path) -> None:
        """Learns what turns text into numbers from training rows and unlabelled text, and saves it in `folder`."""

    def check(self) -> None:  # noqa: B027
        """Raises ConfigError for what can be seen to be wrong before any training, such as an absent encoder."""

    @abstractmethod
    def restore_text(self, folder: Path) -> None:
        """Loads what `fit_text` saved."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A new model, its head not trained yet."""

    @abstractmethod
    def load_model(self, folder: Path) -> nn.Module:
        """The model that was saved in `folder`."""

    @abstractmethod
    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        """The feature table of rows, with a column `length` in tokens, and which row each feature belongs to."""

    def text_key(self) -> Hashable:
        """All that decides the features of unlabelled rows; members of equal keys share them. None: never shared."""
        return None

    def feature_key(self) -> str | None:
        """A fingerprint of all but the rows that decides the features, labels included. None: never kept on disk."""
        return None

    def share_text(self, shared: SharedText) -> None:
        """Takes features from there. shared: belongs to one table of rows, the only one that is scored from now on."""
        self._shared = shared

    def teacher_labels(self, said: np.ndarray, owner: Any) -> np.ndarray:
        """A teacher's scores of a row, (units, outputs), as a distribution of the model for one feature of the row.

        owner: as `features` gave it. Raises ConfigError for a model whose distributions are others than its scores.
        """
        raise self._untaught()

    def check_teacher(self) -> None:
        """Raises ConfigError where `teacher_labels` would, before anything is trained."""
        if type(self).teacher_labels is NeuralMember.teacher_labels:
            raise self._untaught()

    def _untaught(self) -> ConfigError:
        return ConfigError(f"{type(self).__name__} learns from no teacher's distributions: leave it out with "
                           f"use=[...], or set teacher.share=0 and teacher.pseudo=hard")  # fmt: skip

    @abstractmethod
    def collator(self) -> Collator:
        """Pads the features."""

    @abstractmethod
    def prepared(self, rows: pd.DataFrame) -> Any:
        """The text of rows as `scores_by` reads it, made once for as many models as share it."""

    @abstractmethod
    def scores_by(self, model: nn.Module, rows: pd.DataFrame, text: Any) -> np.ndarray | list[np.ndarray]:
        """A model's probabilities of rows, see Member. text: what `prepared` gave for them."""

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        """Trains, keeps the best or the last epoch, and saves it; resumes from a checkpoint in `folder`.

        With `pause_after` it may return before its end, with the held-out score so far as "paused".
        """
        _quiet()
        set_seed(self.seed)
        weight_seed, order_seed = self.training.seeds_of(self.seed)
        arguments = training_arguments(self.training, folder / "checkpoints", order_seed)
        first = arguments.process_index == 0
        # The first process makes vocabulary and vectors, the others read them.
        with arguments.main_process_first(desc="vocabulary"):
            self.fit_text(train, unlabelled, folder)
        table, owners = feature_table(train, True, self.features, self.feature_key())
        collator, training = self.collator(), self.training
        if "teacher" in train:
            said = Dataset.from_dict({TEACHER: _of_teacher(self, train, owners)})
            table = concatenate_datasets([table, said], axis=1)
            collator.padding[TEACHER], training = 0.0, replace(training, loss=training.loss or LossConfig())
        set_seed(weight_seed)
        model = self.build_model()
        if self.training.layers:
            reinitialise(model, self.training.layers.reinitialise)
        held_text = self.prepared(held_out)

        def evaluate(model: nn.Module) -> dict[str, float]:
            scores = self.scores_by(model, held_out, held_text)
            return self.judge(held_out, Scores.of(held_out["id"].tolist(), scores))

        trainer = trainer_class(training)(model, training, arguments, table, collator, evaluate)
        if self.pause_after:
            trainer.add_callback(pause := Pause(self.pause_after))
        arguments.distributed_state.wait_for_everyone()
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
        if self.pause_after and pause.score is not None:
            return {"paused": pause.score}
        if first:
            trainer.model.save_pretrained(folder / "model")
            write_json(folder / "history.json", trainer.state.log_history)
            # Read back, so that scores now and those of `predict` later come from one model in one precision.
            self.model = self.load_model(folder / "model").to(arguments.device).eval()
        arguments.distributed_state.wait_for_everyone()
        if first:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return {"steps": trainer.state.global_step, "best": trainer.state.best_metric}

    def estimate(self, sample: pd.DataFrame, rows: float, folder: Path) -> tuple[float, int]:
        """Seconds and bytes that a fit on `rows` rows like those of `sample` would take, from a few steps of it.

        The bytes are those of the model that stays; its checkpoint takes three times as much more while it is trained.
        folder: for what `fit_text` writes; its contents may be thrown away.
        """
        _quiet()
        self.fit_text(sample, (), folder)
        table, _ = self.features(sample, labelled=True)
        model = self.build_model().to("cuda" if torch.cuda.is_available() else "cpu")
        step = self.step_seconds(model, table)
        batches = rows * len(table) / len(sample) / self.training.batch_size
        if self.training.batch_tokens:
            batches = rows * sum(table["length"]) / len(sample) / self.training.batch_tokens
        steps = self.training.max_steps * self.training.accumulation or self.training.epochs * batches
        # An epoch ends with a forward pass, a third of a step, over the held-out fold: a quarter of the rows for five.
        return step * steps * 1.1, 4 * sum(parameter.numel() for parameter in model.parameters())

    def step_seconds(self, model: nn.Module, table: Dataset) -> float:
        """How long a training step takes. table: features of some rows."""
        return measure_step(model, table, self.collator(), self.training)

    def scores(self, rows: pd.DataFrame) -> np.ndarray | list[np.ndarray]:
        """Probabilities of rows; see Member."""
        shared = self._shared or SharedText()
        return self.scores_by(self.model, rows, shared.get(self.text_key(), lambda: self.prepared(rows)))

    def restore(self, folder: Path) -> "NeuralMember":
        """Loads what `fit` saved."""
        _quiet()
        self.restore_text(folder)
        self.model = self.load_model(folder / "model").to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return self


class FeatureMember(NeuralMember):
    """A member whose features go through the model batch by batch. A task says what becomes of the outputs."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> list[Any]:
        """One output for each feature of a batch, off the device."""

    @abstractmethod
    def collect(self, outputs: list[Any], owners: np.ndarray, rows: pd.DataFrame) -> np.ndarray | list[np.ndarray]:
        """Scores of the rows from the outputs of their features."""

    def prepared(self, rows: pd.DataFrame) -> PreparedText:
        table, owners = feature_table(rows, False, self.features, self.feature_key())
        return PreparedText(table, self.collator(), owners)

    def scores_by(self, model: nn.Module, rows: pd.DataFrame, text: PreparedText) -> np.ndarray | list[np.ndarray]:
        outputs = predict_rows(model, text, self.forward, self.training.predict_precision or "fp32")
        return self.collect(outputs, text.owners, rows)


def _of_teacher(member: NeuralMember, train: pd.DataFrame, owners: np.ndarray) -> list[np.ndarray]:
    """For each feature its teacher's distribution times the share that it has in the label; zeros where it has none."""
    said, shares, labels = train["teacher"].tolist(), train["teacher_share"].tolist(), []
    some = next(value for value in said if value is not None)
    for owner in owners:
        row = int(np.ravel(owner)[0])
        if said[row] is None:
            # Zeros have no length of their own: as many units as the row has, in a row of the same kind.
            length = np.ravel(owner)[-1] if np.ndim(owner) else len(some)
            labels.append(member.teacher_labels(np.zeros((length, some.shape[1]), np.float32), owner) * 0.0)
        else:
            labels.append(member.teacher_labels(said[row], owner) * np.float32(shares[row]))
    return labels


def trainer_class(training: TrainingConfig) -> type[FoldTrainer]:
    """The plain Trainer, so that a run without tricks has nothing of them in its way, or the one with tricks."""
    if not training.uses_tricks:
        return FoldTrainer
    from common.training.trick_trainer import TrickTrainer

    return TrickTrainer


def _quiet() -> None:
    """Keeps transformers' bars and remarks about single files out of the log of a run with dozens of models."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes()))
    except ValueError:
        return False


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was completely written; trainer_state.json is what the Trainer writes last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    newest = max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)
    return None if newest is None else os.fspath(newest)
