"""One unit of the benchmark is one fit: task, start, seed, fold. Each is one file, and finished ones are kept."""

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from time import time
from typing import Any

from benchmarks import tasks
from common.files import read_json, write_json
from common.logs import log, spoken
from common.run import table_digest

STARTS = ("baseline", "random", "pretrained")
# Guesses for the first estimate of time; what was measured corrects them.
TOKENS_A_SECOND, BASELINE_SECONDS, OVERHEAD_SECONDS = 8000.0, 12.0, 3.0


@dataclass(frozen=True)
class Unit:
    """One fit. start: of STARTS. seed: 0 for baselines, which have no chance in them. encoder: hub id or folder.

    data: folder of the data sets. rows: of each set, 0 for all. settings: all that decides the result, as JSON values.
    path: the unit's file.
    """

    task: str
    start: str
    seed: int
    fold: int
    encoder: str
    data: str
    rows: int
    settings: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        return f"{self.task} {self.start}" + (f" seed {self.seed}" if self.seed else "") + f" fold {self.fold}"

    def finished(self) -> dict[str, Any] | None:
        """The facts of the unit when it was finished under the same settings, else None."""
        facts = read_json(self.path) if self.path.exists() else None
        return facts if facts and facts["settings"] == self.settings else None

    def estimated_seconds(self) -> float:
        """A guess at how long it takes, from the tokens that it trains on."""
        if self.start == "baseline":
            return BASELINE_SECONDS
        train, _ = tasks.load(self.task, self.data, self.rows).split(self.fold)
        recipe = tasks.TASKS[self.task].recipe
        lengths = (
            train["tokens"].str.len() if "tokens" in train else train["source"].str.len() + train["target"].str.len()
        )
        return OVERHEAD_SECONDS + recipe.epochs * (lengths + 3).clip(upper=recipe.max_length).sum() / TOKENS_A_SECOND


def plan(
    names: Sequence[str], starts: Sequence[str], seeds: Sequence[int], encoder: str, data: str, rows: int, folder: Path
) -> list[Unit]:
    """All units, start by start in the order of STARTS. Arguments as in `Unit`; folder: where their files are."""
    units = []
    identity = {start: identity_of(encoder, start) for start in STARTS if start in starts}
    for start, own in identity.items():
        # A new encoder is measured anew; what an older one scored stays beside it.
        place = f"{start}-{own['weights'][:12]}" if start == "pretrained" else start
        for name in names:
            loaded = tasks.load(name, data, rows)
            settings = {"data": table_digest(loaded.rows.assign(fold=loaded.fold)), **own}
            if start != "baseline":
                settings["recipe"] = asdict(tasks.TASKS[name].recipe)
            # As a file gives them back: it has no tuples, and only texts as keys.
            settings = json.loads(json.dumps(settings))
            for seed in seeds if start != "baseline" else (0,):
                for fold in loaded.folds:
                    path = folder / "units" / name / place / f"seed-{seed}-fold-{fold}.json"
                    units.append(Unit(name, start, seed, fold, encoder, data, rows, settings, path))
    return units


def identity_of(encoder: str, start: str) -> dict[str, Any]:
    """What of an encoder decides results: nothing, architecture and vocabulary, or its weights too."""
    if start == "baseline":
        return {}
    from benchmarks.fine_tuning import StartText, dropout_of
    from models.encoders import load_encoder, load_encoder_config

    config = load_encoder_config(encoder, **dropout_of(encoder)).to_dict()
    said = ("transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path", "classifier_dropout")
    tokenizer = StartText(encoder, start == "pretrained").tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    own = {
        "architecture": {key: value for key, value in sorted(config.items()) if key not in said},
        "tokenizer": sha256(tokenizer.to_str().encode()).hexdigest(),
    }
    if start == "pretrained":
        digest = sha256()
        for name, value in sorted(load_encoder(encoder).state_dict().items()):
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes())
        own["weights"] = digest.hexdigest()
    return own


def run(units: list[Unit], workers: int) -> None:
    """Makes the files of all units that have none yet, in `workers` processes of one thread each.

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
    # Forked processes would share the threads that torch has already started.
    with ProcessPoolExecutor(workers, get_context("spawn"), one_thread) as pool:
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
    task, data = tasks.TASKS[unit.task], tasks.load(unit.task, unit.data, unit.rows)
    train, held_out = data.split(unit.fold)
    with tempfile.TemporaryDirectory() as scratch, _silent():
        if unit.start == "baseline":
            from benchmarks import baselines

            predictions = baselines.predict(task, data.names, train, held_out, Path(scratch))
        else:
            from benchmarks import fine_tuning

            pretrained = unit.start == "pretrained"
            found = fine_tuning.predict(
                task, data.names, train, held_out, Path(scratch), unit.encoder, pretrained, unit.seed
            )
            predictions = {"encoder": found}
    seconds = time() - began
    facts = {"task": unit.task, "start": unit.start, "seed": unit.seed, "fold": unit.fold, "seconds": round(seconds, 1)}
    write_json(
        unit.path, {**facts, "settings": unit.settings, "gold": tasks.gold(held_out), "predictions": predictions}
    )
    return seconds
