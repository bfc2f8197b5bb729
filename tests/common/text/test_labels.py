"""LabelScheme: spans and tags, checked against seqeval in strict mode and against brute force."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, IOBES, Entities

from common.text.labels import LabelScheme

SEQEVAL = {"BIO": IOB2, "BIOES": IOBES}
schemes = st.builds(
    LabelScheme, st.sampled_from([("a",), ("a", "b"), ("b", "x-y", "a")]), st.sampled_from(["BIO", "BIOES"])
)


@st.composite
def tagged(draw):
    scheme = draw(schemes)
    return scheme, draw(st.lists(st.integers(0, len(scheme.tags) - 1), max_size=14))


@st.composite
def annotated(draw):
    scheme, spans, place = draw(schemes), [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = place + draw(st.integers(0, 2))
        place = start + draw(st.integers(1, 4))
        spans.append((start, place, draw(st.sampled_from(scheme.types))))
    return scheme, spans, place + draw(st.integers(0, 2))


def by_seqeval(scheme: LabelScheme, tag_ids) -> list[tuple[int, int, str]]:
    entities = Entities([[scheme.tags[number] for number in tag_ids]], SEQEVAL[scheme.scheme]).entities[0]
    return [(entity.start, entity.end, entity.tag) for entity in entities]


def permitted(scheme: LabelScheme, tag_ids) -> bool:
    start, transition, end = scheme.allowed()
    steps = all(transition[a, b] for a, b in pairwise(tag_ids))
    return bool(start[tag_ids[0]] and steps and end[tag_ids[-1]])


@given(tagged())
def test_decoding_is_what_seqeval_finds_in_strict_mode(example):
    scheme, tag_ids = example
    assert scheme.decode(tag_ids) == by_seqeval(scheme, tag_ids)


@pytest.mark.parametrize("name", SEQEVAL)
def test_every_short_sequence_decodes_as_seqeval_does(name):
    scheme = LabelScheme(("a", "b"), name)
    for length in range(1, 5 if name == "BIO" else 4):
        for tag_ids in product(range(len(scheme.tags)), repeat=length):
            assert scheme.decode(tag_ids) == by_seqeval(scheme, tag_ids), tag_ids


@given(annotated())
def test_spans_come_back_from_their_tags(example):
    scheme, spans, length = example
    tags = scheme.encode(spans, length)
    assert tags.shape == (length,) and tags.dtype == np.int64
    assert scheme.decode(tags) == spans == by_seqeval(scheme, tags)
    assert not length or permitted(scheme, tags)


@pytest.mark.parametrize("name", SEQEVAL)
def test_permitted_sequences_are_exactly_those_that_spans_can_make(name):
    scheme = LabelScheme(("a", "b"), name)
    for length in (1, 2, 3):
        for tag_ids in product(range(len(scheme.tags)), repeat=length):
            again = scheme.encode(scheme.decode(tag_ids), length)
            assert permitted(scheme, tag_ids) == (again.tolist() == list(tag_ids)), tag_ids


def test_tags_are_named_and_ordered():
    assert LabelScheme(("a", "b")).tags == ("O", "B-a", "I-a", "B-b", "I-b")
    assert LabelScheme(("a",), "BIOES").tags == ("O", "B-a", "I-a", "E-a", "S-a")


def test_neighbouring_entities_of_a_type_stay_two():
    for name in SEQEVAL:
        scheme = LabelScheme(("a",), name)
        assert scheme.decode(scheme.encode([(0, 2, "a"), (2, 3, "a")], 3)) == [(0, 2, "a"), (2, 3, "a")]


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((0, 0, "a"), "does not lie inside a sequence of 4 tokens"),
        ((3, 5, "a"), "does not lie inside"),
        ((-1, 2, "a"), "does not lie inside"),
        ((3, 4, "z"), "unknown entity type 'z': expected one of a, b"),
        ((1, 3, "b"), "overlaps another"),
    ],
)
def test_wrong_spans_are_named(span, message):
    with pytest.raises(ValueError, match=message):
        LabelScheme(("a", "b")).encode([(0, 2, "a"), span], 4)


@pytest.mark.parametrize(
    ("types", "scheme", "message"),
    [(("a",), "BILOU", "expected BIO or BIOES"), ((), "BIO", "not be empty"), (("a", "a"), "BIO", "once each")],
)
def test_wrong_schemes_are_named(types, scheme, message):
    with pytest.raises(ValueError, match=message):
        LabelScheme(types, scheme)
