"""Boosted stacking: the mean where it is sure, better than it where features tell, and nothing learnt from nothing."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from common.ensembling.boosting import BoostedStacking
from common.ensembling.scores import Scores, average


def pairs(rows: int = 600, seed: int = 0) -> tuple[list[Scores], np.ndarray]:
    """Two members and a feature that says which of them is right."""
    random = np.random.default_rng(seed)
    targets, who = random.integers(0, 2, rows), random.integers(0, 2, rows)
    right, wrong = np.where(targets, 0.8, 0.2), random.choice([0.2, 0.8], rows)
    ids = [str(row) for row in range(rows)]
    members = [Scores.of(ids, np.where(who == own, right, wrong)) for own in (0, 1)]
    return [*members, members[0].with_values(np.stack([who, random.random(rows)], 1))], targets


def tokens(rows: int = 300, seed: int = 0) -> tuple[list[Scores], np.ndarray]:
    """Tags that follow from a neighbour's tag, which the members know; every third token they are certain of."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 9, rows)
    first = np.concatenate([np.arange(size) % 3 == 0 for size in lengths])
    targets = random.integers(0, 3, lengths.sum())
    known = np.where(first, targets, -1)
    for place in np.flatnonzero(~first):
        targets[place] = (targets[place - 1] + 1) % 3
    values = np.where((known >= 0)[:, None], 0.99 * np.eye(3)[targets] + 0.01 / 3, 1 / 3)
    parts = [Scores.of([str(row) for row in range(rows)], np.split(values, np.cumsum(lengths)[:-1]))] * 2
    return [*parts, parts[0].with_values(np.zeros((len(targets), 0)))], targets


def test_features_tell_which_member_to_trust_on_new_rows():
    (parts, targets), (new, gold) = pairs(), pairs(seed=1)
    blend = BoostedStacking(rounds=100, learning_rate=0.2)
    blend.fit(parts, targets, lambda scores: 0.0)
    before, after = (log_loss(gold, scores.values[:, 0]) for scores in (average(new[:-1]), blend.apply(new)))
    assert after < before - 0.1


def test_of_pairs_the_score_never_falls_as_a_member_rises():
    parts, targets = pairs()
    blend = BoostedStacking(rounds=30, learning_rate=0.2)
    blend.fit(parts, targets, lambda scores: 0.0)
    lower, higher = ([parts[0].with_values(np.full((600, 1), value)), *parts[1:]] for value in (0.3, 0.6))
    assert (blend.apply(lower).values <= blend.apply(higher).values).all()


def test_tokens_are_seen_with_their_neighbours_and_sure_ones_keep_the_mean():
    (parts, targets), (new, gold) = tokens(), tokens(seed=1)
    blend = BoostedStacking(rounds=60, learning_rate=0.2)
    blend.fit(parts, targets, lambda scores: 0.0)
    found, mean = blend.apply(new), average(new[:-1])
    sure = mean.values.max(1) >= blend.certain
    assert (found.values[sure] == mean.values[sure]).all() and 0.2 < sure.mean() < 0.6
    # The second of every three follows from the token before; the third has a doubtful one before it.
    second = np.concatenate([np.arange(len(new[0].row(row))) % 3 == 1 for row in range(len(new[0]))])
    assert (found.values[second].argmax(1) == gold[second]).mean() > 0.95
    assert (mean.values[second].argmax(1) == gold[second]).mean() < 0.5


def test_a_row_does_not_depend_on_the_rows_beside_it():
    parts, targets = tokens()
    blend = BoostedStacking(rounds=10)
    blend.fit(parts, targets, lambda scores: 0.0)
    every = blend.apply(parts)
    for row in (0, 7, 299):
        alone = blend.apply([part.take(np.array([row])) for part in parts])
        assert (alone.values == every.row(row)).all()


@pytest.mark.parametrize("make", [pairs, tokens])
def test_with_one_class_alone_it_is_the_mean(make):
    parts, targets = make()
    blend = BoostedStacking()
    blend.fit(parts, np.zeros_like(targets), lambda scores: 0.0)
    assert blend.model == "" and (blend.apply(parts).values == average(parts[:-1]).values).all()


def test_the_model_is_text_that_says_what_it_is():
    parts, targets = pairs()
    blend = BoostedStacking(rounds=2)
    blend.fit(parts, targets, lambda scores: 0.0)
    assert blend.state()["model"].startswith("tree\nversion=")
