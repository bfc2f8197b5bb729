"""A lexicon of known entities, and what it says about the tokens of a line."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.text.labels import Span

JOIN = "\x1f"  # between the tokens of a key; no tokenizer makes a token of it


@dataclass
class EntityLexicon:
    """Token sequences that were entities, how often, and how often they occurred at all.

    longest: tokens of the longest sequence kept. entities: {sequence: {type: lines' count}}; occurrences: {sequence:
    count}. Sequences are tokens joined by JOIN. Each different labelled line is counted once.
    """

    longest: int = 8
    entities: dict[str, dict[str, int]] = field(default_factory=dict)
    occurrences: dict[str, int] = field(default_factory=dict)

    @classmethod
    def count(
        cls, lines: Iterable[Sequence[str]], spans: Iterable[Sequence[Span]], longest: int = 8
    ) -> "EntityLexicon":
        """The lexicon of labelled lines. spans: the entities of each line, (start, end, type) with `end` exclusive."""
        lexicon = cls(longest)
        labelled = {(tuple(tokens), tuple(own)): (tokens, own) for tokens, own in zip(lines, spans, strict=True)}
        for tokens, own in labelled.values():
            for (key, kind), number in lexicon._own_entities(tokens, own).items():
                counts = lexicon.entities.setdefault(key, {})
                counts[kind] = counts.get(kind, 0) + number
        occurrences: Counter[str] = Counter()
        for tokens, _ in labelled.values():
            occurrences.update(key for _, _, key in lexicon._matches(tokens))
        lexicon.occurrences = dict(occurrences)
        return lexicon

    def features(self, tokens: Sequence[str], spans: Sequence[Span] | None = None) -> list[list[str]]:
        """Names of features of each token: part (BIES), type and length of known entities around it, and how surely.

        spans: the entities of a line that was counted, which is then taken out of the counts; otherwise every training
        entity would be a known one, and a model would learn to trust the lexicon more than new lines bear out.
        """
        own = Counter() if spans is None else self._own_entities(tokens, spans)
        matches = list(self._matches(tokens))
        seen_here = Counter() if spans is None else Counter(key for _, _, key in matches)
        found: list[set[str]] = [set() for _ in tokens]
        for start, end, key in matches:
            occurrences = self.occurrences[key] - seen_here[key]
            for kind, count in self.entities[key].items():
                count -= own[key, kind]
                if count <= 0:
                    continue
                # In fifths: of all the times it occurred, how often it was an entity of this type.
                sure = f"{kind}{min(4, 5 * count // occurrences)}"
                size = f"{min(end - start, 4)}{'once' if occurrences == 1 else ''}"
                for place in range(start, end):
                    single, first, last = end - start == 1, place == start, place == end - 1
                    part = "S" if single else "B" if first else "E" if last else "I"
                    found[place] |= {f"known={part}{sure}", f"known={part}{sure}_{size}"}
                if start > 0:
                    found[start - 1].add(f"known_next={sure}")
                if end < len(tokens):
                    found[end].add(f"known_before={sure}")
        # Sorted: the order of a set of strings changes from process to process, and a model file with it.
        return [sorted(names) for names in found]

    def state(self) -> dict[str, Any]:
        """What the constructor needs, as JSON values."""
        return dict(vars(self))

    def _own_entities(self, tokens: Sequence[str], spans: Sequence[Span]) -> Counter[tuple[str, str]]:
        return Counter(
            (JOIN.join(tokens[start:end]), kind) for start, end, kind in spans if end - start <= self.longest
        )

    def _matches(self, tokens: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """(start, end, sequence) of every known sequence in a line."""
        for start in range(len(tokens)):
            key = ""
            for end in range(start + 1, min(len(tokens), start + self.longest) + 1):
                key = tokens[start] if end == start + 1 else key + JOIN + tokens[end - 1]
                if key in self.entities:
                    yield start, end, key
