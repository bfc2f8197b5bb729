"""Voting among taggers: by token or by whole entity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.ensembling.blending import Blend
from common.ensembling.scores import Scores
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags, tag_sequences


@dataclass
class TokenVote(Blend):
    """Every member decodes its own tags; a token's scores are the shares of votes."""

    name = "token_vote"
    types: Sequence[str] = ()
    scheme: str = "BIO"

    def apply(self, parts: Sequence[Scores]) -> Scores:
        scheme = LabelScheme(tuple(self.types), self.scheme)
        votes = np.zeros_like(parts[0].values)
        for part in parts:
            votes[np.arange(len(votes)), tag_sequences(part.values, part.offsets, scheme)] += 1 / len(parts)
        return parts[0].with_values(votes)


@dataclass
class EntityVote(Blend):
    """An entity is taken when more than half of the members found exactly it (start, end and type)."""

    name = "entity_vote"
    types: Sequence[str] = ()
    scheme: str = "BIO"

    def apply(self, parts: Sequence[Scores]) -> Scores:
        scheme = LabelScheme(tuple(self.types), self.scheme)
        found = [decode_tags(part.values, part.offsets, scheme) for part in parts]
        values = np.zeros_like(parts[0].values)
        for row, (start, stop) in enumerate(zip(parts[0].offsets[:-1], parts[0].offsets[1:], strict=True)):
            votes: dict[tuple[int, int, str], int] = {}
            for spans in found:
                for span in spans[row]:
                    votes[span] = votes.get(span, 0) + 1
            # Spans with more than half of the votes cannot overlap: two such would need more votes than members.
            kept = [span for span, count in votes.items() if 2 * count > len(parts)]
            tags = scheme.encode(kept, int(stop - start))
            values[start + np.arange(stop - start), tags] = 1.0
        return parts[0].with_values(values)
