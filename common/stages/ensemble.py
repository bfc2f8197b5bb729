"""ensemble: members combined on out-of-fold scores, judged on folds that the blend has not seen, and submitted."""

import gc
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.config import ConfigError, nearest
from common.contest import Contest
from common.ensembling.blending import Blend
from common.ensembling.choice import best_way
from common.ensembling.scores import Scores, join
from common.evaluation.bootstrap import bootstrap_scores, f1_from_counts, interval
from common.evaluation.report import write_report
from common.files import read_json, write_json
from common.logs import log
from common.run import Run, Unit
from common.stages.rows import read_rows
from common.stages.soups import models, scored


@dataclass(frozen=True, eq=False)
class Combined:
    """One way to predict: a member alone or a blend.

    result: its cross-fitted score and parts. counts: what each row adds to it, see Contest.counts.
    """

    name: str
    members: list[str]
    result: dict[str, float]
    counts: np.ndarray | None
    complexity: int
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
    oof = {name: out_of_fold(contest, run, units[name]).ordered(rows.train["id"]) for name in names}
    test = {name: _of_test(contest, run, units[name], rows.test).ordered(rows.test["id"]) for name in names}

    blends, method = contest.blends(), contest.config.ensemble.method
    if method not in (*blends, *oof, "best"):
        raise ConfigError(f"ensemble.method is {method!r}{nearest(method, [*blends, *oof, 'best'])}")
    ways = [(name, [name], blends["mean"]) for name in oof]
    ways += [(name, list(oof), blends[name]) for name in _tried(contest, blends) if len(oof) > 1]
    judged = []
    gold = contest.gold(rows.train)
    known = Extended(contest, rows.train)
    # The rows' millions of tokens stay until the end: without this the garbage collector looks at them again and again,
    # which was a third of the time.
    gc.freeze()
    # A bar is for terminals alone: who reads a log should know too that this takes a while.
    log.info(f"judging {len(oof)} members and {len(ways) - len(oof)} blends of them on {contest.config.folds} folds")
    for name, members, blend in tqdm(ways, desc="ensemble", unit="blend", disable=None):
        started = time.time()
        predictions = cross_predicted(contest, rows, known([oof[member] for member in members], blend), blend)
        result = contest.score(rows.train, gold, predictions)
        counts = contest.counts(rows.train, gold, predictions)
        judged.append(Combined(name, members, result, counts, blend.complexity, time.time() - started))
    gc.unfreeze()
    resampled = _resampled(contest, rows, judged)
    best_member = max((item for item in judged if len(item.members) == 1), key=lambda item: item.result["score"])
    scores = [item.result["score"] for item in judged]
    # A tie goes to the simpler one: members stand before blends, and the mean before fitted blends.
    best = judged[best_way(scores, [item.complexity for item in judged], resampled)]
    chosen = best if method == "best" else _named(judged, method)

    blend = blends.get(chosen.name, blends["mean"]) if len(chosen.members) > 1 else blends["mean"]
    parts = known([oof[name] for name in chosen.members], blend)
    blend.fit(parts, contest.targets(rows.train), _objective(contest, rows.train))
    blended = blend.apply(parts)
    decision = contest.fit_decision(rows.train, blended)
    blended_test = blend.apply(Extended(contest, rows.test)([test[name] for name in chosen.members], blend))

    # By a blend that was fitted on these rows, as on all: to look at, and not to be scored.
    blended.save(run.folder / "oof.parquet")
    blended_test.save(run.folder / "test.parquet")
    write_json(run.folder / "ensemble.json",
               {"members": chosen.members, "blend": blend.state(), "decision": decision})  # fmt: skip
    submission = None
    if len(rows.test):
        submission = run.folder / contest.submission_file
        contest.write_submission(submission, rows.test, contest.decode(rows.test, blended_test, decision))
        contest.write_more(run.folder, rows.test, blended_test)
    metrics = {
        "contest": contest.name,
        "score": chosen.result["score"],
        "chosen": chosen.name,
        "gain_over_best_member": chosen.result["score"] - best_member.result["score"],
        "results": {item.name: item.result for item in judged},
        "gains": _gains(judged, best_member, resampled),
        "searched": _score(contest, rows.train, blended, decision),
        "units": {unit.name: _unit_facts(run, unit) for group in units.values() for unit in group},
        "submission": str(submission or ""),
    }
    write_json(run.folder / "metrics.json", metrics)
    write_report(run.folder / "report.html", metrics, folds=contest.config.folds)
    _log(judged, chosen, metrics)
    return metrics


def cross_fitted(contest: Contest, rows: Any, parts: list[Scores], blend: Blend) -> dict[str, float]:
    """The score of a blend and its decision rule on rows that neither was fitted on; see `cross_predicted`."""
    return contest.score(rows.train, contest.gold(rows.train), cross_predicted(contest, rows, parts, blend))


def cross_predicted(contest: Contest, rows: Any, parts: list[Scores], blend: Blend) -> list[Any]:
    """Predictions of all training rows by a blend and a decision rule that have not seen them.

    For each fold the blend's weights and the decision (thresholds) are fitted on the out-of-fold scores of the other
    folds and applied to this one.
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
    return predictions


class Extended:
    """Adds the contest's features of some rows to the members' scores of them, for blends that take features."""

    def __init__(self, contest: Contest, rows: pd.DataFrame) -> None:
        self.contest, self.rows, self.features = contest, rows, None

    def __call__(self, parts: list[Scores], blend: Blend) -> list[Scores]:
        """The parts, and for a blend that takes features these as one part more. They are computed once."""
        if not blend.takes_features:
            return parts
        if self.features is None:
            self.features = parts[0].with_values(self.contest.stacking_features(self.rows))
        return [*parts, self.features]


def _tried(contest: Contest, blends: dict[str, Blend]) -> list[str]:
    """The names of the blends to judge: those asked for, else all that are not slow; and always the chosen method."""
    asked = contest.config.ensemble.blends
    for name in asked:
        if name not in blends:
            raise ConfigError(f"ensemble.blends names {name!r}{nearest(name, blends)}")
    wanted = {*(asked or (name for name in blends if name not in contest.slow_blends)), contest.config.ensemble.method}
    return [name for name in blends if name in wanted]


def _resampled(contest: Contest, rows: Any, judged: list[Combined]) -> np.ndarray | None:
    """(ways, resamples) scores on the same resamples of rows, or None where the metric is not made of counts."""
    if not contest.config.ensemble.resamples or any(item.counts is None for item in judged):
        return None
    counts = np.stack([item.counts for item in judged])
    wanted = [item.result["score"] for item in judged]
    if not np.allclose(f1_from_counts(counts.sum(axis=1)), wanted):
        raise ValueError(
            f"{type(contest).__name__}.counts does not add up to its score: mend it, or let it return None"
        )
    return bootstrap_scores(counts, contest.groups(rows.train), contest.config.ensemble.resamples)


def _gains(judged: list[Combined], reference: Combined, resampled: np.ndarray | None) -> dict[str, dict[str, float]]:
    """Each way's gain over the best member and, where there are resamples, its 95 % interval."""
    gains = {item.name: {"gain": item.result["score"] - reference.result["score"]} for item in judged}
    if resampled is not None:
        against = resampled[judged.index(reference)]
        for item, own in zip(judged, resampled, strict=True):
            gains[item.name] |= dict(zip(("low", "high"), interval(own - against), strict=True))
    return gains


def _objective(contest: Contest, rows: pd.DataFrame):
    return lambda scores: contest.objective(rows, scores)


def _score(contest: Contest, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> dict[str, float]:
    return contest.score(rows, contest.gold(rows), contest.decode(rows, scores, decision))


def unit_average(contest: Contest, run: Run, units: list[Unit], part: str) -> Scores:
    """One member's scores: the average over its units, which have all scored the same rows. part: "oof" or "test"."""
    outputs = [(run.scores(unit, part), run.emissions(unit, part), run.unit_folder(unit)) for unit in units]
    return contest.average_units(units[0].member, *map(list, zip(*outputs, strict=True)))


def _of_test(contest: Contest, run: Run, units: list[Unit], test: pd.DataFrame) -> Scores:
    """One member's scores of the test rows: those that its units have kept, or those of its soups."""
    found = models(contest, run, units)
    if not contest.config.soup or len(found) == len(units) or not len(test):
        return unit_average(contest, run, units, "test")
    outputs = [scored(contest, unit, folder, test) for unit, folder in found]
    return contest.average_units(units[0].member, *map(list, zip(*outputs, strict=True)))


def out_of_fold(contest: Contest, run: Run, units: list[Unit]) -> Scores:
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
    log.info("cross-fitted out-of-fold scores (weights and thresholds fitted on the other folds), "
             "gain over the best member and its 95% interval over resampled rows:")  # fmt: skip
    width = max(len(item.name) for item in judged)
    for item in judged:
        kind, gain = "member" if len(item.members) == 1 else "blend ", metrics["gains"][item.name]
        bounds = f" [{gain['low']:+.4f}, {gain['high']:+.4f}]" if "low" in gain else ""
        line = f"  {kind} {item.name:{width}}  {item.result['score']:.4f}  {gain['gain']:+.4f}{bounds}"
        log.info(f"{line}  {item.seconds:.0f} s{'  <- chosen' if item is chosen else ''}")
    line = f"gain over the best member {metrics['gain_over_best_member']:+.4f}"
    if (searched := metrics["searched"]["score"]) != chosen.result["score"]:
        line += f"; fitted on all folds at once {searched:.4f}, which is too good: these rows were fitted on"
    log.info(line)
    log.info(f"submission: {metrics['submission'] or 'none, for there are no test rows'}")
