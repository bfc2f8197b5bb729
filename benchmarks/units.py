"""A benchmark is made of units: each is one fit and one file, so that finished ones are kept."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from common.files import read_json, write_json
from common.logs import log, spoken
from common.processes import pool_of


@dataclass(frozen=True, kw_only=True)
class Unit(ABC):
    """One fit. settings: all that decides the result, as JSON values. path: the unit's file."""

    settings: dict[str, Any]
    path: Path

    @property
    @abstractmethod
    def name(self) -> str:
        """What the log calls it."""

    @abstractmethod
    def estimated_seconds(self) -> float:
        """A guess at how long it takes; what was measured corrects it."""

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Fits and scores; returns the facts that its file holds beside `seconds` and `settings`."""

    def finished(self) -> dict[str, Any] | None:
        """The facts of the unit when it was finished under the same settings, else None."""
        facts = read_json(self.path) if self.path.exists() else None
        return facts if facts and facts["settings"] == self.settings else None


def run(units: Sequence[Unit], workers: int) -> None:
    """Makes the files of all units that have none yet, in `workers` processes of one thread each, in their order.

    Says with each what it took and what is left. A unit that fails stops the run; finished ones stay.
    """
    wanted = [unit for unit in units if unit.finished() is None]
    guesses = {unit.path: unit.estimated_seconds() for unit in wanted}
    left = sum(guesses.values())
    log.info(f"{len(units)} units, {len(units) - len(wanted)} of them finished; about {spoken(left / workers)} to go")
    began, guessed = time(), 0.0
    for done, (unit, seconds) in enumerate(_results(wanted, workers), start=1):
        guessed += guesses[unit.path]
        remaining = (left - guessed) * (time() - began) / guessed
        log.info(f"  {done} of {len(wanted)}  {unit.name}  {seconds:.0f} s; {spoken(remaining)} left")


def _results(units: list[Unit], workers: int) -> Iterator[tuple[Unit, float]]:
    """Each unit with its seconds, as they are finished."""
    if workers == 1:
        one_thread()
        yield from ((unit, run_unit(unit)) for unit in units)
        return
    with pool_of(workers, one_thread) as pool:
        running = {pool.submit(run_unit, unit): unit for unit in units}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def one_thread() -> None:
    """Keeps this process to one thread."""
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps what members say of themselves out of the log of a hundred fits."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def run_unit(unit: Unit) -> float:
    """Fits one unit and writes its file. Returns the seconds that it took."""
    began = time()
    with _silent():
        facts = unit.measure()
    seconds = time() - began
    write_json(unit.path, {"seconds": round(seconds, 1), **facts, "settings": unit.settings})
    return seconds
