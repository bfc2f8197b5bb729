"""Units of the ablation: one fit is a row of the grid (one trick), a task, a seed and a fold."""

import json
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.units import Unit
from common.contest import Contest
from common.ensembling.scores import Scores
from common.run import table_digest
from common.stages.rows import thinned

PLAIN = "plain"  # the row that all others are compared with
GROUPS = ("adversarial", "loss", "noise", "averaging", "optimizer", "layers", "seeds")
KIT = Path(__file__).parent.parent

_warm: set[str] = set()  # tasks that this process has fitted before


@dataclass
class TaskConfig:
    """A contest and a part of its data that is small enough to train on many times.

    title: of its table. contest: a folder of competitions. data: under `datasets`. configs: over the contest's default,
    from its config folder. member: of that contest. settings: of the member, over its own. pretrained: whether it
    starts from `encoder`. train_rows, scored_rows: of a fold, 0 for all. folds: those that are scored, of the contest's
    five, which share no text. A member that the contest does not have needs all of its settings.
    """

    title: str = ""
    contest: str = ""
    data: str = ""
    configs: list[str] = field(default_factory=list)
    member: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    train_rows: int = 0
    scored_rows: int = 0
    folds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])


@dataclass
class RowConfig:
    """One trick. settings: of the member, over the plain ones. layers: it needs a pretrained stack of layers."""

    settings: dict[str, Any] = field(default_factory=dict)
    layers: bool = False


@dataclass(frozen=True, kw_only=True)
class AblationUnit(Unit):
    """row, task: names. config: the task. member: settings of the member. seed, fold: of the fit.

    datasets, encoder: folders.
    """

    row: str
    task: str
    config: TaskConfig
    member: dict[str, Any]
    seed: int
    fold: int
    datasets: str
    encoder: str

    @property
    def name(self) -> str:
        return f"{self.row} {self.task} seed {self.seed} fold {self.fold}"

    def estimated_seconds(self) -> float:
        return 10.0  # what the first units take soon says better

    def contest(self) -> Contest:
        return contest_of(self.config, self.datasets, self.encoder, self.member)

    def measure(self) -> dict[str, Any]:
        from benchmarks import fine_tuning

        # The first fit of a process pays for libraries, kernels and buffers, whatever its row.
        if self.task not in _warm:
            _warm.add(self.task)
            self.measure()
        contest, member, train, held_out = self.prepared()
        with tempfile.TemporaryDirectory() as scratch:
            began = time.process_time()
            steps = fine_tuning.fit(member, contest.augment(train), Path(scratch)).state.global_step
            spent = time.process_time() - began
        scores = Scores.of(held_out["id"].tolist(), member.scores(held_out))
        facts = {"row": self.row, "task": self.task, "seed": self.seed, "fold": self.fold, "steps": steps}
        facts |= {"fit_seconds": round(spent, 2)}
        if scores.values.shape[1] == 1 and len(scores.values) == len(held_out):
            # Kept as they are: the threshold of a fold comes from the others.
            return {**facts, "chances": [round(float(value), 6) for value in scores.values[:, 0]]}
        return {**facts, "predictions": contest.decode(held_out, scores, {})}

    def prepared(self) -> tuple[Contest, Any, pd.DataFrame, pd.DataFrame]:
        """The contest, its member with its text settled, and the rows to train on and to score."""
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        contest = self.contest()
        train, held_out = split(self.config, self.datasets, self.fold)
        member = contest.build_member(self.config.member, self.seed)
        # Vocabulary and word vectors depend on fold and seed, not on the trick.
        text = self.path.parents[3] / "text" / self.task / f"seed-{self.seed}-fold-{self.fold}"
        text.mkdir(parents=True, exist_ok=True)
        member.fit_text(train, contest.unlabelled(), text)
        return contest, member, train, held_out


def default_of(config: TaskConfig, datasets: str, encoder: str) -> Contest:
    """The contest of a task as it is by default, with all its members."""
    from competitions.launch import configured

    files = [KIT / "competitions" / config.contest / "config" / name for name in config.configs]
    words = [f"data_dir={Path(datasets) / config.data}", f"encoder={encoder if config.pretrained else ''}"]
    return configured(config.contest, files, words)


def contest_of(config: TaskConfig, datasets: str, encoder: str, member: dict[str, Any]) -> Contest:
    """The contest of a task with no member but one of these settings. Raises ConfigError for wrong ones."""
    contest = default_of(config, datasets, encoder)
    own = replace(contest.config, members={config.member: member}, use=[config.member], encoder_use=[])
    return type(contest)(own)


@cache
def _rows(contest: str, data: str, configs: tuple[str, ...], datasets: str) -> tuple[pd.DataFrame, np.ndarray]:
    built = default_of(TaskConfig(contest=contest, data=data, configs=list(configs), pretrained=False), datasets, "")
    train = built.read_train()
    return train, built.folds(train)


def rows_of(config: TaskConfig, datasets: str) -> tuple[pd.DataFrame, np.ndarray]:
    """All labelled rows of a task and the fold of each, read once a process."""
    return _rows(config.contest, config.data, tuple(config.configs), datasets)


def split(config: TaskConfig, datasets: str, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train on and rows to score, as many as the task says, evenly spaced."""
    rows, folds = rows_of(config, datasets)
    return thinned(rows[folds != fold], config.train_rows), thinned(rows[folds == fold], config.scored_rows)


def merged(own: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with changes; None takes a group away."""
    result = deepcopy(own)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else deepcopy(value)
    return result


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """A member's settings without any trick, whatever the contest's defaults have by now."""
    training = {key: value for key, value in settings.get("training", {}).items() if key not in GROUPS}
    own = {**settings, "training": {**training, "layer_decay": 1.0}}
    return own | ({"multi_sample_dropout": 1} if "multi_sample_dropout" in own else {})


def plan(
    tasks: dict[str, TaskConfig], rows: dict[str, RowConfig], seeds: Sequence[int], datasets: str, encoder: str,
    folder: Path,
) -> list[AblationUnit]:  # fmt: skip
    """All units, seed by seed and task by task: a run that is cut off has every row with the seeds before.

    folder: where their files are. Raises ConfigError for settings that a member does not take, before any is fitted.
    """
    from benchmarks.encoder_units import identity_of

    weights = identity_of(encoder, "pretrained") if any(task.pretrained for task in tasks.values()) else {}
    members, identity = {}, {}
    for name, task in tasks.items():
        own = default_of(task, datasets, encoder).config.members.get(task.member, {})
        own = merged(plain(own), task.settings)
        table, folds = rows_of(task, datasets)
        data = {"digest": table_digest(table.assign(fold=folds)), "train": task.train_rows, "scored": task.scored_rows}
        identity[name] = {"data": data, "encoder": weights if task.pretrained else {}}
        for row, config in rows.items():
            if task.pretrained or not config.layers:
                members[row, name] = merged(own, config.settings)
                contest_of(task, datasets, encoder, members[row, name])
    units = []
    for seed in seeds:
        for row, name in members:
            for fold in tasks[name].folds:
                settings = json.loads(json.dumps({**identity[name], "member": members[row, name]}))
                if tasks[name].pretrained:
                    settings["member"]["encoder"] = ""  # its weights are what counts, not where they stand
                path = folder / "units" / name / row / f"seed-{seed}-fold-{fold}.json"
                units.append(AblationUnit(
                    row=row, task=name, config=tasks[name], member=members[row, name], seed=seed, fold=fold,
                    datasets=datasets, encoder=encoder, settings=settings, path=path,
                ))  # fmt: skip
    return units
