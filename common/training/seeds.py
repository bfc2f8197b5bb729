"""What trying many seeds is worth: the best score to expect from a number of trials."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def expected_best(scores: Sequence[float], trials: int) -> tuple[float, float]:
    """Mean and standard deviation of the best of `trials` draws from what was scored, each with replacement.

    scores: held-out scores of runs that differ in seeds alone. The chance that the best of n is no more than v is
    F(v)^n, F being the share of scores up to v; so each score's chance to be the best is F(v)^n - F(v-)^n.
    Raises ValueError without scores or trials. Sources: Dodge et al. 2019, equation 7; Dodge et al. 2020, section 3.
    """
    if not len(scores) or trials < 1:
        raise ValueError(f"expected at least one score and one trial, got {len(scores)} and {trials}")
    values, counts = np.unique(np.asarray(scores, dtype=float), return_counts=True)
    reached = (counts.cumsum() / counts.sum()) ** trials
    chances = np.diff(reached, prepend=0.0)
    mean = float((values * chances).sum())
    return mean, float(np.sqrt((chances * (values - mean) ** 2).sum()))


def draw_expected_best(curves: dict[str, Sequence[float]], path: Path, metric: str = "score") -> None:
    """A picture of the best score to expect against the number of trials, with a band of one standard deviation.

    curves: scores by the name of what was tried. path: of the image. metric: the score's name on its axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, scores in curves.items():
        trials = np.arange(1, len(scores) + 1)
        means, spreads = np.array([expected_best(scores, int(count)) for count in trials]).T
        (line,) = axes.plot(trials, means, marker=".", label=f"{name} ({len(scores)} runs)")
        # No draw is above the best that was seen.
        top = np.minimum(means + spreads, max(scores))
        axes.fill_between(trials, means - spreads, top, color=line.get_color(), alpha=0.15)
    axes.set(xlabel="trials", ylabel=f"expected best {metric}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
