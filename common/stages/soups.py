"""The models that score rows without labels: every unit, or one a seed whose weights are the mean of its folds'.

A soup is as fast as one model where the mean of scores takes one a fold. It has seen every training row, so it has no
out-of-fold score: blend weights and thresholds are those of the single models.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.contest import Contest
from common.ensembling.scores import Scores
from common.files import DataError, atomic_path
from common.run import Run, Unit, emissions_of

OF_UNIT = ("model", "checkpoints", "tensorboard", "*.parquet", "unit.json", "history.json", ".lock")


def models(contest: Contest, run: Run, units: Sequence[Unit]) -> list[tuple[Unit, Path]]:
    """Which folders hold the models that score new rows for `units`, each with a unit to build its member by.

    With `soup` the units of a seed have one together, made when it is not there. Members without a pretrained encoder
    keep theirs: weights can be averaged only where training began at the same ones. Raises DataError where the folds
    of a seed do not have one vocabulary.
    """
    if not contest.config.soup:
        return [(unit, run.unit_folder(unit)) for unit in units]
    found: list[tuple[Unit, Path]] = []
    for name, seed in dict.fromkeys((unit.member, unit.seed) for unit in units):
        own = [unit for unit in units if (unit.member, unit.seed) == (name, seed)]
        pretrained = getattr(contest.settings[name], "encoder", "")
        if pretrained and (run.unit_folder(own[0]) / "model" / "model.safetensors").exists():
            found.append((own[0], _soup(run, own)))
        else:
            found += [(unit, run.unit_folder(unit)) for unit in own]
    return found


def scored(
    contest: Contest, unit: Unit, folder: Path, rows: pd.DataFrame, shared: Any = None
) -> tuple[Scores, Scores | None, Path]:
    """Scores and CRF emissions of rows by the model in a folder, with the folder: what `average_units` takes.

    shared: text that members of like settings make ready once (SharedText), or None.
    """
    member = contest.build_member(unit.member, unit.seed).restore(folder)
    if shared is not None and (share_text := getattr(member, "share_text", None)):
        share_text(shared)
    return Scores.of(rows["id"].tolist(), member.scores(rows)), emissions_of(member, rows), folder


def _soup(run: Run, units: Sequence[Unit]) -> Path:
    from common.training.averaging import soup

    folders = [run.unit_folder(unit) for unit in units]
    target = run.folder / units[0].member / f"soup-seed-{units[0].seed}"
    newest = max((folder / "unit.json").stat().st_mtime_ns for folder in folders)
    if target.exists() and target.stat().st_mtime_ns > newest:
        return target
    shutil.rmtree(target, ignore_errors=True)
    words = [(folder / "tokenizer" / "tokenizer.json").read_bytes() for folder in folders]
    if len(set(words)) > 1:
        raise DataError("its vocabulary is another than that of the first fold", folders[0].parent.parent,
                        expected="folds of one pretrained encoder", action="leave soup at false")  # fmt: skip
    with atomic_path(target) as draft:
        shutil.copytree(folders[0], draft, ignore=shutil.ignore_patterns(*OF_UNIT), dirs_exist_ok=True)
        soup([folder / "model" for folder in folders], draft / "model")
    return target
