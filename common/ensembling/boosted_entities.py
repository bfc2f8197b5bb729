"""Entity voting in which boosted trees say how likely each entity is that some member found."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from common.ensembling.blending import Objective
from common.ensembling.boosting import DETERMINISTIC
from common.ensembling.interval_voting import IntervalConfidence
from common.ensembling.scores import Scores, average
from common.text.tag_decoding import entities, entity_tags, places_inside


@dataclass
class BoostedEntities(IntervalConfidence):
    """As IntervalConfidence, but the support of an entity is the probability that boosted trees give it.

    The entities are those that a member or the mean of all decodes. The trees see, of each member and of the mean, how
    sure it is of the entity's tags, of its edges and of what stands before and after; and the entity's length, type and
    place. All that is of the entity's own row, so that a row's entities do not depend on the rows beside it.
    bar: what an entity must be likelier than, from 0.25 to 0.6, chosen by the metric on rows that the trees for it have
        not seen: each half of the rows is judged by trees of the other, equal rows in the same half.
    rounds, leaves, learning_rate, leaf_units, l2: of the trees: their number, leaves of each, the step, the fewest
        entities of a leaf, the penalty on leaf values.
    model: the trees in LightGBM's text format; empty where a half has too few entities for a tree to split, or all of
        them are right or wrong: then their support is as in IntervalConfidence.
    Source: Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree"; scoring whole candidates
    again with what all members say of them is Collins and Koo 2005, "Discriminative reranking".
    """

    name = "boosted_entities"
    complexity = 2
    rounds: int = 150
    leaves: int = 15
    learning_rate: float = 0.05
    leaf_units: int = 40
    l2: float = 5.0
    model: str = ""

    def candidates(self, parts: Sequence[Scores]) -> tuple[np.ndarray, np.ndarray]:
        return super().candidates([*parts, average(parts)])

    def fit(self, parts: Sequence[Scores], targets: np.ndarray, objective: Objective) -> None:
        self.model = ""
        spans, _ = self.candidates(parts)
        right = self._right(spans, targets, parts[0])
        half = _half_of(average(parts))[np.searchsorted(parts[0].offsets, spans[:, 0], side="right") - 1]
        # With fewer no tree of a half could split, and all entities would be as likely.
        enough = 2 * self.leaf_units / DETERMINISTIC["bagging_fraction"]
        if any((half == side).sum() < enough or len(np.unique(right[half == side])) < 2 for side in (0, 1)):
            return super().fit(parts, targets, objective)
        table = self._table(spans, parts)
        # The trees know the rows that they grew on too well: the bar is chosen on each half by trees of the other.
        unseen = np.zeros(len(spans))
        for side in (0, 1):
            unseen[half == side] = self._predicted(self._grown(table, right, half != side), table[half == side])
        self.bar = max(self.bars(len(parts)), key=lambda bar: objective(self._taken(spans, unseen - bar, parts[0])))
        self.model = self._grown(table, right, np.ones(len(spans), dtype=bool))

    def support(self, spans: np.ndarray, counts: np.ndarray, parts: Sequence[Scores]) -> np.ndarray:
        if not self.model or not len(spans):
            return super().support(spans, counts, parts)
        return self._predicted(self.model, self._table(spans, parts))

    def _right(self, spans: np.ndarray, targets: np.ndarray, like: Scores) -> np.ndarray:
        """(entities,) whether each is one of the gold tags' entities."""
        gold = np.stack(entities(targets, like.offsets, self.labels), axis=1)
        known = set(map(tuple, gold.tolist()))
        return np.array([span in known for span in map(tuple, spans.tolist())], dtype=bool)

    def _grown(self, table: np.ndarray, right: np.ndarray, places: np.ndarray) -> str:
        import lightgbm

        settings = {
            **DETERMINISTIC, "objective": "binary", "learning_rate": self.learning_rate, "num_leaves": self.leaves,
            "min_data_in_leaf": self.leaf_units, "lambda_l2": self.l2,
        }  # fmt: skip
        data = lightgbm.Dataset(table[places], label=right[places])
        return lightgbm.train(settings, data, self.rounds).model_to_string()

    @staticmethod
    def _predicted(model: str, table: np.ndarray) -> np.ndarray:
        import lightgbm

        return lightgbm.Booster(model_str=model).predict(table, num_threads=1)

    def _table(self, spans: np.ndarray, parts: Sequence[Scores]) -> np.ndarray:
        """(entities, columns): seven of each member and of the mean, and five of the entity itself."""
        begins, ends, kinds = spans.T
        offsets, lengths = parts[0].offsets, ends - begins
        places, tags = places_inside(begins, ends), entity_tags(begins, ends, kinds, self.labels)
        first = np.cumsum(lengths) - lengths
        row = np.searchsorted(offsets, begins, side="right") - 1
        # What stands beside an entity at its row's edge is in another row, and counts as nothing.
        before, after = np.flatnonzero(begins > offsets[row]), np.flatnonzero(ends < offsets[row + 1])
        columns = [lengths, kinds, begins - offsets[row], offsets[row + 1] - ends, np.diff(offsets)[row]]
        for part in (*parts, average(parts)):
            inside = part.values[places, tags]
            outside_before, outside_after, goes_on = np.zeros((3, len(spans)))
            outside_before[before] = part.values[begins[before] - 1, 0]
            outside_after[after] = part.values[ends[after], 0]
            if self.scheme == "BIO":
                goes_on[after] = part.values[ends[after], 2 * kinds[after] + 2]
            whole = np.exp(np.add.reduceat(np.log(np.maximum(inside, 1e-6)), first)) * (1 - goes_on)
            outside = np.add.reduceat(part.values[places, 0], first) / lengths
            columns += [np.minimum.reduceat(inside, first), whole, inside[first], goes_on, outside, outside_before,
                        outside_after]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float64)


def _half_of(mean: Scores) -> np.ndarray:
    """(rows,) of 0 and 1, by chance but the same for rows with the same scores, as equal rows of one fold have them."""
    rounded = np.round(mean.values, 2)
    rows = zip(mean.offsets[:-1].tolist(), mean.offsets[1:].tolist(), strict=True)
    return np.array([crc32(rounded[begin:end].tobytes()) & 1 for begin, end in rows], dtype=np.int64)
