"""prepare: validates every file and says what to know before a long run."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.contest import Contest
from common.files import DataError, check_writable
from common.logs import log, spoken
from common.processes import cores
from common.run import Run
from common.stages.rows import Rows, read_rows
from common.stages.teaching import check_teacher
from common.stages.train import check_members, threads_each, worker_count

SAMPLE = 256  # rows that each member is tried on


def prepare(contest: Contest) -> dict[str, Any]:
    """Reads and checks everything a run needs and prints its facts; returns them. Raises DataError or ConfigError.

    Every member is tried on a few rows, so that an encoder that does not load, or a setting that a model refuses, is
    found now and not hours later; the time of the whole run is estimated from that.
    """
    rows = read_rows(contest)
    run = Run(contest)
    check_writable(run.folder)
    check_members(contest)
    check_teacher(contest)
    facts = {
        "training rows": len(rows.train),
        "test rows": len(rows.test) if len(rows.test) else "none: there will be out-of-fold scores but no submission",
        "rows a fold": ", ".join(map(str, np.bincount(rows.folds))),
        **contest.facts(rows.train, rows.test),
        "device": _device(),
    }
    if not contest.config.smoke:
        facts |= _trials(contest, run, rows)
    width = max(map(len, facts))
    log.info(f"{contest.name}: {contest.config.data_dir} -> {run.folder}")
    for name, value in facts.items():
        log.info(f"  {name:{width}}  {value}")
    return facts


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()} of {memory / 1e9:.0f} GB"
    return f"CPU, {cores()} cores"


def _trials(contest: Contest, run: Run, rows: Rows) -> dict[str, str]:
    """Each member's time for a unit, estimated on a few rows, and time and disk of all units that are not finished.

    Raises DataError when the disk has less room than that.
    """
    import torch

    share = 1 - 1 / contest.config.folds
    sample = rows.train[rows.folds != 0].reset_index(drop=True)
    sample = sample.iloc[np.unique(np.linspace(0, len(sample) - 1, SAMPLE).astype(int))].reset_index(drop=True)
    facts, total, disk, largest = {}, 0.0, 0, 0
    units = run.units(contest.config.only)
    workers = min(worker_count(contest.config.workers), len(units))
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(threads_each(workers))  # as many as a unit will have; a single one has this process's
    for name in dict.fromkeys(unit.member for unit in units):
        waiting = [unit for unit in units if unit.member == name and run.finished(unit) is None]
        seconds, size = _of_a_unit(contest, name, sample, len(rows.train) * share) if waiting else (0.0, 0)
        facts[f"units of {name}"] = f"{len(waiting)} to train, about {spoken(seconds)} each"
        total, disk, largest = total + seconds * len(waiting), disk + size * len(waiting), max(largest, size)
    torch.set_num_threads(threads)
    # A checkpoint holds the weights and both of AdamW's averages, and the next one is written before it is deleted.
    disk += 2 * 3 * largest * workers
    free = shutil.disk_usage(run.folder).free
    if disk > free:
        raise DataError(f"{free / 1e9:.1f} GB are free and this run needs about {disk / 1e9:.1f} GB", run.folder,
                        action="free space, choose another output_dir, or train fewer units")  # fmt: skip
    training = f"about {spoken(total / workers)} of training with {workers} units side by side"
    return facts | {
        "estimated time": f"{training}; blending comes after it",
        "estimated disk": f"about {disk / 1e9:.1f} GB of {free / 1e9:.0f} GB free",
    }


def _of_a_unit(contest: Contest, name: str, sample: pd.DataFrame, rows: float) -> tuple[float, int]:
    """A member's fitting time in seconds and its bytes on disk, from a short fit of `sample` scaled to `rows` rows."""
    member = contest.build_member(name, contest.config.seeds[0])
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(member, "estimate"):
            return member.estimate(sample, rows, Path(folder))
        started = time.time()
        member.fit(sample, sample, (), Path(folder))
        member.scores(sample)
        return (time.time() - started) * rows / len(sample), 0
