"""Word vectors trained on a contest's own text, and an embedding matrix made from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

# gensim reads at most this many words of a sentence and drops the rest without a word (MAX_WORDS_IN_BATCH).
LONGEST_SENTENCE = 10_000


def train_word_vectors(
    sentences: Iterable[Sequence[str]],
    size: int = 100,
    epochs: int = 5,
    window: int = 5,
    min_count: int = 1,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, np.ndarray]:
    """Skip-gram vectors with negative sampling.

    sentences: lists of words; what can be read once only, such as a generator, is first read into a list.
    size: numbers in a vector. epochs: passes over the sentences. window: words to either side. min_count: rarer words
        get no vector. seed: with workers=1 the same seed, sentences and machine give the same vectors.
    Returns float32 (size,) for each word, the most frequent first.
    Raises ValueError when no word occurs min_count times.
    Source: Mikolov et al. 2013, Distributed Representations of Words and Phrases, section 2; gensim's Word2Vec.
    """
    from gensim.models import Word2Vec

    again = list(sentences) if isinstance(sentences, Iterator) else sentences
    corpus = _Pieces(again)
    model = Word2Vec(
        vector_size=size, window=window, min_count=min_count, sg=1, seed=seed, workers=workers, epochs=epochs
    )
    model.build_vocab(corpus)
    if not len(model.wv):
        raise ValueError(f"no word occurs {min_count} times: give more sentences or lower min_count")
    model.train(corpus, total_examples=model.corpus_count, epochs=epochs)
    return dict(zip(model.wv.index_to_key, model.wv.vectors, strict=True))


def embedding_matrix(
    vocabulary: Mapping[str, int],
    vectors: Mapping[str, np.ndarray],
    padding: int | None = 0,
    seed: int = 0,
    spread: float | None = None,
) -> np.ndarray:
    """An embedding matrix for a vocabulary: trained vectors where there are any, noise of the same spread elsewhere.

    vocabulary: id of each word. vectors: (size,) of each word. padding: the id whose row is zero, None for none.
    spread: standard deviation that all values are scaled to (word2vec's depends on the text's size); None leaves them.
    Returns float32 (highest id + 1, size). Raises ValueError when no word of the vocabulary has a vector.
    """
    # By id: a tokenizer lists its vocabulary in a new order each time, and a sum of floats depends on theirs.
    known = [
        (number, vectors[word]) for number, word in sorted((n, w) for w, n in vocabulary.items()) if word in vectors
    ]
    if not known:
        raise ValueError(
            f"none of {len(vocabulary):,} words has a vector: vectors and vocabulary are of different text"
        )
    ids, rows = np.array([number for number, _ in known]), np.stack([row for _, row in known])
    if spread is not None:
        rows = rows * (spread / max(float(rows.std()), 1e-12))
    noise = np.random.default_rng(seed).standard_normal((max(vocabulary.values()) + 1, rows.shape[1]))
    matrix = (noise * rows.std()).astype(np.float32)
    matrix[ids] = rows
    if padding is not None:
        matrix[padding] = 0
    return matrix


class _Pieces:
    """Sentences in pieces that gensim reads whole; can be read again as often as the sentences can."""

    def __init__(self, sentences: Iterable[Sequence[str]]) -> None:
        self.sentences = sentences

    def __iter__(self) -> Iterator[list[str]]:
        for sentence in self.sentences:
            words = list(sentence)
            for first in range(0, len(words), LONGEST_SENTENCE):
                yield words[first : first + LONGEST_SENTENCE]
