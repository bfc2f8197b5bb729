"""Which of several ways to combine members is taken when none is named."""

from collections.abc import Sequence

import numpy as np

from common.evaluation.bootstrap import interval


def best_way(scores: Sequence[float], complexities: Sequence[int], resampled: np.ndarray | None) -> int:
    """The number of the way to take.

    scores: the cross-fitted score of each. complexities: 0 where nothing is fitted (a member, a mean, a vote), 1 where
    a few numbers are, 2 where a model is. resampled: (ways, resamples) paired bootstrap scores, or None without them.

    Among ways of one complexity the highest score is taken, the first on a tie. A more complex one replaces the best of
    the simpler ones only when the interval of its gain over it lies above zero. Two reasons: the highest of a dozen
    noisy scores is too high by choice alone; and what is fitted sees out-of-fold scores, which come from one fold's
    model each, while test scores are averages over all folds. A mean bears that shift, a fitted tree may not. The
    simpler ways get no such handicap among themselves: with nothing fitted, the higher score is the better guess, and a
    wide interval is no reason to leave a mean for a single member.
    """
    taken = -1
    for complexity in sorted(set(complexities)):
        own = [number for number, other in enumerate(complexities) if other == complexity]
        if taken >= 0 and resampled is not None:
            own = [number for number in own if interval(resampled[number] - resampled[taken])[0] > 0]
        for number in own:
            if taken < 0 or scores[number] > scores[taken]:
                taken = number
    return taken
