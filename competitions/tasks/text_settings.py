"""Settings that every neural member shares: where its encoder and its vocabulary come from."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.cache import code_version, fingerprint, kept
from common.config import ConfigError
from common.files import atomic_path

CODE = ("common/text", "competitions/tasks")


@dataclass
class WordVectorConfig:
    """Word vectors that a new embedding starts from, trained on the contest's own text.

    epochs: passes; 0 starts from random embeddings. window: tokens to either side. min_count: rarer tokens get none.
    """

    epochs: int = 0
    window: int = 5
    min_count: int = 2


@dataclass
class FeatureUse:
    """A pretrained encoder that stays as it is, under a BiLSTM that learns (models/feature_encoder.py).

    layers: how many of its last layers are read, side by side. hidden_size: of the BiLSTM, both directions together;
    recurrent_layers: how many stand on each other. dropout: of the features, between the LSTMs and of the output.
    """

    layers: int = 4
    hidden_size: int = 768
    recurrent_layers: int = 2
    dropout: float = 0.1


@dataclass
class EncoderConfig:
    """An encoder and its vocabulary.

    encoder: a hub id or a local folder; empty for a new one by `architecture`, whose vocabulary is made from the
    training folds and the contest's unlabelled text. architecture: model_type ("recurrent", "bert", ...) and its
    settings.
    min_frequency: of a token in a new vocabulary, and of a pair of neighbours that gets a bigram embedding.
    word_vectors: what new embeddings start from.
    frozen: a pretrained encoder stays as it is and is read by a BiLSTM; unset, all of it learns.
    """

    encoder: str = ""
    architecture: dict[str, Any] = field(default_factory=lambda: {"model_type": "recurrent"})
    min_frequency: int = 2
    word_vectors: WordVectorConfig = field(default_factory=WordVectorConfig)
    frozen: FeatureUse | None = None


class EncoderText:
    """The vocabulary of one unit: its tokenizer, and what a new encoder's embeddings are made from.

    config: where they come from. make: builds a tokenizer from texts and a minimum frequency. token_types: that a
    pretrained encoder has to have room for; an encoder that knows none takes no notice of them.
    """

    def __init__(self, config: EncoderConfig, make: Callable[[Iterable[Any], int], Any], token_types: int = 0) -> None:
        self.config, self.make, self.token_types = config, make, token_types
        self.tokenizer: Any = None
        self.matrix: np.ndarray | None = None
        self.bigrams: np.ndarray | None = None

    def fit(self, texts: Callable[[], Iterable[Any]], ids: Callable[[Iterable[Any]], Iterable[np.ndarray]],
            folder: Path, seed: int, content: Callable[[], str] | None = None) -> None:  # fmt: skip
        """Makes or loads the tokenizer, counts bigrams and trains word vectors where asked, and saves them in `folder`.

        texts: gives the training and unlabelled texts anew at each call. ids: their token ids, special tokens included,
        by `self.tokenizer`. What an earlier, interrupted call saved is taken as it is. content: a fingerprint of the
        texts, by which the process's cache keeps what is made of them.
        """
        if content and not self.config.encoder and not (folder / "tokenizer").exists():
            own = (self.config.architecture, self.config.min_frequency, asdict(self.config.word_vectors), seed)

            def key() -> str:
                return fingerprint(own, self.make.__qualname__, content(), code_version(*CODE))

            def make(draft: Path) -> None:
                self._fit(texts, ids, draft, seed)

            kept("vocabulary", key, make, lambda entry: _copied(entry, folder))
        self._fit(texts, ids, folder, seed)

    def _fit(self, texts: Callable[[], Iterable[Any]], ids: Callable[[Iterable[Any]], Iterable[np.ndarray]],
             folder: Path, seed: int) -> None:  # fmt: skip
        saved = folder / "tokenizer"
        if saved.exists():
            self.restore(folder)
        else:
            name = self.config.encoder
            self.tokenizer = load_tokenizer(name) if name else self.make(texts(), self.config.min_frequency)
            with atomic_path(saved) as draft:
                self.tokenizer.save_pretrained(draft)
        if self.config.encoder:
            return
        if self.config.architecture.get("bigram_size"):
            self.bigrams = _kept(folder / "bigrams.safetensors", lambda: self._count_bigrams(ids(texts())))
        if self.config.word_vectors.epochs:
            self.matrix = _kept(
                folder / "word_vectors.safetensors", lambda: self._train_vectors(_Again(lambda: ids(texts())), seed)
            )

    def restore(self, folder: Path) -> None:
        """Loads the tokenizer that `fit` saved."""
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

    def check(self) -> None:
        """Raises ConfigError when there is no such encoder, or no tokenizer with it."""
        if self.config.frozen and not self.config.encoder:
            raise ConfigError("frozen is for a pretrained encoder: expected encoder=, or no frozen")
        self.positions()
        if self.config.encoder:
            load_tokenizer(self.config.encoder)

    def key(self) -> str:
        """A fingerprint of what turns text into ids: equal for tokenizers of equal content, wherever they stand."""
        content = [self.tokenizer.backend_tokenizer.to_str(), str(self.tokenizer.special_tokens_map)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def feature_key(self, *parts: Any) -> str:
        """A fingerprint of a member's features: its settings but for how it is trained, its vocabulary, and `parts`."""
        settings = {name: value for name, value in asdict(self.config).items() if name != "training"}
        # The kind of settings too: a cross-encoder's and a bi-encoder's may hold the same values.
        return fingerprint(type(self.config).__qualname__, settings, self.key(), self.positions(), *parts)

    def positions(self) -> int:
        """The longest input that the encoder takes, in tokens."""
        from models.encoders import longest_input

        try:
            return longest_input(self.config.encoder or self._own_architecture())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._where()}: {error}") from None

    def build_encoder(self) -> Any:
        """The pretrained encoder, or a new one with as many embeddings as the vocabulary has entries.

        Raises ConfigError when it cannot be loaded or made.
        """
        from models.encoders import MARK_SCALE, encoder_from_config, load_encoder, widen_token_types

        try:
            if self.config.encoder:
                encoder = load_encoder(self.config.encoder)
                widen_token_types(encoder, self.token_types, 0.0 if self.config.frozen else MARK_SCALE)
                return self._frozen(encoder) if self.config.frozen else encoder
            encoder = encoder_from_config(self._architecture())
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self._where()}: {error}") from None
        if self.bigrams is not None:
            encoder.load_bigrams(_tensor(self.bigrams))
        if self.matrix is not None:
            self._start_embeddings(encoder)
        return encoder

    def _where(self) -> str:
        return f"encoder={self.config.encoder}" if self.config.encoder else "architecture"

    def _frozen(self, encoder: Any) -> Any:
        from models.feature_encoder import FeatureEncoder

        return FeatureEncoder.from_encoder(encoder, **asdict(self.config.frozen))

    def _own_architecture(self) -> dict[str, Any]:
        """The settings of a new encoder, without those that only the default's recurrent one has."""
        from models.encoders import check_architecture
        from models.recurrent import RecurrentConfig

        recurrent = RecurrentConfig().to_dict()
        given = self.config.architecture
        return check_architecture(given, {key: value for key, value in given.items() if key in recurrent})

    def _architecture(self) -> dict[str, Any]:
        settings = {
            **self._own_architecture(),
            "vocab_size": len(self.tokenizer),
            "pad_token_id": self.tokenizer.pad_token_id,
        }
        if settings.get("model_type") == "recurrent":
            settings["unk_token_id"] = self.tokenizer.unk_token_id
        if self.bigrams is not None:
            settings["bigrams"] = len(self.bigrams)
        return settings

    def _count_bigrams(self, ids: Iterable[np.ndarray]) -> np.ndarray:
        from common.text.bigrams import frequent_bigrams

        return frequent_bigrams(ids, len(self.tokenizer), self.config.min_frequency)

    def _train_vectors(self, ids: Iterable[np.ndarray], seed: int) -> np.ndarray:
        from common.text.word_vectors import embedding_matrix, train_word_vectors

        own, settings = self.config.word_vectors, self.config.architecture
        size = settings.get("embedding_size") or settings.get("hidden_size")
        if not size:
            raise ConfigError("word_vectors need architecture.embedding_size (or hidden_size): how long a vector is")
        words = {str(number): number for number in self.tokenizer.get_vocab().values()}
        vectors = train_word_vectors(
            _Again(lambda: (row.astype(str).tolist() for row in ids)),
            size=size, epochs=own.epochs, window=own.window, min_count=own.min_count, seed=seed,
        )  # fmt: skip
        spread = settings.get("initializer_range", 0.1)
        return embedding_matrix(words, vectors, padding=self.tokenizer.pad_token_id, seed=seed, spread=spread)

    def _start_embeddings(self, encoder: Any) -> None:
        import torch

        if hasattr(encoder, "load_word_vectors"):
            encoder.load_word_vectors(_tensor(self.matrix))
            return
        with torch.no_grad():
            encoder.get_input_embeddings().weight.copy_(_tensor(self.matrix))


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a hub id or folder. Raises ConfigError when there is none."""
    from transformers import AutoTokenizer

    from models.encoders import located

    try:
        tokenizer = AutoTokenizer.from_pretrained(located(name))
    except (OSError, ValueError) as error:
        why = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"encoder={name} has no tokenizer that can be loaded ({why}): expected a hub id, "
            f"or a folder with tokenizer.json or vocab.txt beside config.json"
        ) from None
    if not tokenizer.is_fast:
        raise ConfigError(f"encoder={name} has only a slow tokenizer: expected one with a tokenizer.json")
    return tokenizer


def in_chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last one shorter: what lets a tokenizer work on many at once without holding all."""
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _copied(entry: Path, folder: Path) -> None:
    """Puts what a vocabulary is made of into a unit's folder, the tokenizer last: with it all is there."""
    for source in sorted(entry.iterdir(), key=lambda path: path.name == "tokenizer"):
        if source.is_dir() or source.suffix == ".safetensors":
            with atomic_path(folder / source.name) as draft:
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, draft)


def _tensor(values: np.ndarray):
    import torch

    return torch.from_numpy(values)


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that is made once and then read from its file."""
    from safetensors.numpy import load_file, save_file

    if not path.exists():
        with atomic_path(path) as draft:
            save_file({"values": make()}, draft)
    return load_file(path)["values"]


class _Again:
    """An iterable that can be read as often as needed without being held."""

    def __init__(self, source: Callable[[], Iterable[Any]]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return iter(self.source())
