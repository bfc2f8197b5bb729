"""From the words of a command to a stage that runs: settings are layered, checked and handed to the contest."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import cache
from common.config import ConfigError, read_config, resolved, typed
from common.contest import Contest
from common.files import existing
from common.logs import log, start_log
from common.processes import is_child, rank

HERE = Path(__file__).parent
OF_A_RUN = ("check", "score", "predict", "compare")  # read what a run has finished


def launch(contest: str, stage: str, files: list[Path], words: list[str]) -> Any:
    """Runs a stage of a contest.

    contest: a folder beside this file. stage: one of the stages. files: YAML configs over the contest's default.
    words: key=value settings over those. Returns what the stage returns. Raises ConfigError or DataError.
    """
    stages = _stages()
    instance = configured(contest, files, words, stage)
    own = instance.config
    cache.use(cache.DiskCache(own.cache or Path(own.output_dir).parent / ".cache", own.cache_gigabytes))
    if rank() == 0:
        _start_log(instance, stage)
        if not is_child():
            log.info(" ".join(["==", contest, stage, *(f"--config {file}" for file in files), *words]))
    elif stage not in ("train", "pretrain"):
        return None  # of several processes under torchrun, the others only help to train
    return stages[stage](instance)


def configured(contest: str, files: list[Path], words: list[str], stage: str = "train") -> Contest:
    """The contest with its settings: default.yaml, then `files`, then `words`.

    For stages that read a finished run, its own config.yaml stands in for default.yaml; run= is then its folder or its
    name, and predict cannot do without one.
    """
    cls = contest_class(contest)
    default = HERE / contest / "config" / "default.yaml"
    values = resolved(read_config([default, *files], words))
    folder = _run_folder(contest, values, stage)
    if stage in OF_A_RUN and ((folder / "config.yaml").exists() or stage in ("predict", "compare")):
        base = existing(folder / "config.yaml", "the folder of a finished run", "give its folder: run=FOLDER")
        words = [word for word in words if not word.startswith(("run=", "output_dir=", "smoke="))]
        values = resolved(read_config([base, *files], words))
    elif values["data_dir"] == resolved(read_config([default], []))["data_dir"]:
        values["data_dir"] = str(of_kit(Path(values["data_dir"])))
    if (named := values.pop("contest", contest)) != contest:
        raise ConfigError(f"{folder} belongs to another contest, {named}, not to {contest}")
    if values.get("smoke"):
        _shrink(values)
    return cls(typed(cls.config_class, values | {"output_dir": str(folder)}))


def _run_folder(contest: str, values: dict[str, Any], stage: str) -> Path:
    """The folder that the settings name; a smoke run has one of its own beside it."""
    run = str(values.get("run") or "default")
    if stage in OF_A_RUN and not values.get("output_dir") and Path(run).is_dir():
        return Path(run)
    folder = str(values.get("output_dir") or of_kit(Path("outputs") / contest / run))
    return Path(f"{folder}-smoke" if values.get("smoke") and not folder.endswith("-smoke") else folder)


def _start_log(contest: Contest, stage: str) -> None:
    folder = Path(contest.config.output_dir)
    if stage in OF_A_RUN:
        # A finished run may stand where nothing can be written, and one that is not there is not begun by asking.
        kept = (folder / "log.txt").exists() and os.access(folder / "log.txt", os.W_OK)
        start_log(folder if kept else None)
    else:
        start_log(folder / contest.config.only if is_child() else folder)  # a unit's own process has its own log


def of_kit(path: Path) -> Path:
    """A path inside the kit's own folder as seen from where the command runs; defaults mean the same everywhere."""
    return Path(os.path.relpath(HERE.parent / path))


def contest_class(contest: str) -> type[Contest]:
    """The Contest subclass that competitions/<contest>/contest.py defines."""
    module = importlib.import_module(f"competitions.{contest}.contest")
    for item in vars(module).values():
        if isinstance(item, type) and issubclass(item, Contest) and item.__module__ == module.__name__:
            return item
    raise ConfigError(f"{module.__file__} defines no subclass of Contest")


def _shrink(values: dict[str, Any]) -> None:
    """A few dozen lines, two folds, one seed, one epoch: enough to see that a config works."""
    values.update(max_rows=48, folds=2, seeds=list(values.get("seeds") or [1])[:1])
    for member in values.get("members", {}).values():
        if isinstance(member, dict) and isinstance(member.get("training"), dict):
            member["training"]["epochs"] = 1


def _stages() -> dict[str, Callable[[Contest], Any]]:
    from common.stages.compare import compare
    from common.stages.ensemble import ensemble
    from common.stages.outputs import check, predict, score
    from common.stages.prepare import prepare
    from common.stages.search import search
    from common.stages.train import train
    from competitions.pretraining import pretrain_contest

    return {
        "prepare": prepare,
        "pretrain": pretrain_contest,
        "search": search,
        "train": train,
        "ensemble": ensemble,
        "check": check,
        "score": score,
        "predict": predict,
        "compare": lambda contest: compare(contest, _other(contest)),
    }


def _other(contest: Contest) -> Contest:
    """The run that `other=` names, as its own config says."""
    if not contest.config.other:
        raise ConfigError("compare needs other=NAME: usage: compare run=NAME other=NAME, names or folders of two runs")
    return configured(contest.name, [], [f"run={contest.config.other}"], "compare")
