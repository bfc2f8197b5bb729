"""Features of text pairs that need no neural network: what the two share, and how rare it is."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.text.segmentation import Segmenter
from common.text.term_statistics import TermStatistics

NUMBER = re.compile(r"\d+(?:\.\d+)?")
LATIN = re.compile(r"[a-z][a-z0-9]+")
# jieba's part-of-speech tags by what they say about a topic.
KINDS = {"person": ("nr", "nrfg", "nrt"), "place": ("ns",), "noun": ("n", "nz", "nt", "vn", "eng"), "verb": ("v", "a")}
ABSENT_IDF, CHARACTER_IDF = 11.0, 2.0  # of a word that jieba's table lacks; of a single character, which it hardly has
CHUNK = 1000  # pairs compared at once, which bounds memory on long texts


class PairFeatures:
    """Turns pairs of texts into numbers.

    characters: what is read of each text; topics show early, and articles of many thousands of characters stay fast.
    subsequence_characters: what is read for the longest common subsequence and substring, whose time grows with both.

    How rare terms are is counted on the pairs given to `fit` and, for words, also looked up in the word list of general
    Chinese that jieba ships. Every feature is the same when the two texts are swapped.
    """

    def __init__(self, characters: int = 800, subsequence_characters: int = 600) -> None:
        self.characters, self.subsequence_characters = characters, subsequence_characters
        self.statistics: dict[str, TermStatistics] = {}
        self._cut = Segmenter().cut_many

    def fit(self, sources: Sequence[str], targets: Sequence[str]) -> "PairFeatures":
        """Counts how rare terms are in these pairs' texts, each different text once; returns itself."""
        texts = list(dict.fromkeys(map(self._read, [*sources, *targets])))
        self.statistics = {view: TermStatistics.count(terms(texts)) for view, terms in self._views().items()}
        return self

    def transform(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        fitted: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Features of pairs.

        sources, targets: the texts of each pair. fitted: these are the pairs that `fit` saw; each is then compared as
            if `fit` had not seen its own texts, as is the case for new pairs. progress: told (pairs done, all pairs).
        Returns float64 (pairs, features), named. Raises RuntimeError before `fit`.
        """
        if not self.statistics:
            raise RuntimeError("PairFeatures.transform was called before fit")
        parts = [self._compare([], [], fitted)]
        for begin in range(0, len(sources), CHUNK):
            parts.append(self._compare(sources[begin : begin + CHUNK], targets[begin : begin + CHUNK], fitted))
            if progress:
                progress(min(begin + CHUNK, len(sources)), len(sources))
        return pd.concat(parts, ignore_index=True)

    def unfitted(self, sources: Sequence[str], targets: Sequence[str]) -> pd.DataFrame:
        """Those of the features that need no statistics, before `fit` too: nothing in them comes from other pairs."""
        first, second = list(map(self._read, sources)), list(map(self._read, targets))
        pairs = list(zip(self._words(first), self._words(second), first, second, strict=True))
        columns = _columns([_word_features(*pair) for pair in pairs], WORD_NAMES)
        columns |= _columns([self._shape(*pair[2:]) for pair in pairs], SHAPE_NAMES)
        return pd.DataFrame(columns, dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as JSON values."""
        return {
            "characters": self.characters,
            "subsequence_characters": self.subsequence_characters,
            "statistics": {view: statistics.state() for view, statistics in self.statistics.items()},
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "PairFeatures":
        """The features that `state` describes, fitted as they were."""
        features = cls(state["characters"], state["subsequence_characters"])
        features.statistics = {view: TermStatistics(**values) for view, values in state["statistics"].items()}
        return features

    def _read(self, text: str) -> str:
        """What is compared of a text: without white space; full-width and half-width, upper and lower case are one."""
        return "".join(unicodedata.normalize("NFKC", text).lower().split())[: self.characters]

    def _words(self, texts: Sequence[str]) -> Iterator[list[str]]:
        for words in self._cut(texts):
            yield [word for word in words if any(map(str.isalnum, word))]

    def _views(self) -> dict[str, Callable[[Sequence[str]], Iterator[list[str]]]]:
        def grams(length: int) -> Callable[[Sequence[str]], Iterator[list[str]]]:
            return lambda texts: (character_grams(text, length) for text in texts)

        return {"word": self._words, "character": grams(1), "bigram": grams(2), "trigram": grams(3)}

    def _compare(self, sources: Sequence[str], targets: Sequence[str], fitted: bool) -> pd.DataFrame:
        first, second = list(map(self._read, sources)), list(map(self._read, targets))
        counted = np.array([1.0 if a == b else 2.0 for a, b in zip(first, second, strict=True)]) if fitted else None
        columns: dict[str, Any] = {}
        for view, terms in self._views().items():
            sides = list(terms(first)), list(terms(second))
            for name, values in self.statistics[view].compare(*sides, counted).items():
                columns[f"{view}_{name}"] = values
            if view == "word":
                pairs = zip(*sides, first, second, strict=True)
                columns |= _columns([_word_features(*pair) for pair in pairs], WORD_NAMES)
        columns |= _columns([self._shape(*pair) for pair in zip(first, second, strict=True)], SHAPE_NAMES)
        return pd.DataFrame(columns, dtype=np.float64)

    def _shape(self, first: str, second: str) -> list[float]:
        """Order, numbers, Latin words and lengths of one pair; in the order of SHAPE_NAMES."""
        a, b = first[: self.subsequence_characters], second[: self.subsequence_characters]
        short, both = max(1, min(len(a), len(b))), max(1, len(a) + len(b))
        subsequence, substring = common_subsequence(a, b), common_substring(a, b)
        numbers_a, numbers_b = set(NUMBER.findall(first)), set(NUMBER.findall(second))
        latin = set(LATIN.findall(first)) & set(LATIN.findall(second))
        low, high = sorted((len(first), len(second)))
        return [
            subsequence / short, 2 * subsequence / both, substring / short, log(1 + substring),
            len(numbers_a & numbers_b), bool(numbers_a and numbers_b and not numbers_a & numbers_b), len(latin),
            log(1 + low), log(1 + high), low / max(1, high),
        ]  # fmt: skip


SHAPE_NAMES = (
    "subsequence_of_shorter", "subsequence_of_both", "substring_of_shorter", "substring_length",
    "shared_numbers", "other_numbers", "shared_latin", "length_low", "length_high", "length_ratio",
)  # fmt: skip
WORD_NAMES = (
    "general_cosine", "general_jaccard", "general_shared_weight", "general_rarest_shared",
    "top5_shared", "top10_shared", "found_low", "found_high",
    *(f"{part}_{kind}" for kind in KINDS for part in ("shared", "contained")),
)  # fmt: skip


def direction(name: str) -> int:
    """How a feature speaks for a match: 1 the more the likelier, -1 the less likely, 0 either way."""
    return -1 if name == "other_numbers" else 0 if name.startswith("length_") else 1


def character_grams(text: str, length: int) -> list[str]:
    """Runs of `length` letters, digits or Chinese characters; none goes across punctuation."""
    grams = [text[begin : begin + length] for begin in range(len(text) - length + 1)]
    return [gram for gram in grams if gram.isalnum()]


def common_subsequence(first: str, second: str) -> int:
    """Characters in the longest common subsequence.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited"; a Python integer is the bit vector, so a step
    of the dynamic programme handles all characters of the longer text at once.
    """
    if len(first) < len(second):
        first, second = second, first
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    everything = row = (1 << len(first)) - 1
    for character in second:
        if matches := row & places.get(character, 0):
            row = (row + matches | row - matches) & everything
    return len(first) - row.bit_count()


def common_substring(first: str, second: str) -> int:
    """Characters in the longest common substring."""
    longest = 0
    for begin in range(len(first)):
        while begin + longest < len(first) and first[begin : begin + longest + 1] in second:
            longest += 1
    return longest


def _word_features(a: list[str], b: list[str], text_a: str, text_b: str) -> list[float]:
    """What general Chinese says about the words of one pair; in the order of WORD_NAMES."""
    weight = {word: general_idf(word) for word in {*a, *b}}
    vector_a, vector_b = ({w: (1 + log(n)) * weight[w] for w, n in Counter(words).items()} for words in (a, b))
    shared = vector_a.keys() & vector_b.keys()
    # Sums run over sorted words: the order of a set of strings changes from process to process, and rounding with it.
    common = sum(weight[word] for word in sorted(shared))
    norms = (sum(v * v for v in vector_a.values()) * sum(v * v for v in vector_b.values())) ** 0.5
    long_a, long_b = ({w: v for w, v in vector.items() if len(w) > 1} for vector in (vector_a, vector_b))
    top_a, top_b = (sorted(vector, key=lambda word: (-vector[word], word)) for vector in (long_a, long_b))
    # A word counts as found when the other text has its characters, however that text was cut into words.
    found = sorted(
        sum(v for w, v in vector.items() if w in text) / max(1e-9, sum(vector.values()))
        for vector, text in ((long_a, text_b), (long_b, text_a))
    )
    features = [
        sum(vector_a[word] * vector_b[word] for word in sorted(shared)) / max(1e-9, norms),
        common / max(1e-9, sum(weight[word] for word in sorted(weight))),
        log(1 + common), max((weight[word] for word in shared), default=0.0),
        len({*top_a[:5]} & {*top_b[:5]}), len({*top_a[:10]} & {*top_b[:10]}), *found,
    ]  # fmt: skip
    tags = general_chinese()[1]
    for kind in KINDS.values():
        of_a, of_b = ({word for word in side if tags.get(word, "nz") in kind} for side in (long_a, long_b))
        features += [len(of_a & of_b), len(of_a & of_b) / max(1, min(len(of_a), len(of_b)))]
    return features


def general_idf(word: str) -> float:
    """Inverse document frequency of a word in general Chinese; natural logarithm."""
    return general_chinese()[0].get(word, ABSENT_IDF) if len(word) > 1 else CHARACTER_IDF


@lru_cache(maxsize=1)
def general_chinese() -> tuple[dict[str, float], dict[str, str]]:
    """The IDF and the part-of-speech tag of each word in the tables that jieba ships; takes about a second, once."""
    folder = Path(find_spec("jieba").origin).parent
    with (folder / "analyse" / "idf.txt").open(encoding="utf-8") as lines:
        idf = {word: float(value) for word, value in map(str.split, lines)}
    with (folder / "dict.txt").open(encoding="utf-8") as lines:
        tags = {word: tag for word, _, tag in map(str.split, lines)}
    return idf, tags


def _columns(rows: list[list[float]], names: Sequence[str]) -> dict[str, np.ndarray]:
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return dict(zip(names, values.T, strict=True))
