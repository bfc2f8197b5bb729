"""ensemble: members combined on out-of-fold scores, judged on folds that the blend has not seen, and submitted."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.config import ConfigError, nearest
from common.contest import Contest
from common.ensembling.blending import Blend
from common.ensembling.scores import Scores, join
from common.evaluation.report import write_report
from common.files import read_json, write_json
from common.logs import log
from common.run import Run, Unit
from common.stages.rows import read_rows


@dataclass(frozen=True)
class Combined:
    """One way to predict: a member alone or a blend. result: its cross-fitted score and parts."""

    name: str
    members: list[str]
    result: dict[str, float]
    seconds: float = 0.0


def ensemble(contest: Contest) -> dict[str, Any]:
    """Blends the finished units of the run and writes its submission; returns the run's metrics."""
    run, rows = Run(contest), read_rows(contest)
    names = contest.config.ensemble.members or contest.config.use
    for name in names:
        if name not in contest.config.use:
            raise ConfigError(f"ensemble.members names {name!r}{nearest(name, contest.config.use)}")
    units = {name: [unit for unit in run.units() if unit.member == name] for name in names}
    _complete(run, units, rows.digest)
    run.write_config()
    oof = {name: _out_of_fold(contest, run, units[name]).ordered(rows.train["id"]) for name in names}
    test = {name: unit_average(contest, run, units[name], "test").ordered(rows.test["id"]) for name in names}

    blends = contest.blends()
    method = contest.config.ensemble.method
    if method not in (*blends, *oof, "best"):
        raise ConfigError(f"ensemble.method is {method!r}{nearest(method, [*blends, *oof, 'best'])}")
    ways = [(name, [name], blends["mean"]) for name in oof]
    ways += [(name, list(oof), blend) for name, blend in blends.items() if len(oof) > 1]
    judged = []
    for name, members, blend in tqdm(ways, desc="ensemble", unit="blend", disable=None):
        started = time.time()
        result = cross_fitted(contest, rows, [oof[member] for member in members], blend)
        judged.append(Combined(name, members, result, time.time() - started))
    best_member = max((item for item in judged if len(item.members) == 1), key=lambda item: item.result["score"])
    # A tie goes to the simpler one: members stand before blends, and the mean before fitted blends.
    chosen = max(judged, key=lambda item: item.result["score"]) if method == "best" else _named(judged, method)

    blend = blends.get(chosen.name, blends["mean"]) if len(chosen.members) > 1 else blends["mean"]
    parts = [oof[name] for name in chosen.members]
    blend.fit(parts, contest.targets(rows.train), _objective(contest, rows.train))
    blended = blend.apply(parts)
    decision = contest.fit_decision(rows.train, blended)
    blended_test = blend.apply([test[name] for name in chosen.members])

    blended.save(run.folder / "oof.parquet")
    blended_test.save(run.folder / "test.parquet")
    write_json(run.folder / "ensemble.json",
               {"members": chosen.members, "blend": blend.state(), "decision": decision})  # fmt: skip
    submission = None
    if len(rows.test):
        submission = run.folder / contest.submission_file
        contest.write_submission(submission, rows.test, contest.decode(rows.test, blended_test, decision))
    metrics = {
        "contest": contest.name,
        "score": chosen.result["score"],
        "chosen": chosen.name,
        "gain_over_best_member": chosen.result["score"] - best_member.result["score"],
        "results": {item.name: item.result for item in judged},
        "searched": _score(contest, rows.train, blended, decision),
        "units": {unit.name: _unit_facts(run, unit) for group in units.values() for unit in group},
        "submission": str(submission or ""),
    }
    write_json(run.folder / "metrics.json", metrics)
    write_report(run.folder / "report.html", metrics, folds=contest.config.folds)
    _log(judged, chosen, metrics)
    return metrics


def cross_fitted(contest: Contest, rows: Any, parts: list[Scores], blend: Blend) -> dict[str, float]:
    """The score of a blend and its decision rule on rows that neither was fitted on.

    For each fold the blend's weights and the decision (thresholds) are fitted on the out-of-fold scores of the other
    folds and applied to this one; the predictions of all folds are then scored together.
    """
    predictions: list[Any] = [None] * len(rows.train)
    targets, lengths = contest.targets(rows.train), np.diff(parts[0].offsets)
    for fold in range(contest.config.folds):
        inside, outside = np.flatnonzero(rows.folds == fold), np.flatnonzero(rows.folds != fold)
        others = rows.train.iloc[outside].reset_index(drop=True)
        known = [part.take(outside) for part in parts]
        blend.fit(known, targets[np.repeat(rows.folds != fold, lengths)], _objective(contest, others))
        decision = contest.fit_decision(others, blend.apply(known))
        own = rows.train.iloc[inside].reset_index(drop=True)
        decoded = contest.decode(own, blend.apply([part.take(inside) for part in parts]), decision)
        for place, prediction in zip(inside, decoded, strict=True):
            predictions[place] = prediction
    return contest.score(rows.train, contest.gold(rows.train), predictions)


def _objective(contest: Contest, rows: pd.DataFrame):
    return lambda scores: contest.objective(rows, scores)


def _score(contest: Contest, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> dict[str, float]:
    return contest.score(rows, contest.gold(rows), contest.decode(rows, scores, decision))


def unit_average(contest: Contest, run: Run, units: list[Unit], part: str) -> Scores:
    """One member's scores: the average over its units, which have all scored the same rows. part: "oof" or "test"."""
    outputs = [(run.scores(unit, part), run.emissions(unit, part), run.unit_folder(unit)) for unit in units]
    return contest.average_units(units[0].member, *map(list, zip(*outputs, strict=True)))


def _out_of_fold(contest: Contest, run: Run, units: list[Unit]) -> Scores:
    """Every training row scored by the models that have not seen it, averaged over seeds."""
    folds = sorted({unit.fold for unit in units})
    return join([unit_average(contest, run, [unit for unit in units if unit.fold == fold], "oof") for fold in folds])


def _complete(run: Run, units: dict[str, list[Unit]], digest: str) -> None:
    missing = [
        unit.name
        for group in units.values()
        for unit in group
        if run.finished(unit, run.unit_settings(unit, digest)) is None
    ]
    if missing:
        raise ConfigError(f"{len(missing)} units are not finished, the first is {missing[0]}: run the train stage "
                          f"first, or leave members out with use=[...]")  # fmt: skip


def _unit_facts(run: Run, unit: Unit) -> dict[str, Any]:
    return {key: value for key, value in read_json(run.unit_folder(unit) / "unit.json").items() if key != "settings"}


def _named(judged: list[Combined], name: str) -> Combined:
    for item in judged:
        if item.name == name:
            return item
    return judged[0]  # a single member has nothing to blend with


def _log(judged: list[Combined], chosen: Combined, metrics: dict[str, Any]) -> None:
    log.info("cross-fitted out-of-fold scores (weights and thresholds fitted on the other folds):")
    width = max(len(item.name) for item in judged)
    for item in judged:
        kind = "member" if len(item.members) == 1 else "blend "
        mark = "  <- chosen" if item is chosen else ""
        log.info(f"  {kind} {item.name:{width}}  {item.result['score']:.4f}{mark}")
    log.info(f"gain over the best member {metrics['gain_over_best_member']:+.4f}; "
             f"fitted on all folds at once {metrics['searched']['score']:.4f}")  # fmt: skip
    log.info(f"submission: {metrics['submission'] or 'none, for there are no test rows'}")
