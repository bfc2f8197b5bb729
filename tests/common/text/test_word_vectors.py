"""Word vectors: reproducible, trained on all the words, and placed by id."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from common.text.word_vectors import LONGEST_SENTENCE, embedding_matrix, train_word_vectors


def sentences() -> list[list[str]]:
    """Two topics whose words never meet."""
    choose = random.Random(0)
    return [[f"{topic}{choose.randint(0, 9)}" for _ in range(8)] for _ in range(1000) for topic in "ab"]


@pytest.fixture(scope="module")
def vectors():
    return train_word_vectors(sentences(), size=16, epochs=10, seed=3)


def test_words_of_a_topic_are_near_each_other(vectors):
    words = sorted(vectors)
    unit = np.stack([vectors[word] / np.linalg.norm(vectors[word]) for word in words])
    near = unit @ unit.T
    assert near[:10, :10].mean() > near[:10, 10:].mean() + 0.2
    assert unit.dtype == np.float32 and unit.shape == (20, 16)


def test_the_same_seed_gives_the_same_vectors_in_any_process(vectors):
    code = (
        "import random; from common.text.word_vectors import train_word_vectors; c = random.Random(0);"
        "s = [[f'{t}{c.randint(0, 9)}' for _ in range(8)] for _ in range(1000) for t in 'ab'];"
        "print(train_word_vectors(s, size=16, epochs=10, seed=3)['a0'].tobytes().hex())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "123"},
    ).stdout
    assert printed.strip() == vectors["a0"].tobytes().hex()
    other = train_word_vectors(sentences(), size=16, epochs=10, seed=4)
    assert not np.array_equal(other["a0"], vectors["a0"])


def test_what_can_be_read_only_once_is_read_as_often_as_needed(vectors):
    once = train_word_vectors((sentence for sentence in sentences()), size=16, epochs=10, seed=3)
    assert all(np.array_equal(once[word], vectors[word]) for word in vectors)


def test_a_sentence_that_gensim_would_cut_is_read_to_its_end():
    long = ["a", "b"] * (LONGEST_SENTENCE // 2) + ["c", "d"] * 200
    trained = train_word_vectors([long], size=4, epochs=1, seed=0)
    untrained = train_word_vectors([[*long[:LONGEST_SENTENCE], "c", "d"]], size=4, epochs=1, seed=0)
    assert set(trained) == {"a", "b", "c", "d"}
    assert np.linalg.norm(trained["c"] - untrained["c"]) > 0


def test_rare_words_have_no_vector():
    assert set(train_word_vectors([["a", "b", "a"], ["a"]], size=4, min_count=2)) == {"a"}
    with pytest.raises(ValueError, match="no word occurs 9 times"):
        train_word_vectors([["a", "b"]], size=4, min_count=9)


def test_embeddings_stand_at_their_ids(vectors):
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "b3": 4, "a0": 2}
    matrix = embedding_matrix(vocabulary, vectors, padding=0)
    assert matrix.shape == (5, 16) and matrix.dtype == np.float32
    assert (matrix[2] == vectors["a0"]).all() and (matrix[4] == vectors["b3"]).all()
    assert not matrix[0].any()
    assert matrix[1].any() and matrix[3].any()
    assert (embedding_matrix(vocabulary, vectors, padding=0) == matrix).all()
    assert embedding_matrix(vocabulary, vectors, padding=None)[0].any()


def test_words_without_a_vector_get_noise_of_the_same_spread(vectors):
    vocabulary = {"a0": 0, **{f"new{n}": n + 1 for n in range(2000)}}
    matrix = embedding_matrix(vocabulary, vectors, padding=None)
    assert matrix[1:].std() == pytest.approx(vectors["a0"].std(), rel=0.05)


def test_vectors_of_another_text_are_refused(vectors):
    with pytest.raises(ValueError, match="none of 1 words has a vector"):
        embedding_matrix({"elsewhere": 0}, vectors)
