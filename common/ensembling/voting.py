"""Voting among taggers: by token, or by whole entity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.ensembling.blending import Blend
from common.ensembling.scores import Scores
from common.text.labels import LabelScheme
from common.text.tag_decoding import entities, entity_tags, places_inside, tag_sequences


@dataclass
class Vote(Blend):
    """Every member decodes its own tags and votes for them."""

    types: Sequence[str] = ()
    scheme: str = "BIO"

    @property
    def labels(self) -> LabelScheme:
        return LabelScheme(tuple(self.types), self.scheme)

    def votes(self, part: Scores) -> Scores:
        """One for the tag that the member decodes, zero for others."""
        votes = np.zeros_like(part.values)
        votes[np.arange(len(votes)), tag_sequences(part.values, part.offsets, self.labels)] = 1
        return part.with_values(votes)

    def candidates(self, parts: Sequence[Scores]) -> tuple[np.ndarray, np.ndarray]:
        """Every entity that some member decodes: (entities, 3) first unit, unit after the last, type; and its votes."""
        found = [entities(tag_sequences(part.values, part.offsets, self.labels), part.offsets, self.labels)
                 for part in parts]  # fmt: skip
        # One number an entity: several times faster than comparing its three.
        begins, ends, kinds = (np.concatenate(column).astype(np.int64) for column in zip(*found, strict=True))
        width, types = len(parts[0].values) + 1, len(self.types)
        keys, counts = np.unique((begins * width + ends) * types + kinds, return_counts=True)
        spans = np.stack([keys // types // width, keys // types % width, keys % types], axis=1)
        return spans, counts

    def scores_of(self, spans: np.ndarray, like: Scores) -> Scores:
        """Scores that are certain of these entities (entities, 3) and of nothing else."""
        tags = np.zeros(len(like.values), dtype=np.int64)
        tags[places_inside(spans[:, 0], spans[:, 1])] = entity_tags(*spans.T, self.labels)
        return like.with_values(np.eye(len(self.labels.tags), dtype=np.float32)[tags])


@dataclass
class TokenVote(Vote):
    """A token's scores are the shares of votes."""

    name = "token_vote"

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return parts[0].with_values(sum(self.votes(part).values for part in parts) / len(parts))


@dataclass
class EntityVote(Vote):
    """An entity is taken when more than half of the members found exactly it (start, end and type)."""

    name = "entity_vote"

    def apply(self, parts: Sequence[Scores]) -> Scores:
        spans, counts = self.candidates(parts)
        # Spans with more than half of the votes cannot overlap: two such would need more votes than members.
        return self.scores_of(spans[2 * counts > len(parts)], parts[0])
