"""Boosted entities: what the trees see by hand, what they learn on new rows, and when there is nothing to learn."""

import numpy as np
import pytest

from common.ensembling.blending import restore
from common.ensembling.boosted_entities import BoostedEntities, _half_of
from common.ensembling.interval_voting import IntervalConfidence
from common.ensembling.scores import Scores
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags
from tests.common.ensembling.test_interval_voting import f1, member


def sample(scheme: LabelScheme, rows: int, seed: int) -> tuple[list[Scores], list[list[tuple[int, int, str]]]]:
    """Two members: the first is right about a and invents b, the second the other way round; a row has 12 tokens."""
    random = np.random.default_rng(seed)
    gold, found = [], ([], [])
    noise = random.uniform(0.95, 1, (12 * rows, 1)).astype(np.float32)  # no two rows are equal
    for _ in range(rows):
        spans = [(2, 4, "a"), (6, 9, "b")]
        real = [span for span in spans if random.random() < 0.5]
        gold.append(real)
        for place, trusted in enumerate("ab"):
            found[place].append((12, [span for span in spans if (span in real if span[2] == trusted else
                                                                 random.random() < 0.5)]))  # fmt: skip
    parts = [member(scheme, *own, sure=0.8) for own in found]
    return [part.with_values(part.values * noise) for part in parts], gold


def targets_of(scheme: LabelScheme, gold: list) -> np.ndarray:
    return np.concatenate([scheme.encode(spans, 12) for spans in gold])


@pytest.mark.parametrize("name", ["BIO", "BIOES"])
def test_on_new_rows_each_member_is_trusted_where_it_is_right(name):
    scheme = LabelScheme(("a", "b"), name)
    parts, gold = sample(scheme, 300, 0)
    others, wanted = sample(scheme, 200, 1)
    scores = {}
    for kind in (IntervalConfidence, BoostedEntities):
        blend = kind(types=["a", "b"], scheme=name)
        blend.fit(parts, targets_of(scheme, gold), f1(gold, scheme))
        scores[kind] = f1(wanted, scheme)(blend.apply(others))
    assert scores[BoostedEntities] > 0.99 > 0.85 > scores[IntervalConfidence]


@pytest.mark.parametrize("copies", [1, 2])
def test_the_bar_is_not_chosen_by_trees_that_know_the_rows_or_their_equals(copies):
    scheme = LabelScheme(("a", "b"), "BIO")
    random = np.random.default_rng(0)
    count = 300 // copies
    gold = [
        own for own in ([(2, 4, "a")] if random.random() < 0.5 else [] for _ in range(count)) for _ in range(copies)
    ]
    asked = []

    def objective(scores: Scores) -> float:
        asked.append(f1(gold, scheme)(scores))
        return asked[-1]

    blend = BoostedEntities(types=["a", "b"], leaf_units=1, leaves=63, l2=0.0)
    # Each row's probabilities are its own, so that trees could learn rows by heart; they tell nothing of other rows.
    values = member(scheme, *[(12, [(2, 4, "a")])] * count).values * random.uniform(0.9, 1, (12 * count, 1))
    values = values.reshape(count, 12, 5).repeat(copies, axis=0).reshape(-1, 5)
    parts = [Scores(tuple(map(str, range(len(gold)))), np.arange(len(gold) + 1) * 12, values.astype(np.float32))]
    blend.fit(parts, targets_of(scheme, gold), objective)
    assert max(asked) < 0.75
    assert f1(gold, scheme)(blend.apply(parts)) > 0.8


def test_a_row_is_whole_in_one_half():
    scheme = LabelScheme(("a", "b"), "BIO")
    (part, *_), _ = sample(scheme, 100, 0)
    halves = _half_of(part)
    assert 30 < halves.sum() < 70
    places = np.array([5, 80, 3])
    assert np.array_equal(_half_of(part.take(places)), halves[places])


def test_an_entity_that_only_the_mean_finds_is_judged_too():
    blend = BoostedEntities(types=["a"])
    first, second = np.tile([0.0, 1.0, 0.0], (2, 3, 1))
    first[:, :], second[:, :] = [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]
    first[1], second[1] = [0.1, 0.5, 0.4], [0.6, 0.4, 0.0]
    first[2], second[2] = [0.1, 0.0, 0.9], [0.9, 0.1, 0.0]
    spans = blend.candidates([Scores.of(["x"], [own]) for own in (first, second)])[0].tolist()
    assert [1, 3, 0] in spans and [1, 2, 0] in spans and len(spans) == 2


def test_what_the_trees_see_of_an_entity():
    first = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.4, 0.2, 0.4]])
    second = np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0, 0.5], [1, 0, 0]])
    parts = [Scores.of(["x", "y"], [own[:1], own]) for own in (first, second)]
    table = BoostedEntities(types=["a"])._table(np.array([[2, 4, 0]]), parts)[0]
    assert table[:5].tolist() == [2, 0, 1, 1, 4]
    assert table[5:12] == pytest.approx([0.5, 0.5 * 0.8 * 0.6, 0.5, 0.4, 0.15, 0.7, 0.4], abs=1e-6)
    assert table[12:19] == pytest.approx([0.5, 0.5, 1, 0, 0.25, 1, 1], abs=1e-6)
    assert table[19:] == pytest.approx([0.65, 0.75 * 0.65 * 0.8, 0.75, 0.2, 0.2, 0.85, 0.7], abs=1e-6)
    # In BIOES the tags themselves say where an entity ends.
    wide = np.zeros((4, 5))
    wide[:, 0], wide[1, 1], wide[2, 3], wide[2, 2], wide[3, 2] = [0.7, 0.2, 0.1, 0.4], 0.8, 0.6, 0.3, 0.6
    table = BoostedEntities(types=["a"], scheme="BIOES")._table(np.array([[1, 3, 0]]), [Scores.of(["x"], [wide])])[0]
    assert table[5:12] == pytest.approx([0.6, 0.48, 0.8, 0, 0.15, 0.7, 0.4], abs=1e-6)
    # At a row's edges there is nothing beside the entity, though another row stands there in the arrays.
    edges = BoostedEntities(types=["a"])._table(np.array([[1, 5, 0]]), parts)[0]
    assert edges[[8, 10, 11]].tolist() == [0, 0, 0]


def test_a_row_does_not_depend_on_the_rows_beside_it():
    scheme = LabelScheme(("a", "b"), "BIO")
    parts, gold = sample(scheme, 300, 0)
    blend = BoostedEntities(types=["a", "b"])
    blend.fit(parts, targets_of(scheme, gold), f1(gold, scheme))
    places = np.array([5, 80, 3])
    alone = blend.apply([part.take(places) for part in parts])
    assert np.array_equal(alone.values, blend.apply(parts).take(places).values)


def test_the_same_rows_give_the_same_trees_and_a_restored_blend_the_same_entities():
    scheme = LabelScheme(("a", "b"), "BIO")
    parts, gold = sample(scheme, 300, 0)
    blends = [BoostedEntities(types=["a", "b"]) for _ in range(2)]
    for blend in blends:
        blend.fit(parts, targets_of(scheme, gold), f1(gold, scheme))
    again = restore(blends[0].state(), {"boosted_entities": BoostedEntities})
    assert blends[0] == blends[1] == again
    assert np.array_equal(again.apply(parts).values, blends[0].apply(parts).values)


@pytest.mark.parametrize("gold", [[], [(2, 4, "a")]])
def test_where_all_entities_are_right_or_wrong_it_votes_by_confidence(gold):
    scheme = LabelScheme(("a",), "BIO")
    parts = [member(scheme, *[(6, [(2, 4, "a")])] * 8)] * 2
    blend, plain = BoostedEntities(types=["a"]), IntervalConfidence(types=["a"])
    for own in (blend, plain):
        own.fit(parts, np.concatenate([scheme.encode(gold, 6)] * 8), f1([gold] * 8, scheme))
    assert blend.model == "" and blend.bar == plain.bar
    assert np.array_equal(blend.apply(parts).values, plain.apply(parts).values)


def test_too_few_entities_for_a_tree_are_judged_by_confidence():
    scheme = LabelScheme(("a", "b"), "BIO")
    parts, gold = sample(scheme, 30, 0)
    blend, plain = BoostedEntities(types=["a", "b"]), IntervalConfidence(types=["a", "b"])
    for own in (blend, plain):
        own.fit(parts, targets_of(scheme, gold), f1(gold, scheme))
    assert blend.model == "" and np.array_equal(blend.apply(parts).values, plain.apply(parts).values)


@pytest.mark.parametrize("rows", [[], [(0, [])], [(2, []), (0, [])]])
def test_rows_without_an_entity_or_a_token_are_no_trouble(rows):
    scheme = LabelScheme(("a", "b"), "BIO")
    parts, gold = sample(scheme, 300, 0)
    blend = BoostedEntities(types=["a", "b"])
    blend.fit(parts, targets_of(scheme, gold), f1(gold, scheme))
    part = member(scheme, *rows) if rows else Scores.of([], []).with_values(np.zeros((0, 5)))
    assert decode_tags(blend.apply([part, part]).values, part.offsets, scheme) == [[] for _ in rows]
    blend.fit([part, part], np.zeros(len(part.values), int), lambda scores: 0.0)
    assert blend.model == ""
