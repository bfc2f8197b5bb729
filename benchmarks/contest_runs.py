"""One contest of the benchmark: its stages as its own train.sh runs them, then every member's scores."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.contest_tasks import TASKS, ContestTask
from benchmarks.datasets import text_key
from common.contest import Contest
from common.ensembling.scores import Scores, join
from common.files import read_json
from common.run import PASSING, Run
from common.stages.ensemble import unit_average
from common.stages.rows import Rows, read_rows
from competitions.launch import HERE, configured, launch

STAGES = ("train", "ensemble", "check")


def run(name: str, settings: Any) -> dict[str, Any]:
    """What a task reaches, as JSON values; kept when it was finished under the same settings and on the same data.

    name: of TASKS. settings: of `benchmarks.contests`.
    """
    task, folder = TASKS[name], Path(settings.output_dir) / name
    words = [f"data_dir={files_of(name, task, settings)}", f"output_dir={folder}", f"workers={settings.workers}",
             f"seeds={json.dumps(settings.seeds)}", *task.words]  # fmt: skip
    words += [f"use=[{','.join(settings.members)}]"] if settings.members else []
    words += [f"max_rows={settings.rows}"] if settings.rows else []
    configs = [HERE / task.contest / "config" / own for own in task.configs]
    contest = configured(task.contest, configs, words)
    rows = read_rows(contest)
    identity = identity_of(contest, rows)
    result = folder / "result.json"
    if result.exists() and (found := read_json(result))["identity"] == identity:
        return found
    for stage in STAGES:
        launch(task.contest, stage, configs, words)
    return {"identity": identity, "task": name, **collected(contest, rows, task)}


def files_of(name: str, task: ContestTask, settings: Any) -> Path:
    """The folder of a task's files, made first where it needs its own."""
    source = Path(settings.datasets) / task.place
    if task.make is None:
        return source
    target = Path(settings.output_dir) / "data" / name
    target.mkdir(parents=True, exist_ok=True)
    task.make(source, target)
    return target


def identity_of(contest: Contest, rows: Rows) -> dict[str, Any]:
    """All that decides a result, as a JSON file gives it back."""
    own = {key: value for key, value in dataclasses.asdict(contest.config).items() if key not in PASSING}
    # Where it all lies decides nothing.
    return json.loads(json.dumps({**own, "data_dir": "", "output_dir": "", "data": rows.digest}))


def collected(contest: Contest, rows: Rows, task: ContestTask) -> dict[str, Any]:
    """Scores and seconds of a finished run: of every member, and of what the ensemble has chosen."""
    run, metrics = Run(contest), read_json(Path(contest.config.output_dir) / "metrics.json")
    recipe = read_json(run.folder / "ensemble.json")
    dev = Dev(contest, rows, task) if task.gold else None
    members: dict[str, dict[str, Any]] = {}
    for name in contest.config.use:
        units = [unit for unit in run.units() if unit.member == name]
        oof = join([unit_average(contest, run, [unit for unit in units if unit.fold == fold], "oof")
                    for fold in range(contest.config.folds)]).ordered(rows.train["id"])  # fmt: skip
        members[name] = {
            "oof": metrics["results"][name]["score"],
            "seconds": sum(metrics["units"][unit.name]["seconds"] for unit in units),
        }
        if dev:
            decision = contest.fit_decision(rows.train, oof)
            members[name] |= dev.scores(unit_average(contest, run, units, "test"), decision)
    chosen = metrics["chosen"]
    blend = {"name": chosen, "members": recipe["members"], "oof": metrics["results"][chosen]["score"]}
    if dev:
        blend |= dev.scores(Scores.load(run.folder / "test.parquet"), recipe["decision"])
    counts = {"rows": len(rows.train)} | (
        {"dev_rows": len(dev.gold), "unseen_rows": int(dev.unseen.sum())} if dev else {}
    )
    return {**counts, "members": members, "blend": blend}


class Dev:
    """A run's test rows, for which there is gold: what predictions of them are worth.

    rows: of the run. task: with `gold`. unseen: (rows,) whether a row's text is not among the training rows.
    """

    def __init__(self, contest: Contest, rows: Rows, task: ContestTask) -> None:
        self.contest, self.rows = contest, rows.test
        gold_rows, gold = contest.read_predictions(Path(contest.config.data_dir) / task.gold)
        place = {name: number for number, name in enumerate(gold_rows["id"])}
        places = [place[name] for name in rows.test["id"]]
        self.gold_rows = gold_rows.iloc[places].reset_index(drop=True)
        self.gold = [gold[number] for number in places]
        known = set(row_keys(contest, rows.train))
        self.unseen = np.array([key not in known for key in row_keys(contest, rows.test)], dtype=bool)

    def scores(self, scores: Scores, decision: dict[str, Any]) -> dict[str, float]:
        """The metric on all rows (dev), and on the unseen ones where there are others (unseen)."""
        predictions = self.contest.decode(self.rows, scores.ordered(self.rows["id"]), decision)
        found = {"dev": self.contest.score(self.gold_rows, self.gold, predictions)["score"]}
        if not self.unseen.all():
            places = np.flatnonzero(self.unseen)
            part = [[values[place] for place in places] for values in (self.gold, predictions)]
            found["unseen"] = self.contest.score(self.gold_rows.iloc[places].reset_index(drop=True), *part)["score"]
        return found


def row_keys(contest: Contest, rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The texts of each row, by which rows of two files are the same."""
    columns = [own for own in contest.columns if own not in ("id", "task", "spans", "choices")]
    texts = [["".join(value) if isinstance(value, list) else value for value in rows[own]] for own in columns]
    return [tuple(text_key(text) for text in own) for own in zip(*texts, strict=True)]
