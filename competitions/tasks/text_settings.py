"""Settings that every neural member shares: where its encoder and its vocabulary come from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class WordVectorConfig:
    """Word vectors that a new embedding starts from, trained on the contest's own text.

    epochs: passes; 0 starts from random embeddings. window: words to either side. min_count: rarer words get none.
    """

    epochs: int = 0
    window: int = 5
    min_count: int = 2


@dataclass
class EncoderConfig:
    """An encoder and its vocabulary.

    encoder: a hub id or a local folder; empty for a new one by `architecture`, whose vocabulary is made from the training
    folds and the contest's unlabelled text. architecture: model_type ("recurrent", "bert", ...) and its settings.
    min_frequency: of a token in a new vocabulary. word_vectors: what its embeddings start from.
    """

    encoder: str = ""
    architecture: dict[str, Any] = field(default_factory=lambda: {"model_type": "recurrent"})
    min_frequency: int = 2
    word_vectors: WordVectorConfig = field(default_factory=WordVectorConfig)


class EncoderText:
    """The tokenizer and word vectors of one unit.

    config: where they come from. make: builds a tokenizer from token lists and a minimum frequency.
    """

    def __init__(self, config: EncoderConfig, make: Callable[[Iterable[Any], int], Any]) -> None:
        self.config, self.make = config, make
        self.tokenizer: Any = None
        self.matrix: np.ndarray | None = None

    def fit(self, texts: Callable[[], Iterable[Any]], words: Callable[[Any], Iterable[list[str]]], folder: Path,
            seed: int) -> None:  # fmt: skip
        """Makes or loads the tokenizer, trains word vectors where asked, and saves both.

        texts: gives the texts anew at each call. words: the sentences of those texts as lists of vocabulary words.
        """
        from safetensors.numpy import load_file, save_file

        if self.config.encoder:
            self.tokenizer = load_tokenizer(self.config.encoder)
            self.tokenizer.save_pretrained(folder / "tokenizer")
            return
        self.tokenizer = self.make(texts(), self.config.min_frequency)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        vectors, saved = self.config.word_vectors, folder / "word_vectors.safetensors"
        if not vectors.epochs:
            return
        if not saved.exists():
            from common.files import atomic_path
            from common.text.word_vectors import embedding_matrix, train_word_vectors

            size = self.config.architecture.get("embedding_size") or self.config.architecture.get("hidden_size")
            trained = train_word_vectors(_Again(lambda: words(texts())), size=size, epochs=vectors.epochs,
                                         window=vectors.window, min_count=vectors.min_count, seed=seed)  # fmt: skip
            matrix = embedding_matrix(self.tokenizer.get_vocab(), trained, padding=self.tokenizer.pad_token_id, seed=seed)
            with atomic_path(saved) as draft:
                save_file({"vectors": matrix}, draft)
        self.matrix = load_file(saved)["vectors"]

    def restore(self, folder: Path) -> None:
        """Loads the tokenizer that `fit` saved."""
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

    def positions(self) -> int:
        """The longest input that the encoder takes, in tokens."""
        from models.encoders import longest_input

        return longest_input(self.config.encoder or self.config.architecture)

    def build_encoder(self) -> Any:
        """The pretrained encoder, or a new one with as many embeddings as the vocabulary has entries."""
        import torch

        from models.encoders import encoder_from_config, load_encoder

        if self.config.encoder:
            return load_encoder(self.config.encoder)
        encoder = encoder_from_config({**self.config.architecture, "vocab_size": len(self.tokenizer),
                                       "pad_token_id": self.tokenizer.pad_token_id})  # fmt: skip
        if self.matrix is not None:
            with torch.no_grad():
                encoder.get_input_embeddings().weight.copy_(torch.from_numpy(self.matrix))
        return encoder


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a hub id or folder. Raises ConfigError when there is none."""
    from transformers import AutoTokenizer

    from common.config import ConfigError

    try:
        return AutoTokenizer.from_pretrained(name, use_fast=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"encoder={name} has no tokenizer that can be loaded ({str(error).strip().splitlines()[0]}): expected a hub id, "
            f"or a folder with tokenizer.json or vocab.txt beside config.json"
        ) from None


class _Again:
    """An iterable that can be read as often as needed without being held."""

    def __init__(self, source: Callable[[], Iterable[Any]]) -> None:
        self.source = source

    def __iter__(self):
        return iter(self.source())
