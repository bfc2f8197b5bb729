"""Entity voting that may take an entity with few votes: overlaps are settled by weighted interval scheduling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.ensembling.blending import Objective
from common.ensembling.scores import Scores
from common.ensembling.voting import Vote
from common.text.tag_decoding import entity_tags, places_inside


@dataclass
class IntervalVote(Vote):
    """Of all entities that members found, those without overlap whose support above the bar is highest in sum.

    support: the share of members that found the entity. bar: what support costs an entity to be taken, chosen by the
    metric between every two numbers of votes. For F1 the best bar is half of the F1 that is reached, which is why half
    of the votes is rarely best. Source: Lewis 1995, "Evaluating and optimizing autonomous text classification systems"
    (the bar); Kleinberg and Tardos 2005, "Algorithm Design", section 6.1 (the scheduling).
    """

    name = "interval_vote"
    complexity = 1
    bar: float = 0.5

    def bars(self, members: int) -> list[float]:
        """What is tried: half a vote below each number of votes, those nearest to a half first."""
        return sorted(((votes + 0.5) / members for votes in range(members)), key=lambda bar: abs(bar - 0.5))

    def support(self, spans: np.ndarray, counts: np.ndarray, parts: Sequence[Scores]) -> np.ndarray:
        """(entities,) between 0 and 1."""
        return counts / len(parts)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        spans, counts = self.candidates(parts)
        support = self.support(spans, counts, parts)
        self.bar = max(self.bars(len(parts)), key=lambda bar: objective(self._taken(spans, support - bar, parts[0])))

    def apply(self, parts: Sequence[Scores]) -> Scores:
        spans, counts = self.candidates(parts)
        return self._taken(spans, self.support(spans, counts, parts) - self.bar, parts[0])

    def _taken(self, spans: np.ndarray, weights: np.ndarray, like: Scores) -> Scores:
        spans, weights = spans[weights > 0], weights[weights > 0]
        return self.scores_of(spans[schedule(spans[:, 0], spans[:, 1], weights)], like)


@dataclass
class IntervalConfidence(IntervalVote):
    """As IntervalVote, but a member's support for an entity is how sure it is of it, not yes or no.

    How sure: the least of its probabilities of the entity's tags and, in BIO, of the entity not going on after its end.
    """

    name = "interval_confidence"

    def bars(self, members: int) -> list[float]:
        return [0.45, 0.4, 0.5, 0.35, 0.55, 0.3, 0.6, 0.25]

    def support(self, spans: np.ndarray, counts: np.ndarray, parts: Sequence[Scores]) -> np.ndarray:
        if not len(spans):
            return np.zeros(0)
        begins, ends, kinds = spans.T
        places, tags = places_inside(begins, ends), entity_tags(begins, ends, kinds, self.labels)
        first = np.cumsum(ends - begins) - (ends - begins)
        total = np.zeros(len(spans))
        # An entity that ends its row cannot go on; for the others the next unit is in the same row.
        goes_on = np.flatnonzero(~np.isin(ends, parts[0].offsets)) if self.scheme == "BIO" else np.zeros(0, int)
        for part in parts:
            sure = np.minimum.reduceat(part.values[places, tags], first)
            sure[goes_on] = np.minimum(sure[goes_on], 1 - part.values[ends[goes_on], 2 * kinds[goes_on] + 2])
            total += sure
        return total / len(parts)


def schedule(begins: np.ndarray, ends: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which intervals to keep so that none overlap and the sum of their weights is highest.

    begins, ends (exclusive), weights: (intervals,), weights above zero. Returns (intervals,) of bool.
    Of equal sums, fewer intervals are kept.
    """
    kept = np.ones(len(begins), dtype=bool)
    order = np.lexsort((ends, begins))
    # Intervals that nothing overlaps, which most are, need no search.
    reach = np.maximum.accumulate(ends[order]) if len(order) else ends
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = begins[order][1:] >= reach[:-1]
    cluster = np.cumsum(fresh) - 1
    crowded = order[np.bincount(cluster, minlength=1)[cluster] > 1] if len(order) else order
    if not len(crowded):
        return kept
    crowded = crowded[np.argsort(ends[crowded], kind="stable")]
    starts, stops, worth = begins[crowded].tolist(), ends[crowded], weights[crowded].tolist()
    before = np.searchsorted(stops, starts, side="right").tolist()  # how many end where this one begins, or earlier
    best = [0.0]
    for place, value in enumerate(worth):
        best.append(max(best[place], best[before[place]] + value))
    kept[crowded] = False
    place = len(crowded)
    while place:
        if best[place] > best[place - 1]:
            kept[crowded[place - 1]] = True
            place = before[place - 1]
        else:
            place -= 1
    return kept
