"""Tag probabilities become the best permitted sequence and its entities."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags, tag_sequences


def random_rows(lengths: list[int], tags: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).dirichlet(np.full(tags, 0.5), size=sum(lengths)).astype(np.float32)
    return values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def permitted(scheme: LabelScheme, length: int) -> list[tuple[int, ...]]:
    start, transition, end = scheme.allowed()
    return [
        tags
        for tags in itertools.product(range(len(scheme.tags)), repeat=length)
        if start[tags[0]] and end[tags[-1]] and all(transition[a, b] for a, b in itertools.pairwise(tags))
    ]


@pytest.mark.parametrize("name", ["BIO", "BIOES"])
@pytest.mark.parametrize("bias", [0.0, 0.7, -0.7])
def test_the_best_of_all_permitted_sequences_is_found(name: str, bias: float) -> None:
    scheme = LabelScheme(("x",) if name == "BIOES" else ("x", "y"), name)
    lengths = [1, 4, 0, 3, 4, 2, 4, 4, 1, 4, 4]
    values, offsets = random_rows(lengths, len(scheme.tags), seed=int(10 * bias) + 20)
    found = tag_sequences(values, offsets, scheme, bias)
    scores = np.log(np.maximum(values, 1e-12))
    scores[:, 1:] += bias
    for row, length in enumerate(lengths):
        own = scores[offsets[row] : offsets[row + 1]]
        if length:
            best = max(permitted(scheme, length), key=lambda tags, own=own: own[range(len(tags)), tags].sum())
            assert found[offsets[row] : offsets[row + 1]].tolist() == list(best)


@given(st.lists(st.integers(0, 9), max_size=12), st.sampled_from(["BIO", "BIOES"]), st.integers(0, 1000))
@settings(max_examples=60)
def test_entities_are_those_of_the_tags(lengths: list[int], name: str, seed: int) -> None:
    scheme = LabelScheme(("x", "y"), name)
    values, offsets = random_rows(lengths, len(scheme.tags), seed)
    tags = tag_sequences(values, offsets, scheme)
    expected = [scheme.decode(tags[a:b].tolist()) for a, b in itertools.pairwise(offsets.tolist())]
    assert decode_tags(values, offsets, scheme) == expected


def test_neighbouring_entities_and_rows_stay_apart() -> None:
    scheme = LabelScheme(("x", "y"))
    tags = [scheme.tags.index(tag) for tag in ("B-x", "I-x", "B-x", "B-y", "B-y", "I-y", "O", "B-x")]
    values = np.eye(len(scheme.tags), dtype=np.float32)[tags]
    offsets = np.array([0, 2, 5, 5, 8])
    expected = [[(0, 2, "x")], [(0, 1, "x"), (1, 2, "y"), (2, 3, "y")], []]
    # The row that would begin inside an entity has to find a permitted sequence.
    assert decode_tags(values, offsets, scheme)[:3] == expected
    assert decode_tags(np.zeros((0, 5), np.float32), np.array([0, 0]), scheme) == [[]]
