"""Matchers as members: a neural cross-encoder or bi-encoder, and the lexical one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.config import ConfigError, nearest
from common.logs import log
from common.members.lexical_matcher import LexicalMatcher
from common.members.neural import Judge, NeuralMember
from common.text.ragged import lengths_of
from common.text.shared_ngrams import shared_ngrams
from common.text.truncation import STRATEGIES, TruncationCount, encode_pairs, encode_texts
from common.text.vocabulary import character_tokenizer
from common.training.arguments import TrainingConfig
from common.training.batching import Collator
from competitions.tasks.text_settings import EncoderConfig, EncoderText, in_chunks

UNCUT = 1_000_000
LEAST_LENGTH = 8  # special tokens and a few of each text
CHUNK = 1024


@dataclass
class MatcherSettings(EncoderConfig):
    """A matcher: encoder -> pooling -> [multi-sample dropout] -> one logit.

    task_handling: conditional_norm (the subtask conditions every layer norm; one classifier), classifier_per_task, both
    or none. condition_size: features of the subtask's embedding. pooling: cls, mean, max, attention, idf or last_four.
    dropout, multi_sample_dropout: of the classifier. max_length: tokens of a pair (cross-encoder) or of each text
    (bi-encoder); never more than the encoder takes. truncation: longest_first, head_tail or balanced; head_share: of a
    cut text, what head_tail keeps from its head.
    shared_ngrams: a cross-encoder is told, as token types, how long an n-gram of the other text each token is part of,
    up to this length; 0 turns it off. A pretrained encoder gets new token types for it, which start as its own two.
    """

    interaction: ClassVar[str]
    task_handling: str = "conditional_norm"
    condition_size: int = 128
    pooling: str = "cls"
    dropout: float = 0.1
    multi_sample_dropout: int = 1
    max_length: int = 512
    truncation: str = "balanced"
    head_share: float = 0.5
    shared_ngrams: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        from models.matchers import TASK_HANDLINGS
        from models.pooling import KINDS

        for key, allowed in (("task_handling", TASK_HANDLINGS), ("pooling", KINDS), ("truncation", STRATEGIES)):
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"{key} is {value!r}{nearest(value, allowed)}")
        if self.max_length < LEAST_LENGTH:
            raise ConfigError(f"max_length is {self.max_length}: expected at least {LEAST_LENGTH} tokens")


@dataclass
class CrossEncoderSettings(MatcherSettings):
    """Both texts in one sequence."""

    interaction = "cross_encoder"


@dataclass
class BiEncoderSettings(MatcherSettings):
    """Each text by itself, compared as [u; v; |u - v|; u * v]."""

    interaction = "bi_encoder"


class PairCollator(Collator):
    """Pads pairs and adds the attention masks, which the features need not carry: they follow from the lengths."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = super().__call__(rows)
        for key in [key for key in batch if key.startswith("input_ids")]:
            lengths = torch.from_numpy(lengths_of([row[key] for row in rows]))
            mask = torch.arange(batch[key].shape[1]) < lengths[:, None]
            batch[key.replace("input_ids", "attention_mask")] = mask.long()
        return batch


class MatcherMember(NeuralMember):
    """Pairs in, probabilities of a match out.

    tasks: how many subtasks the contest has, whether or not the rows hold all of them.
    """

    def __init__(self, settings: MatcherSettings, tasks: int, seed: int, judge: Judge) -> None:
        super().__init__(settings.training, seed, judge)
        self.marks = settings.shared_ngrams if settings.interaction == "cross_encoder" else 0
        types = 2 * (self.marks + 1) if self.marks else 0
        if self.marks and not settings.encoder:
            settings = replace(settings, architecture={**settings.architecture, "type_vocab_size": types})
        self.settings, self.tasks = settings, tasks
        self.text = EncoderText(settings, character_tokenizer, types)
        self.idf: torch.Tensor | None = None

    # Text

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[str], folder: Path) -> None:
        # Augmented rows repeat texts, which must not make a rare character look frequent.
        own = list(dict.fromkeys([*train["source"], *train["target"]]))

        def texts() -> Iterator[str]:
            yield from own
            yield from unlabelled

        self.text.fit(texts, self._ids, folder, self.seed)
        if self.settings.pooling == "idf":
            self.idf = inverse_document_frequency(self._ids(texts()), len(self.text.tokenizer))

    def check(self) -> None:
        self.text.check()

    def restore_text(self, folder: Path) -> None:
        self.text.restore(folder)

    def _ids(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Token ids of each text, special tokens included, nothing cut; a chunk of texts at a time."""
        for chunk in in_chunks(texts, CHUNK):
            yield from encode_texts(self.text.tokenizer, chunk, UNCUT)["input_ids"]

    # Features

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        own, cut = self.settings, TruncationCount()
        sources, targets = rows["source"].tolist(), rows["target"].tolist()
        limit = (min(own.max_length, self.text.positions()), own.truncation, own.head_share, cut)
        columns: dict[str, Any] = {}
        if own.interaction == "cross_encoder":
            columns |= encode_pairs(self.text.tokenizer, sources, targets, *limit)
            if self.marks:
                sides, special = columns["token_type_ids"], self.text.tokenizer.all_special_ids
                shared = shared_ngrams(columns["input_ids"], sides, special, self.marks)
                columns["token_type_ids"] = [own + 2 * found for own, found in zip(sides, shared, strict=True)]
        else:
            for suffix, texts in (("_a", sources), ("_b", targets)):
                columns[f"input_ids{suffix}"] = encode_texts(self.text.tokenizer, texts, *limit)["input_ids"]
        ids = [lengths_of(values) for name, values in columns.items() if name.startswith("input_ids")]
        columns |= {"task": rows["task"].to_numpy(np.int64), "length": np.sum(ids, axis=0)}
        if labelled:
            columns["labels"] = rows["label"].to_numpy(np.int64)
            # Said for the training rows alone: what is scored later is cut in the same way.
            if cut.cut_texts:
                log.info(f"  max_length={limit[0]}: {cut}")
        return Dataset.from_dict(columns), np.arange(len(rows))

    def text_key(self) -> tuple[Any, ...]:
        own = self.settings
        limit = min(own.max_length, self.text.positions())
        return ("pairs", own.interaction, limit, own.truncation, own.head_share, self.marks, self.text.key())

    def collator(self) -> Collator:
        padding = self.text.tokenizer.pad_token_id or 0
        return PairCollator({"input_ids": padding, "input_ids_a": padding, "input_ids_b": padding, "token_type_ids": 0})

    # Model

    def build_model(self) -> torch.nn.Module:
        own = self.settings
        model = _model_class(own).from_encoder(
            self.text.build_encoder(), tasks=self.tasks, task_handling=own.task_handling, pooling=own.pooling,
            condition_size=own.condition_size, dropout=own.dropout, multi_sample_dropout=own.multi_sample_dropout,
        )  # fmt: skip
        if self.idf is not None:
            # A checkpoint may have more embeddings than its tokenizer has entries; those never occur.
            weights = model.pooling.token_idf.new_zeros(len(model.pooling.token_idf))
            weights[: len(self.idf)] = self.idf
            model.pooling.set_idf(weights)
        return model

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


def inverse_document_frequency(texts: Iterable[np.ndarray], vocabulary: int) -> torch.Tensor:
    """How rare each token is: log((1 + texts) / (1 + texts with the token)), so 0 for what is in every text.

    texts: token ids of each text. vocabulary: number of ids. Returns float32 (vocabulary,).
    """
    counts, total = np.zeros(vocabulary), 0
    for ids in texts:
        counts[np.unique(ids)] += 1
        total += 1
    return torch.from_numpy(np.log((1 + total) / (1 + counts))).float()


def _model_class(settings: MatcherSettings) -> type:
    from models.matchers import BiEncoder, CrossEncoder

    return CrossEncoder if settings.interaction == "cross_encoder" else BiEncoder
