"""Contest metrics."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from common.text.labels import Span


def f1_of_counts(right: float, predicted: float, gold: float) -> dict[str, float]:
    """Precision, recall and F1 from counts; each is 0 where its denominator is 0."""
    precision = right / predicted if predicted else 0.0
    recall = right / gold if gold else 0.0
    f1 = 2 * right / (predicted + gold) if predicted + gold else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def binary_f1(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """F1 of label 1. labels, predictions: (rows,) of 0 and 1. Raises ValueError when their lengths differ."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"{len(labels)} labels but {len(predictions)} predictions")
    return f1_of_counts(float((labels & predictions).sum()), float(predictions.sum()), float(labels.sum()))["f1"]


def f1_by_group(groups: Sequence[Hashable], labels: Sequence[int], predictions: Sequence[int]) -> dict[Hashable, float]:
    """F1 of label 1 within each group of rows, in order of first appearance."""
    groups, labels, predictions = np.asarray(groups), np.asarray(labels), np.asarray(predictions)
    return {
        group: binary_f1(labels[groups == group], predictions[groups == group])
        for group in dict.fromkeys(groups.tolist())
    }


def entity_f1(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> dict[str, dict[str, float]]:
    """Strict entity-level precision, recall and F1: an entity is right when start, end and type all agree.

    gold, predicted: the spans of each row. Returns {"micro": {...}, type: {...}}, types in alphabetical order.
    Raises ValueError when the numbers of rows differ. Source: the CoNLL 2000/2003 evaluation (conlleval).
    """
    right, found, wanted = Counter(), Counter(), Counter()
    for own, predictions in zip(gold, predicted, strict=True):
        own, predictions = set(own), set(predictions)
        right.update(kind for *_, kind in own & predictions)
        found.update(kind for *_, kind in predictions)
        wanted.update(kind for *_, kind in own)
    parts = {kind: f1_of_counts(right[kind], found[kind], wanted[kind]) for kind in sorted({*found, *wanted})}
    return {"micro": f1_of_counts(right.total(), found.total(), wanted.total()), **parts}


def binary_counts(groups: Sequence[Hashable], labels: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
    """What each row adds to the counts that F1 of label 1 is made of: (rows, groups, 3) right, predicted, gold.

    Groups come in order of first appearance; a row adds to its own alone.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    counts = np.zeros((len(labels), len(number), 3))
    own = [number[group] for group in groups]
    counts[np.arange(len(labels)), own] = np.stack([labels & predictions, predictions, labels], axis=1)
    return counts


def entity_counts(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> np.ndarray:
    """What each row adds to the counts that entity-level micro F1 is made of: (rows, 3) right, predicted, gold."""
    pairs = [({*own}, {*predictions}) for own, predictions in zip(gold, predicted, strict=True)]
    counts = [(len(own & predictions), len(predictions), len(own)) for own, predictions in pairs]
    return np.array(counts, dtype=np.float64).reshape(-1, 3)
