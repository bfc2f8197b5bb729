"""Votes counted by hand, with the tags B-a I-a B-b I-b after O."""

import json

import numpy as np
import pytest

from common.ensembling.blending import restore
from common.ensembling.scores import Scores
from common.ensembling.voting import EntityVote, TokenVote
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags

SCHEME = LabelScheme(("a", "b"), "BIO")


def member(*rows: tuple[int, list]) -> Scores:
    """A member that is 90 % sure of the spans of each (length, spans)."""
    values = []
    for length, spans in rows:
        row = np.full((length, len(SCHEME.tags)), 0.1 / (len(SCHEME.tags) - 1))
        row[np.arange(length), SCHEME.encode(spans, length)] = 0.9
        values.append(row)
    return Scores.of([str(place) for place in range(len(rows))], values)


def spans_of(scores: Scores) -> list:
    return decode_tags(scores.values, scores.offsets, SCHEME)


def test_an_entity_needs_more_than_half_of_the_members():
    parts = [
        member((6, [(0, 2, "a"), (3, 5, "b")]), (2, [])),
        member((6, [(0, 2, "a"), (3, 6, "b")]), (2, [(0, 1, "b")])),
        member((6, [(0, 2, "b"), (3, 6, "b")]), (2, [(0, 1, "b")])),
    ]
    assert spans_of(EntityVote(types=["a", "b"]).apply(parts)) == [[(0, 2, "a"), (3, 6, "b")], [(0, 1, "b")]]


def test_half_of_the_members_is_not_enough():
    parts = [member((3, [(0, 2, "a")])), member((3, [(0, 3, "a")]))]
    assert spans_of(EntityVote(types=["a", "b"]).apply(parts)) == [[]]
    assert spans_of(EntityVote(types=["a", "b"]).apply(parts[:1])) == [[(0, 2, "a")]]


def test_an_entity_vote_is_one_tag_a_token():
    values = EntityVote(types=["a", "b"]).apply([member((4, [(1, 3, "b")]), (0, []), (1, []))]).values
    assert values.argmax(1).tolist() == [0, 3, 4, 0, 0] and (values.sum(1) == 1).all() and values.max() == 1


def test_token_votes_are_shares_of_members():
    parts = [member((3, [(0, 2, "a")])), member((3, [(0, 1, "a")])), member((3, [(0, 3, "b")]))]
    values = TokenVote(types=["a", "b"]).apply(parts).values
    tags = {tag: place for place, tag in enumerate(SCHEME.tags)}
    assert values[0, [tags["B-a"], tags["B-b"]]] == pytest.approx([2 / 3, 1 / 3])
    assert values[1, [tags["I-a"], tags["O"], tags["I-b"]]] == pytest.approx([1 / 3] * 3)
    assert values[2, [tags["O"], tags["I-b"]]] == pytest.approx([2 / 3, 1 / 3])
    assert values.sum(1) == pytest.approx([1, 1, 1])


def test_token_votes_differ_from_entity_votes_where_borders_disagree():
    parts = [member((4, [(0, 2, "a")])), member((4, [(0, 3, "a")])), member((4, [(0, 4, "a")]))]
    assert spans_of(TokenVote(types=["a", "b"]).apply(parts)) == [[(0, 3, "a")]]
    assert spans_of(EntityVote(types=["a", "b"]).apply(parts)) == [[]]


@pytest.mark.parametrize("kind", [TokenVote, EntityVote])
def test_a_restored_vote_gives_the_same_scores(kind):
    parts = [member((5, [(0, 2, "a")])), member((5, [(0, 2, "a"), (3, 4, "b")])), member((5, [(3, 4, "b")]))]
    vote = kind(types=["a", "b"], scheme="BIO")
    again = restore(json.loads(json.dumps(vote.state())), {kind.name: kind})
    assert (again.apply(parts).values == vote.apply(parts).values).all()
