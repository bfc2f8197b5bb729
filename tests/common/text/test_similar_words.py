"""SimilarWords: nearest by cosine, of the same number of sub-tokens, read back as they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.files import DataError
from common.text.similar_words import SimilarWords
from tests.common.text.masking_batches import HAN, TOKENIZER


def ids(word: str) -> list[int]:
    return TOKENIZER(word, add_special_tokens=False)["input_ids"]


def options(similar: SimilarWords, word: str) -> set[str]:
    """Every word that may stand for `word`, found by drawing 200 times."""
    rows = np.array([ids(word)] * 200)
    pieces, found = similar.like(rows, np.random.default_rng(0))
    return {"".join(TOKENIZER.convert_ids_to_tokens(row)) for row in pieces[found]}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(-0.5, 0.9))
def test_neighbours_are_those_of_all_pairs(seed, neighbours, least):
    random = np.random.default_rng(seed)
    words = [HAN[i] for i in range(6)] + [HAN[i] + HAN[i + 1] for i in range(6)] + ["".join(HAN[:3])]
    vectors = {word: random.standard_normal(5) for word in words}
    similar = SimilarWords.of(vectors, TOKENIZER, neighbours, least)

    def cosine(a: str, b: str) -> float:
        return vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])

    for word in words:
        others = [other for other in words if other != word and len(other) == len(word)]
        nearest = sorted(others, key=lambda other: -cosine(word, other))[:neighbours]
        assert options(similar, word) == {other for other in nearest if cosine(word, other) >= least}


def test_unknown_words_have_none():
    similar = SimilarWords.of({HAN[0]: np.ones(3), HAN[1]: np.ones(3), "".join(HAN[:5]): np.ones(3)}, TOKENIZER)
    assert options(similar, HAN[0]) == {HAN[1]}
    for word in (HAN[2], HAN[0] + HAN[1], "".join(HAN[:5]), "".join(HAN[:6])):
        assert not options(similar, word)
    assert similar.any_words(4, 2, np.random.default_rng(0)) is None
    assert set(similar.any_words(99, 1, np.random.default_rng(0)).ravel().tolist()) == {*ids(HAN[0]), *ids(HAN[1])}


def test_words_with_unknown_characters_are_left_out():
    similar = SimilarWords.of({HAN[0]: np.ones(3), HAN[1]: np.ones(3), "ひ": np.ones(3)}, TOKENIZER)
    assert options(similar, HAN[0]) == {HAN[1]}


def test_they_are_read_back_as_they_were(tmp_path):
    random = np.random.default_rng(0)
    words = [HAN[i] for i in range(20)] + [HAN[i] + HAN[i + 1] for i in range(20)]
    similar = SimilarWords.of({word: random.standard_normal(4) for word in words}, TOKENIZER, 3, 0.1)
    similar.save(tmp_path / "similar.safetensors")
    loaded = SimilarWords.load(tmp_path / "similar.safetensors")
    for word in words:
        assert options(loaded, word) == options(similar, word)
    with pytest.raises(DataError, match="no such file"):
        SimilarWords.load(tmp_path / "nowhere")
    (tmp_path / "broken").write_bytes(b"12")
    with pytest.raises(DataError, match="no similar words"):
        SimilarWords.load(tmp_path / "broken")


def test_vectors_of_other_text_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        SimilarWords.of({"ひ": np.ones(3)}, TOKENIZER)
