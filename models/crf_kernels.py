"""The recursions of models/forward_backward.py compiled for the CPU: a sequence at a time, nothing stored twice.

numba is imported when the first CRF computes, and what it compiles is kept on disk beside this file, so that the import
of this module costs nothing and only the first run on a machine compiles. Without numba the plain versions take over.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Above it a step is a matrix product large enough for the BLAS behind the plain version to win.
MOST_TAGS = 64


class Kernels(NamedTuple):
    """The compiled functions: see `_posteriors` and `_best_path` for their arguments."""

    posteriors: Callable
    best_path: Callable


@functools.cache
def kernels() -> Kernels | None:
    """The compiled recursions, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    # Sums may take any order and multiply-adds may be fused; infinities and signs of zero keep their meaning.
    settings = {"nogil": True, "fastmath": {"contract", "reassoc"}, "error_model": "numpy"}

    def compiled(function: Callable, **settings) -> Callable:
        try:
            return numba.njit(cache=True, **settings)(function)
        except RuntimeError:  # nowhere to keep what is compiled, as on a file system that is read only
            return numba.njit(**settings)(function)

    return Kernels(compiled(_posteriors, **settings), compiled(_best_path, nogil=True))


def _posteriors(factors, matrix, start, end, lengths, marginals, expected, logs):
    """Posteriors of each sequence from probabilities that are normalised at every step.

    factors (length, batch, tags): exp of emissions; matrix (tags, tags) [from, to], start, end (tags,): exp of scores,
    0 where forbidden; lengths (batch,). Writes marginals (length, batch, tags) where a sequence is, expected
    (batch, tags, tags) and logs (batch,), the log of each sequence's total.
    """
    longest, batch, size = factors.shape
    forward = np.empty((longest, size))
    turned = np.ascontiguousarray(matrix.T)
    ahead, behind = np.empty(size), np.empty(size)
    pairs = np.empty((size, size))
    for row in range(batch):
        length = lengths[row]
        log = 0.0
        for step in range(length):
            here, factor = forward[step], factors[step, row]
            if step == 0:
                for tag in range(size):
                    here[tag] = start[tag]
            else:
                before = forward[step - 1]
                for tag in range(size):
                    here[tag] = 0.0
                for origin in range(size):
                    weight, line = before[origin], matrix[origin]
                    for tag in range(size):
                        here[tag] += weight * line[tag]
            total = 0.0
            for tag in range(size):
                here[tag] *= factor[tag]
                total += here[tag]
            log += np.log(total)
            inverse = 1.0 / total
            for tag in range(size):
                here[tag] *= inverse
        for tag in range(size):
            behind[tag] = end[tag]
        for origin in range(size):
            for tag in range(size):
                pairs[origin, tag] = 0.0
        for step in range(length - 1, -1, -1):
            here, out = forward[step], marginals[step, row]
            total, rest = 0.0, 0.0
            for tag in range(size):
                out[tag] = here[tag] * behind[tag]
                total += out[tag]
                rest += behind[tag]
            if step == length - 1:
                log += np.log(total)
            inverse = 1.0 / total
            for tag in range(size):
                out[tag] *= inverse
            if step < length - 1:
                for origin in range(size):
                    weight, line = here[origin] * inverse, pairs[origin]
                    for tag in range(size):
                        line[tag] += weight * ahead[tag]
            if step > 0:
                factor, inverse = factors[step, row], 1.0 / rest
                for tag in range(size):
                    ahead[tag] = factor[tag] * behind[tag] * inverse
                    behind[tag] = 0.0
                for tag in range(size):
                    weight, line = ahead[tag], turned[tag]
                    for origin in range(size):
                        behind[origin] += weight * line[origin]
        logs[row] = log
        for origin in range(size):
            for tag in range(size):
                expected[row, origin, tag] = pairs[origin, tag] * matrix[origin, tag]


def _best_path(emissions, start, transitions, end, lengths, paths):
    """Viterbi, where the way back looks again for the best origin instead of having stored all of them.

    emissions (length, batch, tags); start, transitions, end: scores, -inf where forbidden; lengths (batch,). Writes
    paths (batch, length) as far as a sequence goes.
    """
    longest, batch, size = emissions.shape
    table = np.empty((longest, size), dtype=emissions.dtype)
    turned = np.ascontiguousarray(transitions.T)
    for row in range(batch):
        length = lengths[row]
        for tag in range(size):
            table[0, tag] = start[tag] + emissions[0, row, tag]
        for step in range(1, length):
            here, before, emission = table[step], table[step - 1], emissions[step, row]
            for tag in range(size):
                here[tag] = before[0] + transitions[0, tag]
            for origin in range(1, size):
                score, line = before[origin], transitions[origin]
                for tag in range(size):
                    here[tag] = max(here[tag], score + line[tag])
            for tag in range(size):
                here[tag] += emission[tag]
        best, highest = 0, table[length - 1, 0] + end[0]
        for tag in range(1, size):
            score = table[length - 1, tag] + end[tag]
            if score > highest:
                best, highest = tag, score
        paths[row, length - 1] = best
        for step in range(length - 2, -1, -1):
            line, before = turned[best], table[step]
            best, highest = 0, before[0] + line[0]
            for origin in range(1, size):
                score = before[origin] + line[origin]
                if score > highest:
                    best, highest = origin, score
            paths[row, step] = best
