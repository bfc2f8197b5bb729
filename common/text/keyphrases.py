"""Keyphrases as entities of one type: the phrases of a text as spans to tag, and tagged spans as phrases."""

from collections.abc import Iterable, Sequence

from common.text.labels import Span

KEYPHRASE = "keyphrase"


def phrase_spans(
    tokens: Sequence[str], phrases: Iterable[Sequence[str]], kind: str = KEYPHRASE
) -> tuple[list[Span], list[tuple[str, ...]]]:
    """Where phrases occur in a text, as flat spans that a label scheme can encode.

    tokens: of the text. phrases: each as tokens, cut as the text is. kind: the spans' type.
    Where occurrences overlap, the longer phrase has the words, of equally long ones the earlier occurrence.
    Returns the spans in order, and the phrases that the text does not hold (tagging can never find them).
    """
    wanted = sorted({tuple(phrase) for phrase in phrases if len(phrase)}, key=lambda phrase: (-len(phrase), phrase))
    places: dict[str, list[int]] = {}
    for place, token in enumerate(tokens):
        places.setdefault(token, []).append(place)
    found, absent = [], []
    for phrase in wanted:
        starts = [place for place in places.get(phrase[0], ()) if tuple(tokens[place : place + len(phrase)]) == phrase]
        found += [(-len(phrase), start) for start in starts]
        if not starts:
            absent.append(phrase)
    taken, spans = [False] * len(tokens), []
    for size, start in sorted(found):
        end = start - size
        if not any(taken[start:end]):
            taken[start:end] = [True] * -size
            spans.append((start, end, kind))
    return sorted(spans), absent


def phrases_of(tokens: Sequence[str], spans: Iterable[Span]) -> list[tuple[str, ...]]:
    """The phrases of tagged spans, each once, those that occur most often first, then by first occurrence."""
    counts: dict[tuple[str, ...], int] = {}
    for start, end, *_ in sorted(spans):
        phrase = tuple(tokens[start:end])
        counts[phrase] = counts.get(phrase, 0) + 1
    return sorted(counts, key=lambda phrase: -counts[phrase])
