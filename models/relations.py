"""Relations between entities that are known: each ordered pair of a head and a tail gets its relations, or none."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from models.heads import HeadConfig
from models.taggers import WordHead

FEATURES = ("pooled", "first")


class RelationConfig(HeadConfig):
    """Settings of `RelationClassifier`.

    relations: their names. types: entity types, for an embedding of head's and tail's type of type_size features; empty
    for none. features: "pooled" (the maximum over an entity's words) or "first" (its first word, which is its marker
    where the text has markers around its entities). pair_size: features of the layer between pair and relations.
    several: whether a pair may have several relations (each is decided for itself) or one at most.
    recurrent_size, layer_norm: as in `TaggerConfig`. Others: see `HeadConfig`.
    """

    model_type = "relations"

    relations: list[str] | tuple[str, ...] = ("a",)
    types: list[str] | tuple[str, ...] = ()
    type_size: int = 32
    features: str = "pooled"
    pair_size: int = 128
    several: bool = False
    recurrent_size: int = 0
    layer_norm: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.relations, self.types = list(self.relations), list(self.types)
        if not self.relations or len(set(self.relations)) != len(self.relations):
            raise ValueError(f"relations must be given once each and not be empty, got {self.relations}")
        if self.features not in FEATURES:
            raise ValueError(f"unknown features {self.features!r}: expected one of {', '.join(FEATURES)}")
        if self.recurrent_size % 2:
            raise ValueError(f"recurrent_size holds two directions and must be even, got {self.recurrent_size}")


@dataclass
class RelationOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, entities, entities, relations): [head, tail, relation], the log-odds of
    the relation against none; -inf for what is no pair."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class RelationClassifier(WordHead):
    """Words -> entities -> [head; tail; head * tail; their types] -> layer -> relations of every ordered pair.

    Source: Baldini Soares et al. 2019, section 3.2 (entity start, mention pooling); Eberts and Ulges 2020 (SpERT),
    section 3 (maximum over an entity's words).
    """

    config_class = RelationConfig

    def add_layers(self, config: RelationConfig) -> None:
        """Create the words' layers, the types' embedding and the classifier."""
        size = self.add_word_layers(config)
        self.type_embedding = nn.Embedding(len(config.types), config.type_size) if config.types else None
        size = 3 * size + (2 * config.type_size if config.types else 0)
        self.pair = nn.Sequential(nn.Linear(size, config.pair_size), nn.GELU())
        self.classifier = nn.Linear(config.pair_size, len(config.relations) + (0 if config.several else 1))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_positions: Tensor | None = None,
        entity_spans: Tensor | None = None,
        entity_types: Tensor | None = None,
        pair_mask: Tensor | None = None,
        relation_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> RelationOutput:
        """Log-odds of the relations of every pair, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); word_positions (batch, words), -1 for padding;
        entity_spans (batch, entities, 2): first word and last word + 1, -1 for padding; entity_types (batch, entities),
        type indices, where the configuration has types; pair_mask (batch, entities, entities), [head, tail], 0 for
        pairs that are no candidates, e.g. by their types: they are no negatives either;
        relation_labels (batch, relations, 3): head, tail (places in entity_spans) and relation index, -1 for padding;
        every other pair that is a candidate has none.
        Returns `RelationOutput`; the loss is summed over a row's pairs and averaged over rows.
        Raises ValueError if the spans or the types are missing, or for labels of what is no candidate.
        """
        if entity_spans is None or (self.type_embedding is not None and entity_types is None):
            raise ValueError("a relation classifier needs entity_spans (batch, entities, 2), and entity_types (batch, "
                             "entities) where its configuration has types")  # fmt: skip
        words = self.words(input_ids, attention_mask, token_type_ids, word_positions, inputs_embeds)
        entities = self._entities(words, entity_spans)
        there = entity_spans[..., 0] >= 0
        valid = (
            there[:, :, None] & there[:, None, :] & ~torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
        )
        if pair_mask is not None:
            valid = valid & pair_mask.bool()
        parts = [*_pairs(entities), entities[:, :, None] * entities[:, None, :]]
        if self.type_embedding is not None:
            parts += _pairs(self.type_embedding(entity_types.clamp(min=0)))
        scores = self.classifier(self.pair(self.dropout(torch.cat(parts, dim=-1)))).float()
        loss = None
        if relation_labels is not None:
            loss = self._loss(scores, relation_labels, valid)
        logits = scores.mean(0)
        logits = logits if self.config.several else logits[..., 1:] - logits[..., :1]
        return RelationOutput(loss=loss, logits=logits.masked_fill(~valid[..., None], -torch.inf))

    def _entities(self, words: Tensor, entity_spans: Tensor) -> Tensor:
        """words (batch, words, features). Returns (batch, entities, features), zero at padding."""
        first, stop = entity_spans.unbind(-1)
        there = (first >= 0)[..., None]
        if self.config.features == "first":
            found = words.gather(1, first.clamp(min=0)[..., None].expand(-1, -1, words.shape[-1]))
        elif torch.compiler.is_exporting():
            # A graph has no loop whose length depends on its input.
            places = torch.arange(words.shape[1], device=words.device)
            inside = (places >= first[..., None]) & (places < stop[..., None])
            found = words[:, None].masked_fill(~inside[..., None], torch.finfo(words.dtype).min).amax(2)
        else:
            # Word by word, since all words of all entities at once would need the memory of a grid of them.
            found = torch.full_like(words[:, :1].expand(-1, first.shape[1], -1), torch.finfo(words.dtype).min)
            for offset in range(int((stop - first).max()) if first.numel() else 0):
                place = (first + offset).clamp(min=0, max=words.shape[1] - 1)
                word = words.gather(1, place[..., None].expand(-1, -1, words.shape[-1]))
                found = torch.where((first + offset < stop)[..., None], torch.maximum(found, word), found)
        return found.masked_fill(~there, 0.0)

    def _loss(self, scores: Tensor, relation_labels: Tensor, valid: Tensor) -> Tensor:
        """scores (samples, batch, entities, entities, classes), valid (batch, entities, entities)."""
        count = len(self.config.relations)
        targets = torch.zeros(*valid.shape, count, device=scores.device)
        rows, places = (relation_labels[..., 0] >= 0).nonzero().unbind(1)
        head, tail, relation = relation_labels[rows, places].unbind(1)
        inside = (head < valid.shape[1]) & (tail >= 0) & (tail < valid.shape[1]) & (relation >= 0) & (relation < count)
        if not (inside.all() and valid[rows, head, tail].all()):
            raise ValueError("relation_labels hold a pair that is no candidate: give (head, tail, relation), head and "
                             "tail as places in entity_spans, and no pair of an entity with itself")  # fmt: skip
        targets[rows, head, tail, relation] = 1.0
        if self.config.several:
            losses = F.binary_cross_entropy_with_logits(scores, targets.expand_as(scores), reduction="none").sum(-1)
        else:
            # Where the data have several relations of a pair after all, the target spreads over them.
            targets = targets / targets.sum(-1, keepdim=True).clamp(min=1.0)
            classes = torch.cat([1.0 - targets.sum(-1, keepdim=True), targets], dim=-1)
            losses = -(classes * scores.log_softmax(-1)).sum(-1)
        return (losses * valid).sum() / (scores.shape[0] * scores.shape[1])

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Probability of each relation against none, (batch, entities, entities, relations), zero for no pairs."""
        return self(**batch).logits.sigmoid()


def _pairs(entities: Tensor) -> list[Tensor]:
    """entities (batch, entities, features) as heads and as tails, each (batch, entities, entities, features)."""
    count = entities.shape[1]
    return [entities[:, :, None].expand(-1, -1, count, -1), entities[:, None].expand(-1, count, -1, -1)]


def decode_relations(
    log_odds: Tensor, threshold: float = 0.0, several: bool = False
) -> list[list[tuple[int, int, int, float]]]:
    """Relations whose log-odds are above a threshold.

    log_odds (batch, entities, entities, relations), the logits of `forward`. threshold: 0, or one that was chosen on
    out-of-fold scores. several: whether a pair may have several relations; if not, its best one counts.
    Returns for each row its relations (head, tail, relation index, log-odds) in order.
    """
    kept = log_odds > threshold
    if not several and log_odds.shape[-1] > 1:
        kept &= F.one_hot(log_odds.argmax(-1), log_odds.shape[-1]).bool()
    found: list[list[tuple[int, int, int, float]]] = [[] for _ in range(len(log_odds))]
    places = kept.nonzero()
    for (row, *relation), score in zip(places.tolist(), log_odds[tuple(places.T)].tolist(), strict=True):
        found[row].append((*relation, score))
    return found
