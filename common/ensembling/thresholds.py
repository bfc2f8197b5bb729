"""Decision thresholds that maximise F1, found exactly."""

from collections.abc import Hashable, Sequence

import numpy as np


def best_threshold(probabilities: np.ndarray, labels: np.ndarray, missed: int = 0) -> tuple[float, float]:
    """The threshold t for which `probability >= t` has the highest F1 on label 1.

    probabilities: (rows,). labels: (rows,) of 0 and 1. missed: rows of label 1 that are not among these and are never
    found, such as entities of which no candidate was kept.
    Returns (threshold, F1). Every cut between two different probabilities is tried; the threshold lies midway between
    them, and of equal cuts the one nearest 0.5 is taken. Without a positive row: (0.5, 0.0).
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order].astype(np.float64), np.cumsum(labels[order])
    if not len(ranked) or hits[-1] == 0:
        return 0.5, 0.0
    taken = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (taken + hits[-1] + missed)
    below = np.append(ranked[1:], 0.0)
    cuts = (ranked + below) / 2
    # Between two neighbouring floats there is no middle: the upper one is the cut.
    cuts = np.where(cuts > below, cuts, ranked)
    # A cut inside a run of equal probabilities cannot be made; below the last one it always can.
    f1[:-1][ranked[:-1] == below[:-1]] = -1.0
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    choice = best[np.abs(cuts[best] - 0.5).argmin()]
    return float(cuts[choice]), float(f1[choice])


def best_accuracy_threshold(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The threshold t for which `probability >= t` is right most often; arguments and ties as in `best_threshold`.

    Returns (threshold, accuracy); no rows: (0.5, 0.0).
    """
    labels = np.asarray(labels, dtype=np.float64)
    # No answer where the difference is above the threshold: there "answered" is a right 1, "unanswered" a right 0.
    found, accuracy = best_null_threshold(0.5 - np.asarray(probabilities, dtype=np.float64), labels, 1 - labels)
    return 0.5 - found if len(labels) else 0.5, accuracy


def thresholds_by(groups: Sequence[Hashable], probabilities: np.ndarray, labels: np.ndarray) -> dict[Hashable, float]:
    """One best threshold a group of rows, such as a standard; groups in order of first appearance."""
    found: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return {group: best_threshold(probabilities[places], labels[places])[0] for group, places in found.items()}


def best_null_threshold(differences: np.ndarray, answered: np.ndarray, unanswered: np.ndarray) -> tuple[float, float]:
    """The threshold t for which "no answer where difference > t" scores highest, on out-of-fold rows.

    differences: (rows,), null score minus the best answer's score. answered, unanswered: (rows,), a row's score when
    it gets its best answer and when it gets none.
    Returns (threshold, mean score). Every cut between two different differences is tried; the threshold lies midway
    between them, 1 beyond the first and the last, and of equal cuts the one nearest 0 is taken. No rows: (0.0, 0.0).
    Source: Devlin et al. 2019 (BERT), section 4.3.
    """
    if not len(differences):
        return 0.0, 0.0
    order = np.argsort(differences, kind="stable")
    ranked = np.asarray(differences, dtype=np.float64)[order]
    gains = np.asarray(answered, dtype=np.float64)[order] - np.asarray(unanswered, dtype=np.float64)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)]) + np.sum(unanswered)
    cuts = np.concatenate([[ranked[0] - 1], (ranked[:-1] + ranked[1:]) / 2, [ranked[-1] + 1]])
    totals[1:-1][ranked[:-1] == ranked[1:]] = -np.inf
    # Rounding must not put the lower neighbour on the far side of its own cut.
    cuts[1:-1] = np.maximum(cuts[1:-1], ranked[:-1])
    best = np.flatnonzero(totals >= totals.max() - 1e-9)
    choice = best[np.abs(cuts[best]).argmin()]
    return float(cuts[choice]), float(totals[choice] / len(ranked))
