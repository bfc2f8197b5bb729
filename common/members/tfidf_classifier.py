"""A member that classifies texts by their words and characters: TF-IDF and logistic regression."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags, hstack

from common.files import atomic_path, existing, read_json, write_json
from common.text.segmentation import Segmenter

CHUNK = 2000


@dataclass
class TfidfSettings:
    """Settings of a TfidfClassifier.

    words, characters: the longest n-gram of jieba's words and of characters; 0 leaves them out. min_frequency: texts
    that a term must stand in. regularisation: C of the logistic regression, small is strong.
    naive_bayes: whether each term counts by how much likelier it is in texts of a class than in others, which helps
    most where terms speak for themselves, as in reviews; the regression then sets each class against all others.
    """

    words: int = 2
    characters: int = 3
    min_frequency: int = 2
    regularisation: float = 5.0
    # None and not False: a unit that was finished before there was this is then still the same unit.
    naive_bayes: bool | None = None


class TfidfClassifier:
    """Probability of each class of a text, or of both texts of a pair.

    classes: their names. several: whether a text has any number of them (`label` then holds lists of names), else one.
    pair: whether rows have `text_b` beside `text`; a term then counts by the text it stands in, and once more where it
    stands in both.
    Source: Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval"; sublinear counts. Wang and
    Manning 2012, "Baselines and Bigrams", section 2.2, for naive_bayes (there with an SVM).
    """

    def __init__(self, settings: TfidfSettings, classes: Sequence[str], several: bool, pair: bool) -> None:
        self.settings, self.classes, self.several, self.pair = settings, list(classes), several, pair
        self.vectorizer: Any = None
        self.weights: np.ndarray | None = None  # (classes, features)
        self.intercepts: np.ndarray | None = None

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame | None, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        """Fits on `train` alone and saves into `folder`; `held_out` and `unlabelled` are not looked at."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        least = self.settings.min_frequency if len(train) >= 50 else 1
        # sklearn cuts nothing: it is given lists of terms.
        self.vectorizer = TfidfVectorizer(analyzer=list, min_df=least, sublinear_tf=True, dtype=np.float32)
        texts = list(dict.fromkeys(text for column in self._columns for text in train[column]))
        self.vectorizer.fit(self._terms(texts))
        features = self._features(train)
        self.weights = np.zeros((len(self.classes), features.shape[1]))
        # Of a class that these rows do not have: never.
        self.intercepts = np.full(len(self.classes), -20.0)
        (self._fit_several if self.several else self._fit_one)(features, train["label"])
        self._save(folder)
        return {"features": features.shape[1]}

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows, 1, classes) shares that sum to one, or for several labels (rows, classes, 1) probabilities."""
        if not len(rows):
            return np.zeros((0, 1, len(self.classes)), np.float32)
        logits = self._features(rows) @ self.weights.T + self.intercepts
        if self.several:
            return (1 / (1 + np.exp(-logits))).astype(np.float32)[:, :, None]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)[:, None]

    def restore(self, folder: Path) -> "TfidfClassifier":
        """Loads what `fit` saved; returns itself."""
        from safetensors.numpy import load_file
        from sklearn.feature_extraction.text import TfidfVectorizer

        state = read_json(existing(folder / "terms.json", "a fitted classifier", "run the train stage again"))
        self.settings = TfidfSettings(**state["settings"])
        arrays = load_file(folder / "weights.safetensors")
        terms = {term: place for place, term in enumerate(state["terms"])}
        self.vectorizer = TfidfVectorizer(analyzer=list, vocabulary=terms, sublinear_tf=True, dtype=np.float32)
        self.vectorizer.idf_ = arrays["idf"]
        self.weights, self.intercepts = arrays["weights"], arrays["intercepts"]
        return self

    def _save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        # What is read back later is what scores now: float32 weights.
        self.weights, self.intercepts = self.weights.astype(np.float32), self.intercepts.astype(np.float32)
        arrays = {"idf": self.vectorizer.idf_, "weights": self.weights, "intercepts": self.intercepts}
        with atomic_path(folder / "weights.safetensors") as draft:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, draft)
        terms = self.vectorizer.get_feature_names_out().tolist()
        write_json(folder / "terms.json", {"settings": asdict(self.settings), "terms": terms})

    def _fit_one(self, features: csr_matrix, labels: pd.Series) -> None:
        known = {name: place for place, name in enumerate(self.classes)}
        numbers = labels.map(known).to_numpy(np.int64)
        present = np.unique(numbers)
        if len(present) < 2:
            self.intercepts[present] = 0.0
            return
        if len(present) == 2:
            self.intercepts[present[0]] = 0.0
            self._fit_class(present[1], features, numbers == present[1])
        elif self.settings.naive_bayes:
            for place in present:
                self._fit_class(place, features, numbers == place)
        else:
            model = self._regression().fit(features, numbers)
            self.weights[present], self.intercepts[present] = model.coef_, model.intercept_

    def _fit_several(self, features: csr_matrix, labels: pd.Series) -> None:
        for place, name in enumerate(self.classes):
            present = np.array([name in own for own in labels])
            if present.all():
                self.intercepts[place] = 20.0
            elif present.any():
                self._fit_class(place, features, present)

    def _fit_class(self, place: int, features: csr_matrix, present: np.ndarray) -> None:
        """One class against all others. present: (rows,) bool, whether each row is of it."""
        if not self.settings.naive_bayes:
            model = self._regression().fit(features, present)
            self.weights[place] = model.coef_[0]
        else:
            ratios = log_count_ratios(features, present)
            model = self._regression().fit(csr_matrix(features @ diags(ratios)), present)
            # Weighted once here, so that what is kept and how texts are scored stay the same.
            self.weights[place] = model.coef_[0] * ratios
        self.intercepts[place] = model.intercept_[0]

    def _regression(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.settings.regularisation, max_iter=1000)

    @property
    def _columns(self) -> tuple[str, ...]:
        return ("text", "text_b") if self.pair else ("text",)

    def _features(self, rows: pd.DataFrame) -> csr_matrix:
        sides = [self.vectorizer.transform(self._terms(rows[column].tolist())) for column in self._columns]
        return csr_matrix(hstack([*sides, sides[0].multiply(sides[1])])) if self.pair else sides[0]

    def _terms(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """The terms of each text; words and characters are told apart by a mark in front."""
        cut = Segmenter().cut_many
        for first in range(0, len(texts), CHUNK):
            chunk = [text.lower() for text in texts[first : first + CHUNK]]
            for text, words in zip(chunk, cut(chunk), strict=True):
                yield [
                    *(f"w{term}" for term in _ngrams([word for word in words if word.strip()], self.settings.words)),
                    *(f"c{term}" for term in _ngrams("".join(text.split()), self.settings.characters)),
                ]


def log_count_ratios(features: csr_matrix, present: np.ndarray) -> np.ndarray:
    """How much likelier each term is in texts of a class than in others, as a logarithm; each was seen once more.

    features: (rows, terms), above zero where a term stands in a text. present: (rows,) bool. Returns (terms,).
    """
    found = features > 0
    inside, outside = (np.asarray(found[rows].sum(axis=0)).ravel() + 1.0 for rows in (present, ~present))
    return np.log((inside / inside.sum()) / (outside / outside.sum()))


def _ngrams(items: Sequence[str], longest: int) -> Iterator[str]:
    glue = " " if isinstance(items, list) else ""
    for size in range(1, longest + 1):
        for start in range(len(items) - size + 1):
            yield glue.join(items[start : start + size])
