"""A run is one folder: settings, environment, one folder a unit of training, and what the ensemble makes of them."""

import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from common.config import ConfigError, changed_keys, nearest, save_config
from common.contest import Contest, Member, RunConfig
from common.ensembling.scores import Scores
from common.files import DataError, read_json, write_json

STOPPED = "stopped.json"  # in the folder of a unit that will not be trained to its end
# Settings of one command, not of the run.
PASSING = ("only", "workers", "input", "output", "prediction", "gold", "submission", "other")


@dataclass(frozen=True)
class Unit:
    """One fit: a member on all folds but one, with one seed. `name` is its folder, and what `only=` takes."""

    member: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.member}/fold-{self.fold}/seed-{self.seed}"


class Run:
    """The folder of one run of a contest.

    contest: the contest with its settings; the folder is settings.output_dir.
    """

    def __init__(self, contest: Contest) -> None:
        self.contest, self.config = contest, contest.config
        self.folder = Path(self.config.output_dir)

    def units(self, only: str = "") -> list[Unit]:
        """The units of the run, fold by fold within a member, or those that `only` names; none that was stopped early.

        Raises ConfigError when `only` names none.
        """
        every = self.every_unit()
        chosen = [unit for unit in every if not only or f"{unit.name}/".startswith(f"{only.rstrip('/')}/")]
        if not chosen:
            raise ConfigError(f"only={only} names no unit of this run{nearest(only, [unit.name for unit in every])}")
        return [unit for unit in chosen if not (self.unit_folder(unit) / STOPPED).exists()]

    def every_unit(self) -> list[Unit]:
        """All units of the settings, whether or not they go on."""
        config = self.config
        return [Unit(name, fold, seed) for name in config.use for seed in config.seeds for fold in range(config.folds)]

    def unit_folder(self, unit: Unit) -> Path:
        return self.folder / unit.name

    def unit_settings(self, unit: Unit, data_digest: str) -> dict[str, Any]:
        """All that decides a unit's result; a finished unit is kept only while this stays the same."""
        own = self.contest.settings[unit.member]
        # What a contest adds to the common settings (label scheme, augmentation, ...) decides results too.
        common = {field.name for field in dataclasses.fields(RunConfig)} - {"folds", "fold_seed"}
        shared = {key: value for key, value in dataclasses.asdict(self.config).items() if key not in common}
        if self.config.teacher.run:
            said = dataclasses.asdict(self.config.teacher)
            shared["teacher"] = said | {"run": _fingerprint(said["run"])}
        return json.loads(json.dumps({**shared, "data": data_digest, "member": dataclasses.asdict(own)}))

    def finished(self, unit: Unit, settings: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The facts of a finished unit, or None.

        Raises ConfigError when it was finished under other settings than the given ones.
        """
        path = self.unit_folder(unit) / "unit.json"
        if not path.exists():
            return None
        facts = read_json(path)
        if settings is not None and (changes := changed_keys(facts["settings"], settings)):
            raise ConfigError(
                f"{self.unit_folder(unit)} was finished under other settings ({'; '.join(changes[:3])}): "
                f"give the new run a name of its own (run=NAME or output_dir=FOLDER), or delete that folder"
            )
        return facts

    def finish(self, unit: Unit, settings: dict[str, Any], facts: dict[str, Any]) -> None:
        """Marks a unit as finished; written last, so that it stands for everything before it."""
        write_json(self.unit_folder(unit) / "unit.json", {**facts, "settings": settings})

    def scores(self, unit: Unit, part: str) -> Scores:
        """The unit's saved scores; part: "oof" (its held-out fold) or "test"."""
        return Scores.load(self.unit_folder(unit) / f"{part}.parquet")

    def emissions(self, unit: Unit, part: str) -> Scores | None:
        """The CRF emissions behind the unit's scores, where it has any; they are what CRF averaging averages."""
        path = self.unit_folder(unit) / f"{part}-emissions.parquet"
        return Scores.load(path) if path.exists() else None

    def save_outputs(self, unit: Unit, part: str, member: Member, rows: pd.DataFrame) -> Scores:
        """Scores `rows` with a fitted member and keeps the scores (and emissions) as `part`."""
        scores = Scores.of(rows["id"].tolist(), member.scores(rows))
        scores.save(self.unit_folder(unit) / f"{part}.parquet")
        if (emissions := emissions_of(member, rows)) is not None:
            emissions.save(self.unit_folder(unit) / f"{part}-emissions.parquet")
        return scores

    def write_config(self) -> None:
        """Writes config.yaml: complete but for what a single command says of itself."""
        settings = {key: value for key, value in dataclasses.asdict(self.config).items() if key not in PASSING}
        save_config(self.folder / "config.yaml", {"contest": self.contest.name, **settings})

    def write_environment(self) -> None:
        """Writes environment.json: see `environment`."""
        write_json(self.folder / "environment.json", environment(self.config))

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[bool]:
        """Yields True while this process alone holds the unit, False when another process does."""
        import fcntl

        folder = self.unit_folder(unit)
        folder.mkdir(parents=True, exist_ok=True)
        # The lock belongs to the open file: it is released however the process ends.
        with (folder / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def _fingerprint(folder: str) -> dict[str, float]:
    """What the finished units of a run scored, by name, wherever the run stands."""
    found = sorted(Path(folder).glob("*/fold-*/seed-*/unit.json"))
    return {"/".join(path.parts[-4:-1]): read_json(path)["score"] for path in found}


def emissions_of(member: Member, rows: pd.DataFrame) -> Scores | None:
    """The emissions of the rows that `member` scored last, or None when it has no CRF."""
    emissions = getattr(member, "emissions", None)
    return None if emissions is None else Scores.of(rows["id"].tolist(), emissions)


def environment(config: RunConfig) -> dict[str, Any]:
    """Versions, git commit, seeds and device: what it takes to repeat a run."""
    import torch

    packages = ("torch", "transformers", "tokenizers", "datasets", "scikit-learn", "pandas", "jieba", "pytorch-crf")
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parent,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "command": " ".join(sys.argv[1:]),
        "commit": commit,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "seeds": list(config.seeds),
    }


def table_digest(*tables: pd.DataFrame) -> str:
    """A short fingerprint of the rows of tables: another one means other data."""
    import hashlib

    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.to_json(orient="values", force_ascii=False).encode())
    return digest.hexdigest()[:16]


def unique_ids(rows: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    """`rows` when their ids are unique. Raises DataError naming the first repeated id otherwise."""
    repeated = rows["id"][rows["id"].duplicated()]
    if len(repeated):
        raise DataError(f"the id {repeated.iloc[0]!r} occurs more than once", path, expected="unique ids",
                        action="remove or rename the repeated rows")  # fmt: skip
    return rows
