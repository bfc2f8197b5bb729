"""BM25 and TF-IDF of pairs, against their formulas written out term by term."""

from math import log

import numpy as np
import pytest

from common.text import term_statistics
from common.text.term_statistics import TermStatistics

TEXTS = ["a b c", "a b d d", "a c e", "b e f", "g h", "g c d"]


def idf(texts: int, frequency: int) -> float:
    return log(1 + (texts - frequency + 0.5) / (frequency + 0.5))


def reference(first: list[str], second: list[str], texts: list[list[str]]) -> dict[str, float]:
    """Every similarity by loops over terms; `texts` are the collection."""
    average = sum(map(len, texts)) / len(texts)
    seen = {term: sum(term in text for text in texts) for term in {*first, *second}}
    rarity = {term: idf(len(texts), count if count > 1 else 0) for term, count in seen.items()}

    def bm25(query: list[str], document: list[str]) -> float:
        score = 0.0
        for term in set(query) & set(document):
            count = document.count(term)
            score += rarity[term] * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / average))
        return score

    def vector(text: list[str]) -> dict[str, float]:
        return {term: (1 + log(text.count(term))) * rarity[term] for term in set(text)}

    a, b = vector(first), vector(second)
    shared, union = set(first) & set(second), set(first) | set(second)
    one, other = bm25(first, second), bm25(second, first)
    shares = sorted([one / sum(rarity[t] for t in set(first)), other / sum(rarity[t] for t in set(second))])
    weight = sum(rarity[term] for term in shared)
    return {
        "tfidf_cosine": sum(a[t] * b[t] for t in shared)
        / (sum(v * v for v in a.values()) ** 0.5 * sum(v * v for v in b.values()) ** 0.5),
        "bm25": log(1 + max(one, other)),
        "bm25_low": shares[0],
        "bm25_high": shares[1],
        "jaccard": len(shared) / len(union),
        "contained": len(shared) / min(len(set(first)), len(set(second))),
        "shared": log(1 + len(shared)),
        "shared_weight": log(1 + weight),
        "weighted_jaccard": weight / sum(rarity[term] for term in union),
        "rarest_shared": max((rarity[term] for term in shared), default=0.0),
    }


def test_every_similarity_is_its_formula():
    texts = [text.split() for text in TEXTS]
    pairs = [("a b b c", "b c c x"), ("g h", "a b"), ("d d e new", "e new d"), ("x", "x")]
    found = TermStatistics.count(texts).compare([a.split() for a, _ in pairs], [b.split() for _, b in pairs])
    for row, (first, second) in enumerate(pairs):
        for name, value in reference(first.split(), second.split(), texts).items():
            assert found[name][row] == pytest.approx(value), (name, first, second)


def test_a_pair_taken_out_looks_as_if_it_had_never_been_counted():
    common = [["a", "b"], ["a", "b"], ["c", "d"], ["c", "d"]]
    pair = ["a", "c", "z"], ["a", "d", "z"]
    with_it = TermStatistics.count([*common, *pair]).compare([pair[0]], [pair[1]], np.array([2.0]))
    without = TermStatistics.count(common).compare([pair[0]], [pair[1]])
    for name in ("jaccard", "shared_weight", "weighted_jaccard", "rarest_shared", "tfidf_cosine"):
        assert with_it[name] == pytest.approx(without[name]), name


def test_one_text_twice_is_taken_out_once():
    text = ["a", "b"]
    with_it = TermStatistics.count([["a"], ["a"], text]).compare([text], [text], np.array([1.0]))
    without = TermStatistics.count([["a"], ["a"]]).compare([text], [text])
    assert with_it["shared_weight"] == pytest.approx(without["shared_weight"])


def test_empty_texts_share_nothing():
    found = TermStatistics.count([["a"]]).compare([[], [], ["a"]], [[], ["a"], []])
    assert all((values == 0).all() for values in found.values())


def test_memory_is_bounded_and_frequent_terms_survive(monkeypatch):
    monkeypatch.setattr(term_statistics, "MOST_TERMS", 20)
    counted = TermStatistics.count([["often", "twin", "twin", f"once{number}"] for number in range(100)])
    assert counted.frequency == {"often": 100, "twin": 100}
    assert counted.average_length == 4
