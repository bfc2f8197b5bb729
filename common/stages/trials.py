"""Many seeds started, the bad ones stopped early, and a picture of what one more seed would be worth.

A unit trains up to a share of its steps and pauses; once all of a member's units have paused, the seeds with the best
mean held-out score over the folds go on, exactly as if they had never paused, and the others are dropped.
Source: Dodge et al. 2020, section 5 ("start many, stop early, continue some").
"""

import shutil
from collections.abc import Iterable
from statistics import mean
from typing import Any

from common.config import ConfigError
from common.contest import Contest, Member
from common.files import read_json, write_json
from common.logs import log
from common.run import STOPPED, Run, Unit
from common.training.seeds import draw_expected_best

DECISION, PAUSED, PICTURE = "trials.json", "paused.json", "expected_best.png"
LEAST_SEEDS = 3  # for a picture


def begin_trials(contest: Contest, run: Run) -> None:
    """Forgets what another rule had stopped.

    Raises ConfigError for a rule that could keep no seed or never pause, and where units were trained to their end
    without one: what they had on the way, by which seeds are compared, nobody knows.
    """
    own = contest.config.trials
    if own.keep < 0 or not 0 < own.after < 1:
        raise ConfigError(f"trials.keep is {own.keep} and trials.after {own.after:g}: expected the number of seeds to "
                          f"train to the end (0: all), and a share of the steps between 0 and 1")  # fmt: skip
    for unit in run.every_unit():
        if unit.member not in decided(contest, run):
            (run.unit_folder(unit) / STOPPED).unlink(missing_ok=True)
    for name in contest.config.use:
        member = contest.build_member(name, contest.config.seeds[0])
        for unit in run.every_unit():
            if (
                unit.member == name
                and pauses(contest, run, unit, member)
                and run.finished(unit)
                and paused(run, unit) is None
            ):
                raise ConfigError(
                    f"trials.keep={own.keep} compares seeds on the way, and {unit.name} of this run was trained to its "
                    "end without a stop: give the new run a name of its own (run=NAME)"
                )


def pauses(contest: Contest, run: Run, unit: Unit, member: Member) -> bool:
    """Whether this unit is to stop on the way and wait for the other seeds."""
    own = contest.config.trials
    stops = 0 < own.keep < len(contest.config.seeds) and hasattr(member, "pause_after")
    return stops and unit.member not in decided(contest, run)


def write_paused(run: Run, unit: Unit, settings: dict[str, Any], score: float) -> None:
    """Notes what a unit had reached when it paused."""
    write_json(run.unit_folder(unit) / PAUSED, {"score": score, "settings": settings})


def paused(run: Run, unit: Unit, settings: dict[str, Any] | None = None) -> float | None:
    """The score at which a unit paused, or None when it did not, or did under other settings."""
    path = run.unit_folder(unit) / PAUSED
    facts = read_json(path) if path.exists() else None
    return facts["score"] if facts and settings in (None, facts["settings"]) else None


def decided(contest: Contest, run: Run) -> dict[str, Any]:
    """By member: which seeds go on, and every seed's score so far; only what these settings decided."""
    path = run.folder / DECISION
    facts = read_json(path) if path.exists() else {}
    return facts.get("members", {}) if facts.get("rule") == _rule(contest) else {}


def _rule(contest: Contest) -> dict[str, Any]:
    own, config = contest.config.trials, contest.config
    return {"keep": own.keep, "after": own.after, "seeds": list(config.seeds), "folds": config.folds}


def decide(contest: Contest, run: Run, members: Iterable[str]) -> None:
    """Chooses the seeds that go on, for each of `members` whose units have all paused, and drops the others' units."""
    found = decided(contest, run)
    for name in members:
        if name in found:
            continue
        units = [unit for unit in run.units() if unit.member == name]
        scores = {unit: paused(run, unit) for unit in units}
        if missing := [unit for unit, score in scores.items() if score is None]:
            log.info(f"{name}: {len(missing)} of {len(units)} units have not paused yet, the first is "
                     f"{missing[0].name}; its best seeds are chosen when they have")  # fmt: skip
            continue
        by_seed = {seed: mean(scores[unit] for unit in units if unit.seed == seed) for seed in contest.config.seeds}
        kept = sorted(by_seed, key=lambda seed: (-by_seed[seed], seed))[: contest.config.trials.keep]
        found[name] = {"kept": sorted(kept), "scores": {str(seed): score for seed, score in by_seed.items()}}
        write_json(run.folder / DECISION, {"rule": _rule(contest), "members": found})
        log.info(f"{name}: seeds {', '.join(map(str, sorted(kept)))} go on; held-out means after "
                 f"{contest.config.trials.after:.0%}: "
                 + ", ".join(f"{seed} {score:.4f}" for seed, score in by_seed.items()))  # fmt: skip
    _drop(contest, run, found)


def _drop(contest: Contest, run: Run, found: dict[str, Any]) -> None:
    """Marks what does not go on, and removes its checkpoints; again after an interruption."""
    for unit in run.units():
        if unit.member in found and unit.seed not in found[unit.member]["kept"]:
            folder = run.unit_folder(unit)
            write_json(folder / STOPPED, {"score": paused(run, unit), "after": contest.config.trials.after})
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def draw_seeds(contest: Contest, run: Run) -> None:
    """The best score to expect against the number of seeds, where there are enough of them.

    Of a member whose bad seeds were stopped, the scores at that point: those of the kept alone would flatter it.
    """
    curves: dict[str, list[float]] = {}
    for name, facts in decided(contest, run).items():
        curves[f"{name}, after {contest.config.trials.after:.0%}"] = list(facts["scores"].values())
    for name in contest.config.use:
        if name in decided(contest, run):
            continue
        scores = []
        for seed in contest.config.seeds:
            facts = [run.finished(unit) for unit in run.units() if (unit.member, unit.seed) == (name, seed)]
            if facts and all(facts):
                scores.append(mean(fold["score"] for fold in facts))
        curves[name] = scores
    if curves := {name: scores for name, scores in curves.items() if len(scores) >= LEAST_SEEDS}:
        draw_expected_best(curves, run.folder / PICTURE, "held-out score, mean over folds")
