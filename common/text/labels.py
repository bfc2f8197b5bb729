"""Label schemes for sequence labelling: spans to tags and back, and which tag may follow which."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Span = tuple[int, int, str]


@dataclass(frozen=True)
class LabelScheme:
    """Tags of entity types under BIO or BIOES.

    types: entity types in a fixed order, e.g. ("a", "b", "c").
    scheme: "BIO" (B begins, I continues) or "BIOES" (E ends, S stands alone).

    Tag 0 is always "O". Raises ValueError for another scheme, no types or repeated types.
    Source: Ramshaw and Marcus 1995 (BIO, as CoNLL 2003 uses it); Ratinov and Roth 2009, section 3.2 (BILOU = BIOES).
    """

    types: tuple[str, ...]
    scheme: str = "BIO"

    def __post_init__(self) -> None:
        if self.scheme not in ("BIO", "BIOES"):
            raise ValueError(f"unknown label scheme {self.scheme!r}: expected BIO or BIOES")
        if not self.types or len(set(self.types)) != len(self.types):
            raise ValueError(f"entity types must be given once each and not be empty, got {list(self.types)}")

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """All tags, "O" first, then the parts of each type in the order of `types`."""
        parts = "BI" if self.scheme == "BIO" else "BIES"
        return ("O", *(f"{part}-{kind}" for kind in self.types for part in parts))

    @cached_property
    def _first(self) -> dict[str, int]:
        """The number of each type's B tag; its other parts follow in the order B I E S."""
        width = 2 if self.scheme == "BIO" else 4
        return {kind: 1 + place * width for place, kind in enumerate(self.types)}

    def encode(self, spans: list[Span], length: int) -> np.ndarray:
        """Tag ids of a sequence.

        spans: (start, end, type) with `end` exclusive; they may not overlap. length: tokens in the sequence.
        Returns int64 (length,). Raises ValueError for a span that is empty, outside, of an unknown type or overlapping.
        """
        tags = np.zeros(length, dtype=np.int64)
        for start, end, kind in spans:
            if not 0 <= start < end <= length:
                raise ValueError(f"span {(start, end, kind)} does not lie inside a sequence of {length} tokens")
            if kind not in self._first:
                raise ValueError(f"unknown entity type {kind!r}: expected one of {', '.join(self.types)}")
            if tags[start:end].any():
                raise ValueError(f"span {(start, end, kind)} overlaps another: BIO and BIOES need flat entities")
            begin = self._first[kind]
            tags[start:end] = begin + 1
            tags[start] = begin
            if self.scheme == "BIOES":
                tags[end - 1] = begin + 3 if end - start == 1 else begin + 2
        return tags

    def decode(self, tag_ids: np.ndarray | list[int]) -> list[Span]:
        """Strict spans of a tag sequence: a piece that breaks the scheme (an I after O, a B without E) is no entity.

        tag_ids: (length,) tag numbers. Returns spans in order, `end` exclusive.
        """
        spans: list[Span] = []
        start, kind = -1, ""
        bioes = self.scheme == "BIOES"
        for place, number in enumerate(tag_ids):
            part, _, current = self.tags[number].partition("-")
            goes_on = start >= 0 and current == kind and part in "IE"
            if start >= 0 and not goes_on:
                if not bioes:
                    spans.append((start, place, kind))
                start = -1
            if part == "S":
                spans.append((place, place + 1, current))
            elif part == "B":
                start, kind = place, current
            elif part == "E" and goes_on:
                spans.append((start, place + 1, kind))
                start = -1
        if start >= 0 and not bioes:
            spans.append((start, len(tag_ids), kind))
        return spans

    def allowed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the scheme permits.

        Returns bool arrays: start (tags,), transition (tags, tags) as [from, to], end (tags,).
        """
        parts = [tag.partition("-")[0] for tag in self.tags]
        kinds = [tag.partition("-")[2] for tag in self.tags]
        inside = np.array([part in "IE" for part in parts])
        open_ended = np.array([self.scheme == "BIOES" and part in "BI" for part in parts])
        same_entity = np.array(
            [[kinds[a] == kinds[b] and parts[a] in "BI" for b in range(len(parts))] for a in range(len(parts))]
        )
        # An inside tag must continue an open entity of its type; an entity that BIOES leaves open must be continued.
        transition = np.where(inside[None, :], same_entity, ~open_ended[:, None])
        return ~inside, transition, ~open_ended
