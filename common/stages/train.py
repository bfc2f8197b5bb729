"""train: every member on every fold with every seed, each an independent unit that is kept once it is finished."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean
from typing import Any

from tqdm import tqdm

from common.config import ConfigError
from common.contest import Contest
from common.files import DataError, read_json, write_json
from common.logs import log, spoken
from common.processes import CHILD, cores, is_child, rank, wait_for_everyone, world_size
from common.run import Run, Unit
from common.stages.rows import Rows, read_rows, unlabelled
from common.stages.teaching import check_teacher, taught
from common.stages.trials import begin_trials, decide, decided, draw_seeds, paused, pauses, write_paused


def train(contest: Contest) -> None:
    """Fits what is not finished yet. Raises DataError or ConfigError before the first unit starts."""
    run, rows = Run(contest), read_rows(contest)
    begin_trials(contest, run)
    check_teacher(contest)
    units = run.units(contest.config.only)
    settings = {unit: run.unit_settings(unit, rows.digest) for unit in units}
    open_units = [unit for unit in units if run.finished(unit, settings[unit]) is None]
    if len(open_units) < len(units):
        log.info(f"{len(units) - len(open_units)} of {len(units)} units are finished and kept")
    if not open_units:
        return
    workers = min(worker_count(contest.config.workers), len(open_units))
    check_members(contest, {unit.member for unit in open_units})
    first = rank() == 0 and not is_child()
    if first:
        run.write_config()
        run.write_environment()
    _fit(contest, run, open_units, rows, settings, workers)
    if contest.config.trials.keep and not is_child():
        if rank() == 0:
            decide(contest, run, dict.fromkeys(unit.member for unit in open_units if paused(run, unit) is not None))
        wait_for_everyone()
        going_on = [unit for unit in run.units(contest.config.only) if run.finished(unit) is None]
        _fit(contest, run, [unit for unit in going_on if unit.member in decided(contest, run)], rows, settings, workers)
    if first:
        draw_seeds(contest, run)


def _fit(contest: Contest, run: Run, units: list[Unit], rows: Rows, settings: dict[Unit, Any], workers: int) -> None:
    """Fits units one after another, or side by side."""
    if workers == 1 or len(units) < 2:
        for number, unit in enumerate(units, start=1):
            log.info(f"unit {number} of {len(units)}: {unit.name}")
            train_unit(contest, run, unit, rows, settings[unit])
    else:
        log.info(f"{len(units)} units on {workers} workers")
        _train_side_by_side(contest, run, slowest_first(contest, units), workers)


def slowest_first(contest: Contest, units: list[Unit]) -> list[Unit]:
    """Units with the members first that take longest, so that no worker waits for the last of those at the end.

    That is guessed from the settings: what reads by an encoder, then what else is trained by torch, then the rest.
    """

    def rank_of(unit: Unit) -> int:
        own = contest.settings[unit.member]
        return 0 if getattr(own, "encoder", "") else 1 if hasattr(own, "training") else 2

    return sorted(units, key=rank_of)


def check_members(contest: Contest, names: Iterable[str] = ()) -> None:
    """Lets members look at their settings, by default those that the run uses.

    An encoder that is not there is found now, not when the members before it are trained. Raises ConfigError.
    """
    for name in names or contest.config.use:
        getattr(contest.build_member(name, contest.config.seeds[0]), "check", lambda: None)()


def worker_count(asked: int) -> int:
    """How many units to train at once: as asked, else one a core on a CPU, one on a GPU and under torchrun.

    Small models leave a second core idle when one process uses both; two processes with one thread each do not.
    """
    if asked or world_size() > 1:
        return max(1, asked)
    import torch

    return 1 if torch.cuda.is_available() else cores()


def threads_each(workers: int) -> int:
    """The CPU threads of each of several workers."""
    return max(1, cores() // workers)


def train_unit(contest: Contest, run: Run, unit: Unit, rows: Rows, settings: dict[str, Any]) -> None:
    """Fits one unit and writes its out-of-fold and test scores; resumes what an interrupted fit left.

    Under torchrun every process fits (the first alone where a member cannot share its work); the first writes.
    Raises ConfigError under torchrun when another run holds the unit; without it that unit is left to the other.
    """
    member = contest.build_member(unit.member, unit.seed)
    held_out = rows.train[rows.folds == unit.fold].reset_index(drop=True)
    fit_on = contest.augment(rows.train[rows.folds != unit.fold].reset_index(drop=True))
    fit_on = taught(contest, run, rows, unit.fold, fit_on)
    folder = run.unit_folder(unit)
    if pauses(contest, run, unit, member):
        if paused(run, unit, settings) is not None:
            return
        member.pause_after = contest.config.trials.after
    if rank():
        if getattr(member, "distributed", False):
            member.fit(fit_on, held_out, unlabelled(contest), folder)
        return
    with run.claimed(unit) as ours:
        if not ours:
            if world_size() > 1:
                raise ConfigError(f"{unit.name} is being trained by another process: stop that one first")
            log.info(f"{unit.name} is being trained by another process: left to it")
            return
        started, stamp = time.time(), folder / "settings.json"
        _drop_stale(folder, stamp, settings)
        facts = member.fit(fit_on, held_out, unlabelled(contest), folder)
        if "paused" in facts:
            write_paused(run, unit, settings, facts["paused"])
            log.info(f"{unit.name}  pauses at held-out score {facts['paused']:.4f}")
            return
        oof = run.save_outputs(unit, "oof", member, held_out)
        run.save_outputs(unit, "test", member, rows.test)
        result = contest.judge(held_out, oof)
        stamp.unlink(missing_ok=True)
        seconds = round(time.time() - started, 1)
        run.finish(unit, settings, {**facts, "rows": len(fit_on), "score": result["score"], "seconds": seconds})
        log.info(f"{unit.name}  held-out score {result['score']:.4f}  {seconds:.0f} s")


def _drop_stale(folder: Path, stamp: Path, settings: dict[str, Any]) -> None:
    """Removes what an interrupted fit left when it ran under other settings: resuming it would mix the two."""
    if stamp.exists() and read_json(stamp) != settings:
        for item in folder.iterdir():
            if item.name != ".lock":
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    write_json(stamp, settings)


def time_left(spent: Mapping[str, list[float]], waiting: Mapping[str, int], workers: int) -> float:
    """Seconds until several workers are done: a unit takes as long as others of its member, or else as any.

    spent: seconds of the finished units of each member, one unit at least. waiting: how many of each are not finished.
    """
    every = [seconds for own in spent.values() for seconds in own]
    return sum(count * mean(spent.get(name) or every) for name, count in waiting.items()) / workers


def _train_side_by_side(contest: Contest, run: Run, units: list[Unit], workers: int) -> None:
    """One child process a unit, `workers` at a time, its lines passed on under the unit's name."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads_each(workers)),
        "TOKENIZERS_PARALLELISM": "false",
        CHILD: "1",
    }

    def fit(unit: Unit) -> tuple[Unit, int, list[str], float]:
        began = time.time()
        command = [sys.executable, "-m", "competitions", contest.name, "train",
                   "--config", str(run.folder / "config.yaml"), f"only={unit.name}", "workers=1"]  # fmt: skip
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        last: list[str] = []
        for line in child.stdout:
            last = [*last[-20:], line.rstrip()]
            if line.startswith("  "):  # a progress line of the unit, such as an epoch's score
                log.info(f"{unit.name}{line.rstrip()}")
        return unit, child.wait(), last, time.time() - began  # the start of the process too

    failed: list[Unit] = []
    spent: dict[str, list[float]] = defaultdict(list)
    waiting = Counter(unit.member for unit in units)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(units), unit="unit", desc="train", disable=None) as bar:
        for number, done in enumerate(as_completed([pool.submit(fit, unit) for unit in units]), start=1):
            unit, code, last, seconds = done.result()
            facts = run.finished(unit)
            waiting[unit.member] -= 1
            if not code and facts is None and paused(run, unit) is not None:
                log.info(f"{unit.name}  pauses at held-out score {paused(run, unit):.4f}")
            elif code or facts is None:
                failed.append(unit)
                log.info("\n".join([f"{unit.name} stopped with exit status {code}; its last lines:", *last]))
            else:
                spent[unit.member].append(seconds)
                left = time_left(spent, waiting, workers)
                log.info(f"{unit.name}  held-out score {facts['score']:.4f}  {facts['seconds']:.0f} s"
                         f"  ({number} of {len(units)} units, about {spoken(left)} left)")  # fmt: skip
            bar.update()
    if failed:
        raise DataError(
            f"{len(failed)} of {len(units)} units did not finish: {', '.join(unit.name for unit in failed)}",
            action="mend what their lines above say and run train again: finished units are kept",
        )
