"""The best subset against a search by brute force, for means and for votes."""

from itertools import chain, combinations

import numpy as np
import pytest

from common.ensembling.blending import Mean
from common.ensembling.scores import Scores
from common.ensembling.subset import BestSubset
from common.ensembling.voting import EntityVote, TokenVote
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags

SCHEME = LabelScheme(("a", "b"), "BIO")
INNER = {"mean": Mean, "token": lambda: TokenVote(["a", "b"]), "entity": lambda: EntityVote(["a", "b"])}


def taggers(members: int, seed: int, rows: int = 12) -> tuple[list[Scores], np.ndarray]:
    """Members of different worth on ragged rows whose gold tags are permitted."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, rows)
    gold = [SCHEME.encode([(0, 2, "ab"[random.integers(2)])] * bool(random.random() < 0.8), size) for size in lengths]
    targets = np.concatenate(gold)
    parts = []
    for _ in range(members):
        logits = 2 * np.eye(5)[targets] + random.normal(0, random.uniform(0.5, 2.5), (len(targets), 5))
        values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        parts.append(Scores.of([str(row) for row in range(rows)], np.split(values, np.cumsum(lengths)[:-1])))
    return parts, targets


def right_entities(targets: np.ndarray):
    def objective(scores: Scores) -> float:
        gold = decode_tags(np.eye(5)[targets], scores.offsets, SCHEME)
        found = decode_tags(scores.values, scores.offsets, SCHEME)
        right = sum(len({*a} & {*b}) for a, b in zip(gold, found, strict=True))
        return 2 * right / sum(len(a) + len(b) for a, b in zip(gold, found, strict=True))

    return objective


@pytest.mark.parametrize("inner", list(INNER))
@pytest.mark.parametrize("seed", range(4))
def test_up_to_the_limit_it_is_the_best_of_all_subsets(inner, seed):
    parts, targets = taggers(4, seed)
    objective = right_entities(targets)
    blend = BestSubset(INNER[inner]())
    blend.fit(parts, targets, objective)
    subsets = list(chain.from_iterable(combinations(range(4), size) for size in range(1, 5)))
    worth = {own: objective(INNER[inner]().apply([parts[number] for number in own])) for own in subsets}
    assert worth[tuple(blend.members)] == max(worth.values())
    assert len(blend.members) == min(len(own) for own in subsets if worth[own] == max(worth.values()))
    assert (blend.apply(parts).values == INNER[inner]().apply([parts[n] for n in blend.members]).values).all()


def test_twelve_members_are_searched_whole_and_thirteen_step_by_step():
    for members, expected in ((12, 2**12 - 1), (13, 13 * 14 // 2)):
        parts = [Scores.of(["x"], np.array([number / members])) for number in range(members)]
        asked = []
        BestSubset().fit(parts, np.array([1]), lambda scores, asked=asked: asked.append(1) or 0.0)
        assert len(asked) == expected


@pytest.mark.parametrize("seed", range(4))
def test_beyond_the_limit_it_is_forward_selection_by_hand(seed):
    parts, targets = taggers(6, seed)

    def objective(scores: Scores) -> float:
        return -float(((scores.values - np.eye(5)[targets]) ** 2).sum())

    blend = BestSubset(exhaustive=5)
    blend.fit(parts, targets, objective)
    mean = lambda own: parts[0].with_values(np.mean([parts[n].values for n in own], axis=0))  # noqa: E731
    chosen, best = [], []
    while len(chosen) < 6:
        chosen = max((sorted([*chosen, n]) for n in range(6) if n not in chosen), key=lambda own: objective(mean(own)))
        best.append((objective(mean(chosen)), chosen))
    assert blend.members == max(best)[1]


def test_a_tie_goes_to_the_first_member_alone():
    parts, targets = taggers(3, 0)
    blend = BestSubset()
    blend.fit([parts[0]] * 3, targets, lambda scores: 1.0)
    assert blend.members == [0]


@pytest.mark.parametrize("inner", list(INNER))
def test_a_vote_may_be_cast_in_advance(inner):
    parts, _ = taggers(3, 1)
    blend = INNER[inner]()
    votes = [blend.votes(part) for part in parts]
    assert (blend.apply(votes).values == blend.apply(parts).values).all()
