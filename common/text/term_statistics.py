"""How rare terms are in a collection of texts, and how much two texts share when rare terms count for more."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

K1, B = 1.2, 0.75  # the usual saturation of repeated terms and discount of long texts
MOST_TERMS = 2_000_000  # kept while counting; long articles have tens of millions of different trigrams


@dataclass
class TermStatistics:
    """Document frequencies of terms (words, characters or character n-grams).

    documents: texts counted. average_length: terms a text. frequency: in how many texts each term occurs.

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3; the
    inverse document frequency has 1 added inside the logarithm, so that it never falls below zero.
    """

    documents: int = 0
    average_length: float = 1.0
    frequency: dict[str, int] = field(default_factory=dict)

    @classmethod
    def count(cls, texts: Iterable[Sequence[str]]) -> "TermStatistics":
        """Statistics of texts, each a sequence of terms; the same text should come once.

        Terms of a single text are left out: they are as good as unseen, and most of all there are.
        """
        frequency: Counter[str] = Counter()
        documents = terms = 0
        for text in texts:
            frequency.update(dict.fromkeys(text).keys())
            documents, terms = documents + 1, terms + len(text)
            if len(frequency) > MOST_TERMS:
                frequency = Counter(_repeated(frequency))
        return cls(documents, max(1.0, terms / max(1, documents)), _repeated(frequency))

    def state(self) -> dict[str, Any]:
        """What the constructor needs, as JSON values."""
        return dict(vars(self))

    def compare(
        self, first: Sequence[Sequence[str]], second: Sequence[Sequence[str]], counted: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Similarities of pairs of texts; each is the same when the two are swapped.

        first, second: the terms of each pair's texts; terms never counted are as rare as a term can be.
        counted: (pairs,) how many different texts of each pair are among those counted (0, 1 or 2). They are taken out
            again, so that pairs the statistics come from look like new ones. None: no pair is among them.
        Returns arrays (pairs,): tfidf_cosine; bm25 (the higher of the two directions, log), bm25_low and bm25_high
        (each as a share of the query's weight); jaccard; contained (share of the smaller set); shared (log count);
        shared_weight (log sum of IDF); weighted_jaccard; rarest_shared (highest IDF).
        """
        count_a, count_b, frequency = self._count_matrices(first, second)
        in_a, in_b = count_a.sign(), count_b.sign()
        rarity = (in_a + in_b).tocsr()
        texts = np.full(rarity.shape[0], float(self.documents))
        known = frequency[rarity.indices]
        if counted is not None:
            texts -= counted
            # A pair of one text twice was counted once, though the term is in both its texts.
            known = known - np.minimum(rarity.data, np.repeat(counted, np.diff(rarity.indptr)))
        known = np.maximum(known, 0)
        texts = np.repeat(np.maximum(texts, 0), np.diff(rarity.indptr))
        rarity.data = np.log1p(np.maximum(texts - known + 0.5, 0.5) / (known + 0.5))

        weight_a, weight_b = in_a.multiply(rarity).tocsr(), in_b.multiply(rarity).tocsr()
        both = weight_a.multiply(in_b).tocsr()
        total_a, total_b, common = _sums(weight_a), _sums(weight_b), _sums(both)
        size_a, size_b, shared = in_a.getnnz(1), in_b.getnnz(1), both.getnnz(1)
        one, other = self._bm25(weight_a, count_b), self._bm25(weight_b, count_a)
        share_a, share_b = _ratio(one, total_a), _ratio(other, total_b)
        vector_a, vector_b = _damped(count_a).multiply(rarity), _damped(count_b).multiply(rarity)
        norms = np.sqrt(_sums(vector_a.multiply(vector_a)) * _sums(vector_b.multiply(vector_b)))
        return {
            "tfidf_cosine": _ratio(_sums(vector_a.multiply(vector_b)), norms),
            "bm25": np.log1p(np.maximum(one, other)),
            "bm25_low": np.minimum(share_a, share_b),
            "bm25_high": np.maximum(share_a, share_b),
            "jaccard": _ratio(shared, size_a + size_b - shared),
            "contained": _ratio(shared, np.minimum(size_a, size_b)),
            "shared": np.log1p(shared),
            "shared_weight": np.log1p(common),
            "weighted_jaccard": _ratio(common, total_a + total_b - common),
            "rarest_shared": both.max(axis=1).toarray().ravel(),
        }

    def _count_matrices(self, first, second) -> tuple[csr_matrix, csr_matrix, np.ndarray]:
        """Term counts (pairs, terms) of both sides over these pairs' terms, and each term's document frequency."""
        number: dict[str, int] = {}
        sides = []
        for texts in (first, second):
            ends = np.cumsum([0, *map(len, texts)])
            columns = (number.setdefault(term, len(number)) for term in chain.from_iterable(texts))
            sides.append((np.fromiter(columns, np.int64, ends[-1]), ends))
        shape = (len(first), max(1, len(number)))
        matrices = [csr_matrix((np.ones(len(columns)), columns, ends), shape=shape) for columns, ends in sides]
        for matrix in matrices:
            matrix.sum_duplicates()
        frequency = np.zeros(shape[1])
        frequency[: len(number)] = [self.frequency.get(term, 0) for term in number]
        return *matrices, frequency

    def _bm25(self, query_weights: csr_matrix, counts: csr_matrix) -> np.ndarray:
        """BM25 of each query (its terms' IDF) against the document in the same row (its term counts)."""
        discount = K1 * (1 - B + B * _sums(counts) / self.average_length)
        saturated = counts.copy()
        saturated.data = counts.data * (K1 + 1) / (counts.data + np.repeat(discount, np.diff(counts.indptr)))
        return _sums(query_weights.multiply(saturated))


def _repeated(frequency: Counter[str]) -> dict[str, int]:
    return {term: count for term, count in frequency.items() if count > 1}


def _damped(counts: csr_matrix) -> csr_matrix:
    damped = counts.copy()
    damped.data = 1 + np.log(counts.data)
    return damped


def _sums(matrix: csr_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=np.asarray(whole) > 0)
