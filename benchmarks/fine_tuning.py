"""An encoder fine-tuned on one task: the kit's own members, trained for a fixed number of epochs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed
from transformers.utils import logging

from benchmarks.baselines import spans_of
from benchmarks.tasks import Recipe, Task
from common.members.neural import FeatureMember, NeuralMember, trainer_class
from common.text.labels import LabelScheme
from common.text.truncation import TruncationCount, encode_pairs, encode_texts
from common.training.arguments import TrainingConfig, training_arguments
from common.training.batching import Collator
from common.training.layers import reinitialise
from common.training.trainer import FoldTrainer
from competitions.tasks.matching_members import CrossEncoderSettings, MatcherMember
from competitions.tasks.tagging_members import TaggerMember, TaggerSettings
from competitions.tasks.text_members import TextCollator
from competitions.tasks.text_settings import EncoderConfig, EncoderText, load_tokenizer
from models.classifiers import Classifier
from models.encoders import encoder_from_config, load_encoder, load_encoder_config, widen_token_types

DROPOUT = 0.1


def predict(
    task: Task,
    names: tuple[str, ...],
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    folder: Path,
    encoder: str,
    pretrained: bool,
    seed: int,
) -> list[Any]:
    """Fine-tunes on `train` and predicts `held_out`, which has no part in the training.

    names: classes or entity types. folder: for what training leaves behind. encoder: hub id or folder. pretrained: with
    its weights, or only its architecture. seed: of weights, order and dropout. Predictions as `tasks.score` reads them.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    member = build_member(task, names, StartText(encoder, pretrained), seed)
    fit(member, train, folder)
    scores = member.scores(held_out)
    if task.kind == "tagging":
        return spans_of(scores, member.scheme)
    if task.kind == "matching":
        return (scores if task.metric == "f1" else (scores >= 0.5).astype(int)).tolist()
    return scores.argmax(1).tolist()


def fit(member: NeuralMember, train: pd.DataFrame, folder: Path) -> FoldTrainer:
    """Trains the member's model for all its epochs and keeps the last: nothing is chosen by any score.

    member: its text is settled. folder: for what training leaves behind. Returns the trainer, for what it measured.
    """
    weight_seed, order_seed = member.training.seeds_of(member.seed)
    set_seed(member.seed)
    table, _ = member.features(train, labelled=True)
    set_seed(weight_seed)
    arguments = training_arguments(member.training, folder / "checkpoints", order_seed)
    arguments.eval_strategy = arguments.save_strategy = "no"
    arguments.load_best_model_at_end = False
    arguments.logging_strategy = "no"
    model = member.build_model()
    if member.training.layers:
        reinitialise(model, member.training.layers.reinitialise)
    kind = trainer_class(member.training)
    trainer = kind(model, member.training, arguments, table, member.collator(), lambda _: {})
    trainer.train()
    member.model = trainer.model.eval()
    return trainer


def build_member(task: Task, names: tuple[str, ...], text: "StartText", seed: int) -> NeuralMember:
    """The member for a task, its text settled and its model not built yet."""
    recipe, training = task.recipe, training_of(task.recipe)
    member: NeuralMember
    if task.kind == "tagging":
        settings = TaggerSettings(max_length=recipe.max_length, dropout=DROPOUT, training=training)
        member = TaggerMember(settings, LabelScheme(names, "BIOES"), seed, _no_judge)
    elif task.kind == "matching":
        settings = CrossEncoderSettings(
            max_length=recipe.max_length, task_handling="none", pooling=recipe.pooling,
            shared_ngrams=recipe.shared_ngrams, encoder=text.config.encoder, training=training,
        )  # fmt: skip
        member = MatcherMember(settings, 1, seed, _no_judge)
    else:
        member = ClassifierMember(recipe, names, task.kind == "inference", seed)
    if hasattr(member, "text"):
        text.token_types = member.text.token_types
    member.text = text
    return member


def training_of(recipe: Recipe) -> TrainingConfig:
    """The kit's training settings of a recipe."""
    return TrainingConfig(
        epochs=recipe.epochs, batch_size=recipe.batch_size, learning_rate=recipe.learning_rate,
        head_learning_rate=recipe.head_learning_rate, keep="last",
    )  # fmt: skip


class StartText(EncoderText):
    """An encoder with its tokenizer, with trained or with random weights.

    encoder: hub id or folder; random weights need no more of it than config.json and the tokenizer.
    """

    def __init__(self, encoder: str, pretrained: bool) -> None:
        super().__init__(EncoderConfig(encoder=encoder), lambda *_: None)
        self.pretrained, self.tokenizer = pretrained, load_tokenizer(encoder)

    def build_encoder(self) -> PreTrainedModel:
        name = self.config.encoder
        dropout = dropout_of(name)
        if self.pretrained:
            encoder = load_encoder(name, **dropout)
        else:
            encoder = encoder_from_config(load_encoder_config(name, dtype=torch.float32, **dropout))
        widen_token_types(encoder, self.token_types)
        if not torch.cuda.is_available():
            # On short rows a CPU is half as fast again without the fused kernel.
            encoder.set_attn_implementation("eager")
        return encoder


def dropout_of(encoder: str) -> dict[str, float]:
    """Dropout for fine-tuning: an encoder may have been pretrained, and saved, with none."""
    config = load_encoder_config(encoder)
    fields = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    return {field: DROPOUT for field in fields if hasattr(config, field)}


class ClassifierMember(FeatureMember):
    """Texts in, probabilities of their classes out.

    classes: their names. pairs: two texts a row (source, target), or one (source).
    """

    text: StartText

    def __init__(self, recipe: Recipe, classes: tuple[str, ...], pairs: bool, seed: int) -> None:
        super().__init__(training_of(recipe), seed, _no_judge)
        self.recipe, self.classes, self.pairs = recipe, classes, pairs

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[Any], folder: Path) -> None:
        """The tokenizer is the encoder's: there is nothing to learn."""

    def restore_text(self, folder: Path) -> None:
        """As `fit_text`."""

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        length = min(self.recipe.max_length, self.text.positions())
        sides = [rows[side].tolist() for side in (("source", "target") if self.pairs else ("source",))]
        encode = encode_pairs if self.pairs else encode_texts
        cut = TruncationCount()
        columns: dict[str, Any] = encode(self.text.tokenizer, *sides, length, "head_tail", count=cut)
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        if labelled:
            columns["labels"] = rows["label"].to_numpy(np.int64)
        return Dataset.from_dict(columns), np.arange(len(rows))

    def collator(self) -> Collator:
        return TextCollator({"input_ids": self.text.tokenizer.pad_token_id or 0, "token_type_ids": 0})

    def build_model(self) -> Classifier:
        return Classifier.from_encoder(
            self.text.build_encoder(), classes=list(self.classes), pooling=self.recipe.pooling, dropout=DROPOUT
        )

    def load_model(self, folder: Path) -> Classifier:
        return Classifier.from_pretrained(folder)

    def forward(self, model: Classifier, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
        return list(model.probabilities(**batch).cpu().numpy())

    def collect(self, outputs: list[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
        return np.stack(outputs)


def _no_judge(rows: pd.DataFrame, scores: Any) -> dict[str, float]:
    return {}
