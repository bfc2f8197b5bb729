"""The best subset of members for any blend that has nothing else to fit: means and votes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from common.ensembling.blending import Objective, Wrapped
from common.ensembling.scores import Scores


@dataclass
class BestSubset(Wrapped):
    """The members whose mean or vote has the highest metric; a tie goes to the smaller subset, then the earlier one.

    inner: how the chosen members are combined (Mean, TokenVote, EntityVote). exhaustive: up to this many members every
    subset is tried (12 members have 4,095); beyond, members are added one by one, the best first, and the best subset
    on that way is kept. members: the numbers of those chosen.
    """

    name = "best_subset"
    complexity = 1
    exhaustive: int = 12
    members: list[int] = field(default_factory=list)

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        votes = [self.inner.votes(part) for part in parts]

        def worth(members: tuple[int, ...]) -> float:
            return objective(self.inner.apply([votes[number] for number in members]))

        everyone = range(len(parts))
        if len(parts) <= self.exhaustive:
            tried = [members for size in everyone for members in combinations(everyone, size + 1)]
            self.members = list(max(tried, key=worth))
            return
        way: dict[tuple[int, ...], float] = {}
        current: tuple[int, ...] = ()
        while len(current) < len(parts):
            wider = {tuple(sorted((*current, number))): 0.0 for number in everyone if number not in current}
            wider = {members: worth(members) for members in wider}
            current = max(wider, key=wider.get)
            way[current] = wider[current]
        self.members = list(max(way, key=way.get))

    def apply(self, parts: Sequence[Scores]) -> Scores:
        return self.inner.apply([parts[number] for number in self.members])
