"""Entities as start and end pointers, which may overlap or nest, and the tag probabilities they amount to."""

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from common.text.labels import LabelScheme
from models.heads import HeadConfig
from models.taggers import IGNORED, WordHead

ScoredSpan = tuple[int, int, int, float]


class SpanPointerConfig(HeadConfig):
    """Settings of `SpanPointerTagger`.

    types: entity types. activation: "sigmoid" (each type for itself, so that entities of several types may start at
    one word) or "softmax" (one type or none a word, so that they may not). recurrent_size, layer_norm: as in
    `TaggerConfig`. positive_weight: weight of words that are a start or an end, of which there are few ("sigmoid").
    """

    model_type = "span_pointer"

    types: list[str] | tuple[str, ...] = ("a",)
    activation: str = "sigmoid"
    recurrent_size: int = 0
    layer_norm: bool = False
    positive_weight: float = 1.0

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.types = list(LabelScheme(tuple(self.types)).types)
        if self.activation not in ("sigmoid", "softmax"):
            raise ValueError(f"unknown activation {self.activation!r}: expected sigmoid or softmax")
        if self.recurrent_size % 2:
            raise ValueError(f"recurrent_size holds two directions and must be even, got {self.recurrent_size}")
        if not self.positive_weight > 0:
            raise ValueError(f"positive_weight must be above 0, got {self.positive_weight}")


@dataclass
class SpanPointerOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, words, 2, types): starts, then ends.

    Only of a head with `with_parts`: samples (samples, batch, words, 2, types), features (batch, words, size).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None
    features: Tensor | None = None


class SpanPointerTagger(WordHead):
    """Encoder -> words -> [BiLSTM] -> [layer norm] -> for each type, is this word a start, is it an end?

    Source: pointer tagging by independent starts and ends as in Wei et al. 2020 (CasRel), section 3.2.
    """

    config_class = SpanPointerConfig

    def add_layers(self, config: SpanPointerConfig) -> None:
        """Create the BiLSTM, the layer norm and the pointers' classifier."""
        size = self.add_word_layers(config)
        self.classifier = nn.Linear(size, 2 * len(config.types))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_positions: Tensor | None = None,
        start_labels: Tensor | None = None,
        end_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> SpanPointerOutput:
        """Pointer logits, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); word_positions (batch, words), -1 for padding;
        start_labels, end_labels (batch, words, types): 1 where an entity of the type starts, where its last word
        stands, else 0; -100 for words without a label.
        Returns `SpanPointerOutput`; the loss is summed over a row's words and averaged over rows, as a tagger's is.
        Raises ValueError without word_positions, or with only one of the two labels.
        """
        if (start_labels is None) != (end_labels is None):
            raise ValueError("give start_labels and end_labels, or neither")
        words = self.words(input_ids, attention_mask, token_type_ids, word_positions, inputs_embeds)
        samples = self.classifier(self.dropout(words)).unflatten(-1, (2, -1))
        loss = None
        if start_labels is not None:
            labels = {"start_labels": start_labels, "end_labels": end_labels}
            loss = self.likelihood(samples, word_positions=word_positions, **labels)
        parts = {"samples": samples, "features": words} if self.with_parts else {}
        return SpanPointerOutput(loss=loss, logits=samples.mean(0), **parts)

    def likelihood(self, samples: Tensor, **batch: Tensor) -> Tensor:
        """samples (samples, batch, words, 2, types). Returns the mean over rows of their losses."""
        samples, (labels, labelled) = samples.float(), _labels(**batch)
        if self.config.activation == "sigmoid":
            weight = samples.new_tensor(self.config.positive_weight)
            targets = labels.to(samples.dtype).expand(samples.shape)
            losses = F.binary_cross_entropy_with_logits(samples, targets, reduction="none", pos_weight=weight)
            losses = losses.sum(-1)
        else:
            scores = F.pad(samples, (1, 0)).log_softmax(-1)
            losses = -(self._one_type_or_none(labels.to(samples.dtype)) * scores).sum(-1)
        return (losses * labelled).sum() / (samples.shape[0] * samples.shape[1])

    def distributions(self, samples: Tensor, *, word_positions: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """By start and end: none or a type ("softmax"), or for each type no or yes ("sigmoid")."""
        samples = samples.float()
        weights = (word_positions >= 0)[..., None].expand(samples.shape[1:4]) / (samples.shape[0] * samples.shape[1])
        if self.config.activation == "softmax":
            return F.pad(samples, (1, 0)).log_softmax(-1), weights
        log_p = torch.stack([F.logsigmoid(-samples), F.logsigmoid(samples)], dim=-1)
        return log_p, weights[..., None].expand(log_p.shape[1:-1])

    def targets(self, **batch: Tensor) -> Tensor:
        """(batch, words, 2, 1 + types), or with "sigmoid" (batch, words, 2, types, 2)."""
        labels, labelled = _labels(**batch)
        if self.config.activation == "softmax":
            return self._one_type_or_none(labels.float()) * labelled[..., None]
        return F.one_hot(labels, 2) * labelled[..., None, None].float()

    def feature_classes(self, **batch: Tensor) -> Tensor:
        """(batch, words): which type starts there, else which ends there; none for other words."""
        labels, _ = _labels(**batch)
        pointers = labels.flatten(2)
        return pointers.argmax(-1).masked_fill(~pointers.any(-1), -1)

    @staticmethod
    def _one_type_or_none(labels: Tensor) -> Tensor:
        """Class 0, no pointer, has the fixed logit 0. Where several types start, the target spreads over them."""
        targets = labels / labels.sum(-1, keepdim=True).clamp(min=1.0)
        return torch.cat([1.0 - targets.sum(-1, keepdim=True), targets], dim=-1)

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Start and end probabilities, (batch, words, 2, types), zero at padding; at least float32."""
        logits = self(**batch).logits.float()
        if self.config.activation == "sigmoid":
            chances = logits.sigmoid()
        else:
            chances = F.pad(logits, (1, 0)).softmax(-1)[..., 1:]
        return chances * (batch["word_positions"] >= 0)[..., None, None]


def _labels(*, word_positions: Tensor, start_labels: Tensor, end_labels: Tensor, **batch: Tensor):
    """Labels (batch, words, 2, types), 0 where there are none, and where there are some (batch, words, 2)."""
    labels = torch.stack([start_labels, end_labels], dim=2)
    labels = labels.masked_fill((word_positions < 0)[..., None, None], IGNORED)
    return labels.clamp(min=0), (labels != IGNORED).all(-1)


def decode_spans(
    start_probs: Tensor, end_probs: Tensor, max_length: int, threshold: float = 0.5, share_pointers: bool = False
) -> list[list[ScoredSpan]]:
    """Entities from pointers, by type, as brackets match: each end takes the nearest start that is still open.

    start_probs, end_probs (batch, words, types), zero at padding; max_length: most words of an entity; threshold:
    least probability of a pointer. share_pointers: an end whose start is taken shares the nearest one all the same
    and a start left open shares the nearest end (for entities that nest with a common start or end; noisier).
    Returns for each row its spans (start, end, type index, confidence) in order, `end` exclusive; the confidence is
    the geometric mean of the two pointers. E.g. starts 0, 1 and ends 2, 3 of one type give 0..3 and 1..2.
    Raises ValueError for shapes that differ or a max_length below 1.
    """
    if start_probs.shape != end_probs.shape or start_probs.dim() != 3:
        raise ValueError(
            f"start_probs and end_probs must both be (batch, words, types), got {tuple(start_probs.shape)} and "
            f"{tuple(end_probs.shape)}"
        )
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    # In this order of axes, nonzero lists the pointers by row, type and word, and a word's start before its end.
    chances = torch.stack([start_probs, end_probs], dim=-1).transpose(1, 2)
    places = (chances >= threshold).nonzero()
    sure = chances[tuple(places.T)].tolist()
    spans: list[list[ScoredSpan]] = [[] for _ in range(len(start_probs))]
    pointers = zip(places.tolist(), sure, strict=True)
    # The loop runs over pointers, of which a text has few, not over words.
    for (row, kind), group in groupby(pointers, key=lambda pointer: pointer[0][:2]):
        pairs = _match([(word, is_end, chance) for (_, _, word, is_end), chance in group], max_length, share_pointers)
        spans[row] += [(first, last + 1, kind, math.sqrt(one * other)) for first, last, one, other in pairs]
    return [sorted(row) for row in spans]


def _match(pointers: list[tuple[int, int, float]], max_length: int, share: bool) -> list[tuple[int, int, float, float]]:
    """Pointers (word, is_end, probability) in order. Returns (first word, last word, both probabilities)."""
    pairs: dict[tuple[int, int], tuple[float, float]] = {}
    unclosed: list[tuple[int, float]] = []
    lone_ends: list[tuple[int, float]] = []
    for word, is_end, chance in pointers:
        if not is_end:
            unclosed.append((word, chance))
        elif unclosed and word - unclosed[-1][0] < max_length:
            first, one = unclosed.pop()
            pairs[first, word] = one, chance
        else:
            lone_ends.append((word, chance))
    if share:
        starts = [(word, chance) for word, is_end, chance in pointers if not is_end]
        ends = [(word, chance) for word, is_end, chance in pointers if is_end]
        for last, chance in lone_ends:
            if before := [start for start in starts if last - max_length < start[0] <= last]:
                pairs[before[-1][0], last] = before[-1][1], chance
        for first, chance in unclosed:
            if after := [end for end in ends if first <= end[0] < first + max_length]:
                pairs[first, after[0][0]] = chance, after[0][1]
    return [(first, last, one, other) for (first, last), (one, other) in pairs.items()]


def pointer_tag_probabilities(pointers: Tensor, scheme: LabelScheme) -> Tensor:
    """Tag probabilities that pointers amount to, to blend with the marginals of a tagger.

    pointers (batch, words, 2, types): start and end probabilities, zero at padding, as `probabilities` gives them.
    A word is read from both sides. Forwards, an entity is open at a word when one started and none ended since;
    backwards, when one will end before another starts, every pointer by itself being there or not. B of a word is the
    geometric mean of start (forwards) and start and closing (backwards), I (with BIOES, E for those that end here; S
    likewise beside B) that of open without start on both sides; what is left is O, and more than 1 is scaled to 1.
    Returns float32 (batch, words, tags).
    """
    start, end = pointers.float().unbind(2)
    opened, closing = torch.zeros_like(start), torch.zeros_like(end)
    for word in range(1, start.shape[1]):
        before, began, ended = opened[:, word - 1], start[:, word - 1], end[:, word - 1]
        opened[:, word] = (began + (1 - began) * before) * (1 - ended)
    later = torch.zeros_like(end[:, 0])
    for word in reversed(range(start.shape[1])):
        closing[:, word] = end[:, word] + (1 - end[:, word]) * later
        later = closing[:, word] * (1 - start[:, word])
    begin = start * closing.sqrt()
    inside = (1 - start) * (opened * closing).sqrt()
    if scheme.scheme == "BIO":
        parts = [begin, inside]
    else:
        last = end / closing.clamp(min=1e-12)
        parts = [begin * (1 - last), inside * (1 - last), inside * last, begin * last]
    claimed = torch.stack(parts, dim=-1).flatten(2)
    total = claimed.sum(-1, keepdim=True)
    return torch.cat([(1 - total).clamp(min=0), claimed / total.clamp(min=1)], dim=-1)
