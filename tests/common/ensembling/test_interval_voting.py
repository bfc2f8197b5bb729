"""Scheduling against brute force, and votes by hand."""

from itertools import product

import numpy as np
import pytest

from common.ensembling.blending import restore
from common.ensembling.interval_voting import IntervalConfidence, IntervalVote, schedule
from common.ensembling.scores import Scores
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags


def member(scheme: LabelScheme, *rows: tuple[int, list], sure: float = 0.9) -> Scores:
    values = []
    for length, spans in rows:
        row = np.full((length, len(scheme.tags)), (1 - sure) / (len(scheme.tags) - 1))
        row[np.arange(length), scheme.encode(spans, length)] = sure
        values.append(row)
    return Scores.of([str(place) for place in range(len(rows))], values)


def f1(gold: list, scheme: LabelScheme):
    def objective(scores: Scores) -> float:
        found = decode_tags(scores.values, scores.offsets, scheme)
        right = sum(len({*a} & {*b}) for a, b in zip(gold, found, strict=True))
        return 2 * right / max(1, sum(len(a) + len(b) for a, b in zip(gold, found, strict=True)))

    return objective


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_without_overlap_has_a_higher_sum(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 11))
    begins = random.integers(0, 20, count)
    ends = begins + random.integers(1, 8, count)
    weights = random.integers(1, 5, count) / 4
    best = 0.0
    for chosen in product([False, True], repeat=count):
        chosen = np.array(chosen, dtype=bool)
        covered = np.zeros(40, dtype=int)
        for begin, end in zip(begins[chosen], ends[chosen], strict=True):
            covered[begin:end] += 1
        if covered.max(initial=0) <= 1:
            best = max(best, weights[chosen].sum())
    kept = schedule(begins, ends, weights)
    covered = np.zeros(40, dtype=int)
    for begin, end in zip(begins[kept], ends[kept], strict=True):
        covered[begin:end] += 1
    assert covered.max() <= 1 and weights[kept].sum() == pytest.approx(best)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("kind", [IntervalVote, IntervalConfidence])
def test_overlaps_go_to_the_higher_sum_of_support(kind, scheme):
    labels = LabelScheme(("a", "b"), scheme)
    parts = [
        member(labels, (6, [(0, 4, "a")]), (3, [(0, 1, "b")])),
        member(labels, (6, [(0, 2, "a"), (2, 4, "b")]), (3, [(0, 1, "b")])),
        member(labels, (6, [(1, 3, "b"), (4, 6, "a")]), (3, [])),
    ]
    vote = kind(types=["a", "b"], scheme=scheme, bar=0.1)
    found = vote.apply(parts)
    assert decode_tags(found.values, found.offsets, labels) == [[(0, 2, "a"), (2, 4, "b"), (4, 6, "a")], [(0, 1, "b")]]
    assert ((found.values == 0) | (found.values == 1)).all()
    vote.bar = 0.5
    found = vote.apply(parts)
    assert decode_tags(found.values, found.offsets, labels) == [[], [(0, 1, "b")]]


def test_the_bar_is_the_one_that_the_metric_likes_best():
    labels = LabelScheme(("a", "b"), "BIO")
    parts = [member(labels, (4, [(0, 2, "a")])), member(labels, (4, [(2, 4, "b")])), member(labels, (4, []))]
    for gold, bar in (([[(0, 2, "a"), (2, 4, "b")]], 1 / 6), ([[]], 0.5)):
        vote = IntervalVote(types=["a", "b"])
        vote.fit(parts, np.zeros(4, int), f1(gold, labels))
        assert vote.bar == pytest.approx(bar)


def test_a_doubtful_member_counts_less_and_so_does_an_end_that_may_go_on():
    labels = LabelScheme(("a",), "BIO")
    sure, unsure = (member(labels, (3, [(0, 2, "a")]), sure=sure) for sure in (0.9, 0.6))
    vote = IntervalConfidence(types=["a"])
    spans, counts = vote.candidates([sure, unsure])
    assert spans.tolist() == [[0, 2, 0]] and counts.tolist() == [2]
    assert vote.support(spans, counts, [sure, unsure]) == pytest.approx([0.75])
    values = sure.values.copy()
    values[2] = [0.6, 0.0, 0.4]
    assert vote.support(spans, counts, [sure.with_values(values)]) == pytest.approx([0.6])


@pytest.mark.parametrize("kind", [IntervalVote, IntervalConfidence])
@pytest.mark.parametrize("rows", [[], [(0, [])], [(2, []), (0, [])]])
def test_rows_without_an_entity_or_a_token_are_no_trouble(kind, rows):
    labels = LabelScheme(("a",), "BIO")
    part = member(labels, *rows) if rows else Scores.of([], []).with_values(np.zeros((0, 3)))
    vote = kind(types=["a"])
    vote.fit([part, part], np.zeros(len(part.values), int), lambda scores: 0.0)
    assert decode_tags(vote.apply([part, part]).values, part.offsets, labels) == [[] for _ in rows]


@pytest.mark.parametrize("kind", [IntervalVote, IntervalConfidence])
def test_a_restored_vote_keeps_its_bar(kind):
    vote = kind(types=["a"], bar=0.3)
    assert restore(vote.state(), {kind.name: kind}) == vote
