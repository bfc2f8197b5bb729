"""Neural taggers as members: a CRF or softmax over tags, or start and end pointers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from common.cache import of_texts, of_values
from common.config import ConfigError, nearest
from common.logs import log
from common.members.neural import FeatureMember, Judge, NeuralMember
from common.text.anonymised import anonymised_tokenizer
from common.text.labels import LabelScheme
from common.text.tokenization import WholeWordTokenizer
from common.text.windows import merge_windows, windows
from common.training.arguments import TrainingConfig
from common.training.batching import Collator
from common.training.feature_tables import table_of
from competitions.tasks.text_settings import EncoderConfig, EncoderText, in_chunks

IGNORED = -100
CHUNK = 10_000  # lines tokenized at once


@dataclass
class TaggerSettings(EncoderConfig):
    """A tagger: encoder -> [BiLSTM] -> [layer norm] -> [multi-sample dropout] -> CRF or softmax.

    max_length: tokens of a window; longer lines become windows that share `overlap` tokens, half a window at most.
    head: crf or softmax. recurrent_size: of a BiLSTM on the encoder, 0 for none. dropout, multi_sample_dropout,
    layer_norm: of the head.
    average: how folds and seeds are averaged: "marginals", or "crf" for emissions and transitions.
    """

    max_length: int = 512
    overlap: int = 64
    head: str = "crf"
    recurrent_size: int = 0
    dropout: float = 0.3
    multi_sample_dropout: int = 1
    layer_norm: bool = False
    average: str = "marginals"
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for key, allowed in (("head", ("crf", "softmax")), ("average", ("marginals", "crf"))):
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"{key} is {value!r}{nearest(value, allowed)}")
        if self.average == "crf" and self.head != "crf":
            raise ConfigError(f"average=crf averages CRFs: it needs head=crf, not head={self.head}")
        check_recurrent_size(self.recurrent_size)


@dataclass
class SpanSettings(EncoderConfig):
    """Start and end pointers for each entity type.

    max_length, overlap, recurrent_size, dropout, multi_sample_dropout, layer_norm: as for a tagger.
    activation: sigmoid (each type for itself) or softmax (one type or none a token). positive_weight: of tokens that
    are a start or an end.
    """

    max_length: int = 512
    overlap: int = 64
    recurrent_size: int = 0
    dropout: float = 0.3
    multi_sample_dropout: int = 1
    layer_norm: bool = False
    activation: str = "softmax"
    positive_weight: float = 1.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.activation not in (known := ("sigmoid", "softmax")):
            raise ConfigError(f"activation is {self.activation!r}{nearest(self.activation, known)}")
        check_recurrent_size(self.recurrent_size)


def check_recurrent_size(size: int) -> None:
    """Raises ConfigError for a BiLSTM that its two directions cannot share."""
    if size < 0 or size % 2:
        raise ConfigError(f"recurrent_size is {size}: it holds two directions, expected an even number, or 0 for none")


class TaggerMember(FeatureMember):
    """Words in, tag marginals out; a line that is too long goes in as overlapping windows.

    emissions: those behind the last scores, one (tokens, tags) array a row, where average=crf needs them; else None.
    """

    def __init__(self, settings: Any, scheme: LabelScheme, seed: int, judge: Judge) -> None:
        super().__init__(settings.training, seed, judge)
        self.settings, self.scheme = settings, scheme
        self.text = EncoderText(settings, anonymised_tokenizer)
        self.emissions: list[np.ndarray] | None = None

    # Text

    def fit_text(self, train: pd.DataFrame, unlabelled: Iterable[Any], folder: Path) -> None:
        def texts() -> Iterable[list[str]]:
            yield from train["tokens"]
            yield from unlabelled

        def ids(lines: Iterable[list[str]]) -> Iterable[np.ndarray]:
            encode = WholeWordTokenizer(self.text.tokenizer)
            for chunk in in_chunks(lines, CHUNK):
                yield from encode.encode_words_many(chunk)["input_ids"]

        content = lambda: of_values([train["tokens"], of_texts(unlabelled)])  # noqa: E731
        self.text.fit(texts, ids, folder, self.seed, content)

    def check(self) -> None:
        self.text.check()

    def restore_text(self, folder: Path) -> None:
        self.text.restore(folder)

    # Features

    def features(self, rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
        encode = WholeWordTokenizer(self.text.tokenizer)
        plain = encode.encode_words_many(rows["tokens"].tolist(), add_special_tokens=False)
        before, after = encode.special_tokens.single
        size = min(self.settings.max_length, self.text.positions()) - len(before) - len(after)
        if size < 1:
            raise ConfigError(f"max_length={self.settings.max_length} leaves no room beside the special tokens")
        columns: dict[str, list[Any]] = {"input_ids": [], "word_positions": []}
        owners: list[tuple[int, int, int]] = []
        too_wide = 0
        for row, (ids, positions) in enumerate(zip(plain["input_ids"], plain["word_positions"], strict=True)):
            bounds = np.append(positions, len(ids))
            spans = [(0, len(positions))]
            if len(ids) > size:
                widths = np.diff(bounds)
                too_wide += int((widths > size).sum())
                overlap = min(self.settings.overlap, size // 2)
                # A word of more pieces than a window holds stands in a window of its own: its first pieces are read.
                spans = windows(len(positions), size, overlap, widths.clip(max=size))
            for start, stop in spans:
                own = ids[bounds[start] : bounds[stop]][:size]
                columns["input_ids"].append(np.concatenate([before, own, after]))
                columns["word_positions"].append(positions[start:stop] - bounds[start] + len(before))
                owners.append((row, start, stop))
        if too_wide:
            log.info(f"  {too_wide} words are longer than a window of {size} tokens: their first {size} are read")
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        columns["attention_mask"] = [np.ones(length, dtype=np.int64) for length in columns["length"]]
        if labelled:
            columns |= self.labels(rows, owners)
        return table_of(columns), np.array(owners).reshape(-1, 3)

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        """Label columns of the windows. owners: (row, first word, last word + 1) of each window."""
        tags: list[np.ndarray] = []
        spans_of, lengths = rows["spans"].tolist(), rows["tokens"].map(len).tolist()
        for row, start, stop in owners:
            own = self.scheme.encode(spans_of[row], lengths[row])[start:stop]
            for first, end, _ in spans_of[row]:
                # Of an entity that the window's edge cuts, the piece has no tags that the scheme would permit.
                if first < start < end or first < stop < end:
                    own[max(first, start) - start : min(end, stop) - start] = IGNORED
            tags.append(own)
        return {"labels": tags}

    def teacher_labels(self, said: np.ndarray, owner: Any) -> np.ndarray:
        _, start, stop = owner
        return said[start:stop]

    def text_key(self) -> tuple[Any, ...]:
        limit = min(self.settings.max_length, self.text.positions())
        return ("words", limit, self.settings.overlap, self.text.key())

    def feature_key(self) -> str:
        return self.text.feature_key(type(self).__qualname__, self.scheme)

    def collator(self) -> Collator:
        return Collator({"input_ids": self.text.tokenizer.pad_token_id or 0, "attention_mask": 0, "word_positions": -1,
                         "labels": IGNORED, "start_labels": IGNORED, "end_labels": IGNORED,
                         "span_labels": -1, "pair_labels": -1, "entity_spans": -1, "entity_types": -1,
                         "relation_labels": -1})  # fmt: skip

    # Model

    def head(self) -> tuple[type, dict[str, Any]]:
        """The head on the encoder, and its settings."""
        from models.taggers import Tagger

        return Tagger, {"scheme": self.scheme.scheme, "head": self.settings.head} | self.word_settings()

    def word_settings(self) -> dict[str, Any]:
        """What every head on words takes."""
        own = self.settings
        return {"types": list(self.scheme.types), "recurrent_size": own.recurrent_size, "layer_norm": own.layer_norm,
                "dropout": own.dropout, "multi_sample_dropout": own.multi_sample_dropout}  # fmt: skip

    def build_model(self) -> torch.nn.Module:
        kind, settings = self.head()
        return kind.from_encoder(self.text.build_encoder(), **settings)

    def load_model(self, folder: Path) -> torch.nn.Module:
        return self.head()[0].from_pretrained(folder)

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, ...]]:
        emissions = model(**batch).logits.float()
        outputs = [model.marginals(emissions, batch["word_positions"])]
        if self.settings.average == "crf":
            outputs.append(emissions)
        arrays = [output.cpu().numpy() for output in outputs]
        lengths = (batch["word_positions"] >= 0).sum(1).tolist()
        return [tuple(array[row, :length] for array in arrays) for row, length in enumerate(lengths)]

    def collect(self, outputs: list[Any], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
        if not len(rows):
            return []
        parts = [_of_rows([output[part] for output in outputs], owners, rows) for part in range(len(outputs[0]))]
        self.emissions = parts[1] if len(parts) > 1 else None
        return parts[0]


class SpanMember(TaggerMember):
    """Start and end pointers, turned into tag probabilities so that they blend with taggers."""

    teacher_labels = NeuralMember.teacher_labels  # its distributions are of starts and ends

    def labels(self, rows: pd.DataFrame, owners: list[tuple[int, int, int]]) -> dict[str, list[np.ndarray]]:
        kinds = {kind: place for place, kind in enumerate(self.scheme.types)}
        columns: dict[str, list[np.ndarray]] = {"start_labels": [], "end_labels": []}
        spans_of = rows["spans"].tolist()
        for row, first, stop in owners:
            starts, ends = np.zeros((2, stop - first, len(kinds)), dtype=np.int64)
            for start, end, kind in spans_of[row]:
                if first <= start < stop:
                    starts[start - first, kinds[kind]] = 1
                if first < end <= stop:
                    ends[end - 1 - first, kinds[kind]] = 1
            columns["start_labels"].append(starts)
            columns["end_labels"].append(ends)
        return columns

    def head(self) -> tuple[type, dict[str, Any]]:
        from models.spans import SpanPointerTagger

        own = self.settings
        extra = {"activation": own.activation, "positive_weight": own.positive_weight}
        return SpanPointerTagger, extra | self.word_settings()

    def forward(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, ...]]:
        from models.spans import pointer_tag_probabilities

        values = pointer_tag_probabilities(model.probabilities(**batch), self.scheme).cpu().numpy()
        lengths = (batch["word_positions"] >= 0).sum(1).tolist()
        return [(values[row, :length],) for row, length in enumerate(lengths)]


def _of_rows(outputs: list[np.ndarray], owners: np.ndarray, rows: pd.DataFrame) -> list[np.ndarray]:
    """Outputs of windows as outputs of rows. owners: (windows, 3) of row, first word, last word + 1."""
    if len(owners) == len(rows):
        return outputs
    places: dict[int, list[int]] = {}
    for place, row in enumerate(owners[:, 0].tolist()):
        places.setdefault(row, []).append(place)
    spans = [tuple(span) for span in owners[:, 1:].tolist()]
    return [
        merge_windows([outputs[place] for place in own], [spans[place] for place in own], len(tokens))
        for own, tokens in zip(places.values(), rows["tokens"], strict=True)
    ]
