"""Entities as cells of a grid, first word by last word: what GlobalPointer and the biaffine classifier share."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput

from common.text.labels import LabelScheme
from models.heads import HeadConfig
from models.spans import ScoredSpan
from models.taggers import WordHead

OVERLAPS = ("flat", "nested", "any")


class SpanGridConfig(HeadConfig):
    """Settings of a head that scores every span.

    types: entity types. recurrent_size, layer_norm: as in `TaggerConfig`. Others: see `HeadConfig`.
    """

    types: list[str] | tuple[str, ...] = ("a",)
    recurrent_size: int = 0
    layer_norm: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.types = list(LabelScheme(tuple(self.types)).types)
        if self.recurrent_size % 2:
            raise ValueError(f"recurrent_size holds two directions and must be even, got {self.recurrent_size}")


@dataclass
class SpanGridOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, words, words, types): [first word, last word, type], the log-odds of
    the entity against no entity; above 0 for one that is there, -inf for what is no span."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class SpanGridTagger(WordHead):
    """Encoder -> words -> [BiLSTM] -> [layer norm] -> a score for every span; a subclass says how they are scored."""

    config_class = SpanGridConfig

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # A score is a product of two or three layers: with weights of 0.02 it would hardly start to learn.
            init.xavier_uniform_(module.weight)

    def grid(self, words: Tensor) -> Tensor:
        """Scores of words (batch, words, features): (samples, batch, words, words, classes), before any mask."""
        raise NotImplementedError

    def grid_loss(self, scores: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Loss of float32 `scores` as `grid` gives them.

        targets (batch, words, words, types), True where an entity is; valid (batch, words, words), True for spans.
        """
        raise NotImplementedError

    def log_odds(self, scores: Tensor) -> Tensor:
        """Scores (..., classes) as log-odds (..., types) of each entity against no entity."""
        return scores

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_positions: Tensor | None = None,
        span_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> SpanGridOutput:
        """Log-odds of every span, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); word_positions (batch, words), -1 for padding;
        span_labels (batch, spans, 3): first word, last word + 1 and type index of each entity, -1 for padding;
        entities may nest and overlap.
        Returns `SpanGridOutput`; the loss is summed over a row's spans or types and averaged over rows.
        Raises ValueError without word_positions, or for an entity outside its row.
        """
        words = self.words(input_ids, attention_mask, token_type_ids, word_positions, inputs_embeds)
        valid = valid_spans(word_positions >= 0)
        scores = self.grid(words).float()
        loss = None
        if span_labels is not None:
            loss = self.grid_loss(scores, span_targets(span_labels, valid, len(self.config.types)), valid)
        logits = self.log_odds(scores.mean(0)).masked_fill(~valid[..., None], -torch.inf)
        return SpanGridOutput(loss=loss, logits=logits)

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Probability of each entity against no entity, (batch, words, words, types), zero for what is no span."""
        return self(**batch).logits.sigmoid()


def valid_spans(inside: Tensor) -> Tensor:
    """Which cells of the grid are spans: both words there, the last not before the first.

    inside (batch, words), True for words. Returns (batch, words, words).
    """
    return (inside[:, :, None] & inside[:, None, :]).triu()


def span_targets(span_labels: Tensor, valid: Tensor, types: int) -> Tensor:
    """Entities as a grid.

    span_labels (batch, spans, 3): first word, last word + 1, type index; -1 for padding. valid (batch, words, words).
    Returns bool (batch, words, words, types). Raises ValueError for an entity that is no span of its row.
    """
    targets = torch.zeros(*valid.shape, types, dtype=torch.bool, device=valid.device)
    rows, places = (span_labels[..., 0] >= 0).nonzero().unbind(1)
    first, stop, kind = span_labels[rows, places].unbind(1)
    inside = (first < stop) & (stop <= valid.shape[1]) & (kind >= 0) & (kind < types)
    if not (inside.all() and valid[rows, first, stop - 1].all()):
        raise ValueError(
            "span_labels hold an entity that does not lie inside its row: give (first word, last word + 1, type index) "
            "in words of the window, and leave out what the window cuts"
        )
    targets[rows, first, stop - 1, kind] = True
    return targets


def decode_grid(log_odds: Tensor, threshold: float = 0.0, overlap: str = "flat") -> list[list[ScoredSpan]]:
    """Entities whose log-odds are above a threshold, the surest first where two of them exclude each other.

    log_odds (batch, words, words, types): [first word, last word, type], -inf where there is no span. threshold: 0, or
    one that was chosen on out-of-fold scores. overlap: "flat" (no word in two entities), "nested" (one inside another,
    but not crossing it nor equal to it) or "any".
    Returns for each row its spans (start, end, type index, log-odds) in order, `end` exclusive.
    Raises ValueError for another overlap.
    Source: the ranking of Yu, Bohnet and Poesio 2020, section 3, for "flat" and "nested".
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"unknown overlap {overlap!r}: expected one of {', '.join(OVERLAPS)}")
    places = (log_odds > threshold).nonzero()
    found: list[list[ScoredSpan]] = [[] for _ in range(len(log_odds))]
    for (row, first, last, kind), score in zip(places.tolist(), log_odds[tuple(places.T)].tolist(), strict=True):
        found[row].append((first, last + 1, kind, score))
    return [sorted(row if overlap == "any" else _without_clashes(row, overlap)) for row in found]


def _without_clashes(spans: list[ScoredSpan], overlap: str) -> list[ScoredSpan]:
    kept: list[ScoredSpan] = []
    for span in sorted(spans, key=lambda span: -span[3]):
        if not any(_clash(span, other, overlap) for other in kept):
            kept.append(span)
    return kept


def _clash(one: ScoredSpan, other: ScoredSpan, overlap: str) -> bool:
    (start, end), (begin, stop) = one[:2], other[:2]
    if end <= begin or stop <= start:
        return False
    inside = (start <= begin and stop <= end) or (begin <= start and end <= stop)
    return overlap == "flat" or not inside or (start, end) == (begin, stop)


def grid_tag_probabilities(log_odds: Tensor, scheme: LabelScheme) -> Tensor:
    """Tag probabilities that a grid amounts to, to blend with the marginals of a tagger.

    log_odds (batch, words, words, types) of independent entities, -inf where there is no span; padding words stand on
    the right and have no spans. scheme: of the tags, types in the order of the grid.
    Of all ways in which entities may be there or not, those count in which none overlap; each tag's probability is its
    share of them, summed by a forward-backward pass over the borders between words.
    Returns float32 (batch, words, tags); a padding word is O.
    Source: Sarawagi and Cohen 2004 (semi-Markov conditional random fields), section 2, for the recursion.
    """
    with torch.autocast(log_odds.device.type, enabled=False):
        shares = _semi_markov_marginals(log_odds.float())
    begin, end = shares.sum(2), shares.sum(1)
    # A word is covered by what began up to here and did not end before.
    covered = begin.cumsum(1) - F.pad(end, (0, 0, 1, 0)).cumsum(1)[:, :-1]
    if scheme.scheme == "BIO":
        parts = [begin, covered - begin]
    else:
        single = shares.diagonal(dim1=1, dim2=2).transpose(1, 2)
        parts = [begin - single, covered - begin - end + single, end - single, single]
    claimed = torch.stack(parts, dim=-1).flatten(2).clamp(min=0)
    total = claimed.sum(-1, keepdim=True)
    return torch.cat([(1 - total).clamp(min=0), claimed / total.clamp(min=1)], dim=-1).float()


def _semi_markov_marginals(scores: Tensor) -> Tensor:
    """Probability of each entity among all sets of entities that do not overlap; shaped like scores."""
    # The grid of types is the large one and stays in float32; the sums run over hundreds of words. MPS has no float64.
    precise = torch.float32 if scores.device.type == "mps" else torch.float64
    words, any_type = scores.shape[1], scores.logsumexp(-1).to(precise)
    # before[:, n]: all that may lie left of border n, which is left of word n; after[:, n]: all that may lie right.
    before, after = [torch.zeros_like(any_type[:, 0, 0])], [torch.zeros_like(any_type[:, 0, 0])]
    for word in range(words):
        ways = torch.stack(before, dim=1) + any_type[:, : word + 1, word]
        before.append(torch.cat([before[-1][:, None], ways], dim=1).logsumexp(1))
    for word in reversed(range(words)):
        ways = torch.stack(after[::-1], dim=1) + any_type[:, word, word:]
        after.append(torch.cat([after[-1][:, None], ways], dim=1).logsumexp(1))
    left, right, total = torch.stack(before[:-1], dim=1), torch.stack(after[::-1][1:], dim=1), before[-1]
    around = left[:, :, None] + right[:, None, :] - total[:, None, None]
    return (scores + around.to(scores.dtype)[..., None]).exp()
