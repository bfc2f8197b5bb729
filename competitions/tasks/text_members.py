"""What neural members that read whole texts or pairs share: settings, vocabulary, token ids and padding."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.cache import of_texts, of_values
from common.config import ConfigError, nearest
from common.logs import log
from common.members.neural import FeatureMember, Judge
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
class TextSettings(EncoderConfig):
    """An encoder of texts: encoder -> pooling -> [multi-sample dropout] -> a head.

    pooling: cls, mean, max, attention, idf or last_four. dropout, multi_sample_dropout: of the head. max_length: tokens
    of what is read at once, never more than the encoder takes. truncation: longest_first, head_tail, balanced or
    matching (of pairs, the sentences that share most); head_share: of a cut text, what head_tail keeps from its head.
    shared_ngrams: an encoder of pairs is told, as token types, how long an n-gram of the other text each token is part
    of, up to this length; 0 turns it off. A pretrained encoder gets new token types for it: its own two, with a mark.
    """

    pooling: str = "cls"
    dropout: float = 0.1
    multi_sample_dropout: int = 1
    max_length: int = 512
    truncation: str = "balanced"
    head_share: float = 0.5
    shared_ngrams: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        from models.pooling import KINDS

        for key, allowed in (("pooling", KINDS), ("truncation", STRATEGIES)):
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"{key} is {value!r}{nearest(value, allowed)}")
        if self.max_length < LEAST_LENGTH:
            raise ConfigError(f"max_length is {self.max_length}: expected at least {LEAST_LENGTH} tokens")


class TextCollator(Collator):
    """Pads texts and adds the attention masks, which the features need not carry: they follow from the lengths."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = super().__call__(rows)
        for key in [key for key in batch if key.startswith("input_ids")]:
            lengths = torch.from_numpy(lengths_of([row[key] for row in rows]))
            mask = torch.arange(batch[key].shape[1]) < lengths[:, None]
            batch[key.replace("input_ids", "attention_mask")] = mask.long()
        return batch


class TextMember(FeatureMember):
    """A member that reads the texts in `text_columns` of its rows.

    settings: see TextSettings. pairs: whether both texts of a row go into one sequence.
    """

    text_columns: tuple[str, ...]

    def __init__(self, settings: TextSettings, seed: int, judge: Judge, pairs: bool) -> None:
        super().__init__(settings.training, seed, judge)
        self.marks = settings.shared_ngrams if pairs else 0
        types = 2 * (self.marks + 1) if self.marks else 0
        if self.marks and not settings.encoder:
            settings = replace(settings, architecture={**settings.architecture, "type_vocab_size": types})
        self.settings = settings
        self.text = EncoderText(settings, character_tokenizer, types)
        self.idf: torch.Tensor | None = None

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[str], folder: Path) -> None:
        # Augmented rows repeat texts, which must not make a rare character look frequent.
        own = list(dict.fromkeys(text for column in self.text_columns for text in train[column]))

        def texts() -> Iterator[str]:
            yield from own
            yield from unlabelled

        self.text.fit(texts, self._ids, folder, self.seed, lambda: of_values([own, of_texts(unlabelled)]))
        if getattr(self.settings, "pooling", "") == "idf":
            self.idf = inverse_document_frequency(self._ids(texts()), len(self.text.tokenizer))

    def check(self) -> None:
        self.text.check()

    def restore_text(self, folder: Path) -> None:
        self.text.restore(folder)

    def _ids(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Token ids of each text, special tokens included, nothing cut; a chunk of texts at a time."""
        for chunk in in_chunks(texts, CHUNK):
            yield from encode_texts(self.text.tokenizer, chunk, UNCUT)["input_ids"]

    def encoded(self, texts: Sequence[str], others: Sequence[str] | None, said: bool) -> dict[str, list[np.ndarray]]:
        """input_ids, and token_type_ids of pairs, of each text or pair. said: whether to log what is cut."""
        own, cut = self.settings, TruncationCount()
        limit = (min(own.max_length, self.text.positions()), own.truncation, own.head_share, cut)
        if others is None:
            columns = encode_texts(self.text.tokenizer, texts, *limit)
        else:
            columns = encode_pairs(self.text.tokenizer, texts, others, *limit)
            if self.marks:
                sides, special = columns["token_type_ids"], self.text.tokenizer.all_special_ids
                shared = shared_ngrams(columns["input_ids"], sides, special, self.marks)
                columns["token_type_ids"] = [own + 2 * found for own, found in zip(sides, shared, strict=True)]
        if said and cut.cut_texts:
            log.info(f"  max_length={limit[0]}: {cut}")
        return columns

    def text_key(self) -> tuple[Any, ...]:
        own = self.settings
        limit = min(own.max_length, self.text.positions())
        reads = (getattr(own, "interaction", ""), self.text_columns)
        return (*reads, limit, own.truncation, own.head_share, self.marks, self.text.key())

    def feature_key(self) -> str:
        return self.text.feature_key(type(self).__qualname__, self.text_columns, self.marks)

    def collator(self) -> Collator:
        padding = self.text.tokenizer.pad_token_id or 0
        return TextCollator({"input_ids": padding, "input_ids_a": padding, "input_ids_b": padding, "token_type_ids": 0})

    def with_idf(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, its pooling told how rare each token is where it asks for that."""
        if self.idf is not None:
            # A checkpoint may have more embeddings than its tokenizer has entries; those never occur.
            weights = model.pooling.token_idf.new_zeros(len(model.pooling.token_idf))
            weights[: len(self.idf)] = self.idf
            model.pooling.set_idf(weights)
        return model


def inverse_document_frequency(texts: Iterable[np.ndarray], vocabulary: int) -> torch.Tensor:
    """How rare each token is: log((1 + texts) / (1 + texts with the token)), so 0 for what is in every text.

    texts: token ids of each text. vocabulary: number of ids. Returns float32 (vocabulary,).
    """
    counts, total = np.zeros(vocabulary), 0
    for ids in texts:
        counts[np.unique(ids)] += 1
        total += 1
    return torch.from_numpy(np.log((1 + total) / (1 + counts))).float()
