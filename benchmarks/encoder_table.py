"""From the files of units to one table: baseline, random weights and pretrained weights on every task."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from benchmarks.encoder_units import EncoderUnit
from benchmarks.tasks import TASKS, score
from common.logs import spoken


@dataclass
class Result:
    """What one start reached on one task. scores: of its seeds. by: what predicted. seconds: of all its fits."""

    scores: list[float]
    by: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        spread = f" ± {stdev(self.scores):.4f}" if len(self.scores) > 1 else ""
        return f"{mean(self.scores):.4f}{spread}"


def results(units: Sequence[EncoderUnit]) -> dict[tuple[str, str], Result]:
    """(task, start) -> its result, from the files of finished units.

    A seed counts once all of its folds are there; its score is that of all their rows together.
    """
    seeds: dict[tuple[str, str, int], list[dict[str, Any] | None]] = defaultdict(list)
    for unit in units:
        seeds[unit.task, unit.start, unit.seed].append(unit.finished())
    found: dict[tuple[str, str], dict[str, Result]] = defaultdict(dict)
    for (task, start, _), folds in seeds.items():
        if not all(folds):
            continue
        seconds = sum(fold["seconds"] for fold in folds)
        for by in folds[0]["predictions"]:
            own = found[task, start].setdefault(by, Result([], by))
            own.scores.append(score(TASKS[task].metric, [(fold["gold"], fold["predictions"][by]) for fold in folds]))
            own.seconds += seconds
    # Of several baselines the best is the one to beat.
    return {key: max(own.values(), key=lambda result: mean(result.scores)) for key, own in found.items()}


def table(found: dict[tuple[str, str], Result], names: Sequence[str]) -> str:
    """The results of the tasks `names` as a Markdown table."""
    lines = [
        "| task | metric | without encoder | random weights | pretrained | gain over random | gain over no encoder "
        "| published, 10 M |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        task = TASKS[name]
        results = [found.get((name, start)) for start in ("baseline", "random", "pretrained")]
        baseline, random, pretrained = results
        best = max((mean(own.scores) for own in results if own), default=None)
        marked = [f"**{own}**" if own and mean(own.scores) == best else str(own or "-") for own in results]
        cells = [
            task.title,
            {"accuracy": "accuracy", "f1": "F1", "entity_f1": "entity F1"}[task.metric],
            f"{marked[0]} ({baseline.by})" if baseline else "-",
            *marked[1:],
            _gain(pretrained, random),
            _gain(pretrained, baseline),
            f"{task.published:.3f}" if task.published else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def time_spent(found: dict[tuple[str, str], Result]) -> str:
    """Seconds of one thread by start."""
    totals: dict[str, float] = defaultdict(float)
    for (_, start), result in found.items():
        totals[start] += result.seconds
    return ", ".join(f"{start} {spoken(seconds)}" for start, seconds in totals.items())


def recipes(names: Sequence[str]) -> str:
    """How each task is trained, in one line each."""
    lines = []
    for name in names:
        recipe = TASKS[name].recipe
        lines.append(
            f"- {TASKS[name].title}: {recipe.epochs:g} epochs, batches of {recipe.batch_size}, "
            f"learning rate {recipe.learning_rate:g} (head {recipe.head_learning_rate:g}), "
            f"{recipe.max_length} tokens"
            + ("" if TASKS[name].kind == "tagging" else f", {recipe.pooling} pooling")
            + (f", marks on shared n-grams up to {recipe.shared_ngrams}" if recipe.shared_ngrams else "")
        )
    return "\n".join(lines)


def _gain(result: Result | None, other: Result | None) -> str:
    return f"{mean(result.scores) - mean(other.scores):+.4f}" if result and other else "-"
