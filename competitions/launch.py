"""From the words of a command to a stage that runs: settings are layered, checked and handed to the contest."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from common.config import ConfigError, read_config, resolved, typed
from common.contest import Contest
from common.files import existing
from common.logs import start_log
from common.processes import is_child, rank

HERE = Path(__file__).parent
READ_ONLY = ("check", "score", "predict")


def launch(contest: str, stage: str, files: list[Path], words: list[str]) -> Any:
    """Runs a stage of a contest.

    contest: a folder beside this file. stage: one of the stages. files: YAML configs over the contest's default.
    words: key=value settings over those. Returns what the stage returns. Raises ConfigError or DataError.
    """
    stages = _stages()
    instance = configured(contest, files, words, finished=stage == "predict")
    if rank() == 0:
        own = instance.config.only if is_child() else ""  # a unit's own process has a log of its own
        start_log(None if stage in READ_ONLY else Path(instance.config.output_dir) / own)
    elif stage != "train":
        return None  # of several processes under torchrun, the others only help to train
    return stages[stage](instance)


def configured(contest: str, files: list[Path], words: list[str], finished: bool = False) -> Contest:
    """The contest with its settings: default.yaml, then `files`, then `words`.

    finished: settings come from a finished run instead of default.yaml; run= is then its folder or its name.
    """
    cls = contest_class(contest)
    named = OmegaConf.from_dotlist([word for word in words if word.startswith(("run=", "output_dir="))])
    if finished:
        folder = Path(named.get("output_dir") or named.get("run", "default"))
        folder = folder if folder.is_dir() else of_kit(Path("outputs") / contest / folder)
        base = existing(folder / "config.yaml", "the folder of a finished run", "give its folder: run=FOLDER")
        words = [word for word in words if not word.startswith(("run=", "output_dir="))] + [f"output_dir={folder}"]
    else:
        base = HERE / contest / "config" / "default.yaml"
    values = resolved(read_config([base, *files], words))
    if not finished and values["data_dir"] == resolved(read_config([base], []))["data_dir"]:
        values["data_dir"] = str(of_kit(Path(values["data_dir"])))
    if values.pop("contest", contest) != contest:
        raise ConfigError(f"{base} belongs to another contest, not to {contest}")
    if values.get("smoke"):
        _shrink(values)
    config = typed(cls.config_class, values)
    config.output_dir = config.output_dir or str(of_kit(Path("outputs") / contest / config.run))
    if config.smoke and not finished and not config.output_dir.endswith("-smoke"):
        config.output_dir += "-smoke"
    return cls(config)


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
    from common.stages.ensemble import ensemble
    from common.stages.outputs import check, predict, score
    from common.stages.prepare import prepare
    from common.stages.train import train

    return {
        "prepare": prepare,
        "train": train,
        "ensemble": ensemble,
        "check": check,
        "score": score,
        "predict": predict,
    }
