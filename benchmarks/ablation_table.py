"""From the files of ablation units to differences with intervals, to tables and to a picture."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.ablation_memory import STEPS
from benchmarks.ablation_units import PLAIN, AblationUnit, TaskConfig, split
from benchmarks.results import circumstances
from common.contest import Contest
from common.ensembling.scores import Scores
from common.evaluation.bootstrap import bootstrap_scores, f1_from_counts, interval
from common.logs import spoken

RESAMPLES = 2000
SHOWN = 0.1  # the picture's greatest difference; what is worse has its number at the edge


@dataclass
class Cell:
    """One row on one task. scores: of its seeds. differences: to plain, seed by seed. resampled: (resamples,) of their
    mean. time, memory: of a fit, as shares of plain's. seconds: of all fits."""

    scores: list[float]
    differences: list[float]
    resampled: np.ndarray
    time: float
    memory: float
    seconds: float


@dataclass
class Comparison:
    """All rows of a grid. cells: by (row, task). Rows come in the order of the grid."""

    rows: list[str]
    tasks: dict[str, TaskConfig]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def of(self, row: str) -> list[Cell]:
        return [self.cells[row, task] for task in self.tasks if (row, task) in self.cells]

    def average(self, row: str) -> tuple[float, float, float]:
        """The mean over tasks of a row's difference, and its interval over resampled rows and seeds."""
        cells = self.of(row)
        middle = mean(mean(cell.differences) for cell in cells)
        return (middle, *interval(np.mean([cell.resampled for cell in cells], axis=0)))


def compared(units: Sequence[AblationUnit], memory: Sequence[AblationUnit], tasks: dict[str, TaskConfig]) -> Comparison:
    """The cells of all rows that have finished seeds in common with plain. memory: the units that say what a fit takes.

    A seed counts once all of its folds are there; its score is that of all their rows together, where a fold's decision
    threshold is fitted on the other folds.
    """
    found = Comparison(list(dict.fromkeys(unit.row for unit in units)), tasks)
    megabytes = {(unit.row, unit.task): (unit.finished() or {}).get("megabytes", nan) for unit in memory}
    for name in tasks:
        own = [unit for unit in units if unit.task == name]
        seeds: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for unit in own:
            seeds[unit.row][unit.seed].append(unit.finished())
        whole = {row: {seed: facts for seed, facts in by.items() if all(facts)} for row, by in seeds.items()}
        if not whole.get(PLAIN):
            continue
        truth = Truth(own[0])
        counts = {(row, seed): truth.counts(facts) for row, by in whole.items() for seed, facts in by.items()}
        for row, by in whole.items():
            common = sorted(set(by) & set(whole[PLAIN]))
            if common:
                cell = _cell(truth.groups, row, by, whole[PLAIN], counts, common)
                found.cells[row, name] = replace(cell, memory=megabytes[row, name] / megabytes[PLAIN, name])
    return found


def _cell(groups: np.ndarray, row: str, own: dict, plain: dict, counts: dict, seeds: list[int]) -> Cell:
    pairs = [(counts[row, seed], counts[PLAIN, seed]) for seed in seeds]
    scores = [[float(f1_from_counts(side.sum(axis=0))) for side in pair] for pair in pairs]
    draws = bootstrap_scores(np.stack([side for pair in pairs for side in pair]), groups, RESAMPLES)
    differences = draws[0::2] - draws[1::2]
    # Seeds are drawn too: which ones were tried is chance as much as which rows there are.
    drawn = np.random.default_rng(1).integers(0, len(seeds), (len(seeds), RESAMPLES))
    resampled = np.take_along_axis(differences, drawn, axis=0).mean(axis=0)

    def share(key: str) -> float:
        return median(_total(own[seed], key) / max(_total(plain[seed], key), 1e-9) for seed in seeds)

    return Cell([pair[0] for pair in scores], [a - b for a, b in scores], resampled, share("fit_seconds"), nan,
                sum(_total(own[seed], "seconds") for seed in own))  # fmt: skip


def _total(folds: list[dict[str, Any]], key: str) -> float:
    return sum(fold[key] for fold in folds)


class Truth:
    """The scored rows of a task, for predictions of units in the order of their folds."""

    def __init__(self, unit: AblationUnit) -> None:
        self.contest: Contest = unit.contest()
        self.folds = [split(unit.config, unit.datasets, fold)[1] for fold in unit.config.folds]
        self.rows = pd.concat(self.folds, ignore_index=True)
        self.groups = self.contest.groups(self.rows)

    def counts(self, facts: list[dict[str, Any]]) -> np.ndarray:
        """(rows, groups, 3) what each row adds to right, predicted and gold."""
        predictions = [item for fold in self._predictions(facts) for item in fold]
        gold = self.contest.gold(self.rows)
        predictions = [type(own)(map(tuple, item)) if isinstance(own, list) else item
                       for own, item in zip(gold, predictions, strict=True)]  # fmt: skip
        return self.contest.counts(self.rows, gold, predictions)

    def _predictions(self, facts: list[dict[str, Any]]) -> list[list[Any]]:
        if "chances" not in facts[0]:
            return [fold["predictions"] for fold in facts]
        scores = [Scores.of(rows["id"].tolist(), np.array(fold["chances"]))
                  for rows, fold in zip(self.folds, facts, strict=True)]  # fmt: skip
        found = []
        for place, (rows, own) in enumerate(zip(self.folds, scores, strict=True)):
            others = [number for number in range(len(facts)) if number != place]
            decision = {}
            if others:
                known = pd.concat([self.folds[number] for number in others], ignore_index=True)
                values = np.concatenate([facts[number]["chances"] for number in others])
                decision = self.contest.fit_decision(known, Scores.of(known["id"].tolist(), values))
            found.append(self.contest.decode(rows, own, decision))
        return found


def section(found: Comparison, words: Sequence[str]) -> str:
    """The section of the results: how to read it, the mean over tasks, and a table for each task."""
    tasks = [name for name in found.tasks if (PLAIN, name) in found.cells]
    spent = sum(cell.seconds for cell in found.cells.values())
    seeds, others = {len(cell.scores) for cell in found.cells.values()}, len(found.rows) - 1
    lines = [
        "## What does each trick do?", "", f"    python -m benchmarks.ablation {shlex.join(words)}".rstrip(), "",
        "Each row is the plain recipe with one thing changed (settings: benchmarks/ablation.yaml). Difference: to",
        "plain, paired by seed, fold and row; in brackets its 95 % interval over resampled rows and seeds. Time and",
        "memory: of a fit, as multiples of plain's (CPU seconds of training, the median of seeds; the most memory that",
        f"{STEPS} steps take in a process of their own). Folds share no text; a fold's threshold is fitted on the",
        "others.", "",
        f"**Of {others} rows, about {0.025 * others:.1f} would have an interval above zero by chance alone**, and as",
        "many a task. Small parts of the data, a small encoder: a trick that gains here may not on the whole data,",
        "and the other way round. Learning rates are plain's and fits have dozens to hundreds of steps: what begins",
        "slowly (LAMB, RAdam, Lookahead, averages of weights) has no time here.", "",
        *(f"- {found.tasks[name].title}: {_size(found.tasks[name])}" for name in tasks), "",
        "### Mean over tasks", "", "| row | difference | time | memory | tasks |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found.rows:
        if row != PLAIN and found.of(row):
            cells = found.of(row)
            costs = [f"{mean(getattr(cell, key) for cell in cells):.2f}" for key in ("time", "memory")]
            lines.append(f"| {row} | {_difference(*found.average(row))} | {' | '.join(costs)} | {len(cells)} |")
    for name in tasks:
        lines += ["", f"### {found.tasks[name].title}", "", "| row | score | difference | time | memory |",
                  "|---|---|---|---|---|"]  # fmt: skip
        for row in found.rows:
            if (row, name) in found.cells:
                lines.append(_line(row, found.cells[row, name]))
    lines += ["", f"Score: mean and standard deviation over {' or '.join(map(str, sorted(seeds)))} seeds (same folds).",
              f"{circumstances()}; one thread: {spoken(spent)} in all."]  # fmt: skip
    return "\n".join(lines)


def _line(row: str, cell: Cell) -> str:
    spread = f" ± {stdev(cell.scores):.4f}" if len(cell.scores) > 1 else " (one seed)"
    score = f"{mean(cell.scores):.4f}{spread}"
    if row == PLAIN:
        return f"| {row} | {score} | | | |"
    difference = _difference(mean(cell.differences), *interval(cell.resampled))
    return f"| {row} | {score} | {difference} | {cell.time:.2f} | {cell.memory:.2f} |"


def _difference(middle: float, low: float, high: float) -> str:
    text = f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _size(task: TaskConfig) -> str:
    rows = " and ".join(f"{count or 'all'} rows {what}"
                        for count, what in ((task.train_rows, "trained on"), (task.scored_rows, "scored")))  # fmt: skip
    return f"{rows} in each of {len(task.folds)} of 5 folds, member {task.member} of {task.contest}"


def draw(found: Comparison, path: Path) -> None:
    """A forest plot: each row's mean difference with its interval, and its difference on every task as a dot."""
    from matplotlib.figure import Figure

    rows = [row for row in found.rows if row != PLAIN and found.of(row)]
    rows.sort(key=lambda row: found.average(row)[0])
    figure = Figure(figsize=(7, 1.2 + 0.22 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        middle, low, high = found.average(row)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
        axes.plot(middle, place, "s", color="black", markersize=4)
        if middle < -SHOWN:
            axes.annotate(f"\u25c2 {middle:+.2f}", (-SHOWN, place), fontsize=6, va="center")
    for name, config in found.tasks.items():
        own = [(mean(found.cells[row, name].differences), place) for place, row in enumerate(rows)
               if (row, name) in found.cells]  # fmt: skip
        if own:
            axes.plot(*zip(*own, strict=True), ".", markersize=4, alpha=0.6, label=config.title)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlim(-SHOWN, SHOWN)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_xlabel("difference to the plain recipe; squares: mean over tasks with its 95 % interval")
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=6, loc="lower right")
    axes.grid(alpha=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
