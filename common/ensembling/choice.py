"""Which of several ways to combine members is taken when none is named."""

from collections.abc import Sequence

import numpy as np

from common.evaluation.bootstrap import interval

MODEL = 2  # the complexity from which a gain must be beyond chance


def best_way(scores: Sequence[float], complexities: Sequence[int], resampled: np.ndarray | None) -> int:
    """The number of the way to take.

    scores: the cross-fitted score of each. complexities: 0 where nothing is fitted (a member, a mean, a vote), 1 where
    a few numbers are, 2 where a model is. resampled: (ways, resamples) paired bootstrap scores, or None without them.

    Among ways with at most a few fitted numbers the highest score is taken, the first on a tie: scores are
    cross-fitted, so fitting has no advantage to take back. A model replaces it only when the interval of its gain lies
    above zero: it is fitted on out-of-fold scores, which come from one fold's model each, while test scores are
    averages over all folds. A weighted mean bears that shift, a fitted tree may not. benchmarks/choice.py measures this
    rule and others.
    """
    taken = -1
    for simple in (True, False):
        own = [number for number, complexity in enumerate(complexities) if (complexity < MODEL) == simple]
        if taken >= 0 and resampled is not None:
            own = [number for number in own if interval(resampled[number] - resampled[taken])[0] > 0]
        for number in own:
            if taken < 0 or scores[number] > scores[taken]:
                taken = number
    return taken
