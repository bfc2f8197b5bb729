"""What does without an encoder: TF-IDF with logistic regression, lexical pair features, a sparse CRF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.tasks import Task
from common.members.lexical_matcher import LexicalMatcher
from common.members.sparse_crf import SparseCrf, SparseCrfSettings
from common.text.labels import LabelScheme, Span
from common.text.lexical import PairFeatures
from common.text.segmentation import Segmenter
from common.text.tag_decoding import decode_tags


def predict(
    task: Task, names: tuple[str, ...], train: pd.DataFrame, held_out: pd.DataFrame, folder: Path
) -> dict[str, list[Any]]:
    """Fits on `train`; returns predictions of `held_out` by the name of what made them.

    names: classes or entity types. folder: for what a fit leaves behind. Predictions as `tasks.score` reads them.
    """
    if task.kind == "tagging":
        return {"sparse CRF": sparse_crf(names, train, held_out, folder)}
    if task.kind == "matching":
        matcher = LexicalMatcher()
        matcher.fit(train, None, (), folder)
        chances = matcher.scores(held_out)
        as_probability = task.metric == "f1"
        return {"lexical features": (chances if as_probability else (chances >= 0.5).astype(int)).tolist()}
    if task.kind == "texts":
        return {"TF-IDF": text_classes(train["source"], train["label"], held_out["source"])}
    return {
        "TF-IDF of the hypothesis": text_classes(train["target"], train["label"], held_out["target"]),
        "lexical features": pair_classes(train, held_out),
    }


def text_classes(texts: Sequence[str], labels: Sequence[int], held_out: Sequence[str]) -> list[int]:
    """Logistic regression over the TF-IDF of words (1 and 2) and characters (1 to 3)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    segmenter = Segmenter()
    words = TfidfVectorizer(tokenizer=segmenter.cut, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    model = make_pipeline(make_union(words, characters), LogisticRegression(C=10, max_iter=1000))
    return model.fit(list(texts), list(labels)).predict(list(held_out)).tolist()


def pair_classes(train: pd.DataFrame, held_out: pd.DataFrame) -> list[int]:
    """Boosted trees over lexical pair features."""
    import xgboost

    features = PairFeatures()
    features.fit(train["source"].tolist(), train["target"].tolist())
    tables = [
        features.transform(rows["source"].tolist(), rows["target"].tolist(), fitted).to_numpy()
        for rows, fitted in ((train, True), (held_out, False))
    ]
    labels = train["label"].to_numpy()
    settings = {"objective": "multi:softprob", "num_class": int(labels.max()) + 1, "max_depth": 4, "eta": 0.1,
                "subsample": 0.7, "colsample_bytree": 0.5, "nthread": 1, "seed": 1}  # fmt: skip
    trees = xgboost.train(settings, xgboost.DMatrix(tables[0], label=labels, nthread=1), 100)
    return trees.predict(xgboost.DMatrix(tables[1], nthread=1)).argmax(1).tolist()


def sparse_crf(
    kinds: tuple[str, ...], train: pd.DataFrame, held_out: pd.DataFrame, folder: Path
) -> list[list[list[Any]]]:
    """A CRF over characters, their neighbours and a lexicon of the training entities, in BIOES."""
    scheme = LabelScheme(kinds, "BIOES")
    crf = SparseCrf(SparseCrfSettings(clusters=0, iterations=100), scheme)
    crf.fit(train, None, (), folder)
    return spans_of(crf.scores(held_out), scheme)


def spans_of(marginals: list[np.ndarray], scheme: LabelScheme) -> list[list[list[Any]]]:
    """The entities of each row by its tags' probabilities, (tokens, tags) a row, as JSON holds them."""
    offsets = np.cumsum([0, *map(len, marginals)])
    values = np.concatenate([*marginals, np.zeros((0, len(scheme.tags)), np.float32)])
    found: list[list[Span]] = decode_tags(values, offsets, scheme)
    return [[[int(start), int(end), kind] for start, end, kind in row] for row in found]
