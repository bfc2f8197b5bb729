"""python -m benchmarks.choice CONTEST run=FOLDER [key=value ...]

Does the ensemble stage choose well? A run's out-of-fold rows are split at random: on the one part every way to combine
its members is judged and fitted as the stage does, on the other part what each rule of choice takes is scored.

Keys of its own; all others are the contest's (data_dir=FOLDER):
  rows=300      rows to choose on; rows that share a text stay together
  repeats=10    random splits
Rules: `kit` (common/ensembling/choice.py), `beyond_chance` (everything fitted must gain beyond chance), `score` (the
highest score of all), `member` (the best member), `mean` (no choice). `known`: the best on the other part itself.
"""

import sys
from types import SimpleNamespace

import numpy as np

from benchmarks.command import command

OTHERS = 6000  # rows at most that choices are scored on


def main(words: list[str]) -> int:
    """Prints a line for each split and the means; returns the exit status, see `command`."""
    return command(words or ["--help"], __doc__, lambda: _asked(words))


def _asked(words: list[str]) -> None:
    from common.config import ConfigError

    own = dict(word.split("=", 1) for word in words[1:] if word.startswith(("rows=", "repeats=", "run=")))
    rest = [word for word in words[1:] if word.split("=", 1)[0] not in ("rows", "repeats", "run")]
    if "run" not in own:
        raise ConfigError("run=FOLDER is missing: the folder of a finished run")
    measure(words[0], [*rest, f"output_dir={own['run']}"], int(own.get("rows", 300)), int(own.get("repeats", 10)))


def measure(name: str, words: list[str], size: int, repeats: int) -> None:
    """Scores each rule on `repeats` splits. name: of the contest. words: its settings. size: rows to choose on."""
    from common.run import Run
    from common.stages.ensemble import out_of_fold
    from common.stages.rows import read_rows
    from competitions.launch import configured

    contest = configured(name, [], words, "ensemble")
    run, rows = Run(contest), read_rows(contest)
    oof = {
        member: out_of_fold(contest, run, [unit for unit in run.units() if unit.member == member])
        for member in contest.config.use
    }
    parts = [scores.ordered(rows.train["id"]) for scores in oof.values()]
    found = []
    for repeat in range(repeats):
        found.append(_split_once(contest, rows, dict(zip(oof, parts, strict=True)), size, repeat))
        print("  ".join(f"{rule} {score:.4f}" for rule, score in found[-1].items()), flush=True)
    means = {rule: float(np.mean([row[rule] for row in found])) for rule in found[0]}
    print("mean of all:  " + "  ".join(f"{rule} {score:.4f}" for rule, score in means.items()))


def _split_once(contest, rows, parts, size: int, seed: int) -> dict[str, float]:
    """The score of each rule's choice on rows that had no part in it."""
    from common.ensembling.choice import best_way
    from common.evaluation.bootstrap import bootstrap_scores
    from common.stages.ensemble import cross_predicted

    _, group = np.unique(np.asarray(contest.groups(rows.train)), return_inverse=True)
    order = np.argsort(np.random.default_rng(seed).permutation(group.max() + 1)[group], kind="stable")
    known, others = np.sort(order[:size]), np.sort(order[size : size + OTHERS])
    here, there = (rows.train.iloc[part].reset_index(drop=True) for part in (known, others))
    own = SimpleNamespace(train=here, folds=np.asarray(rows.folds)[known])
    blends = {name: blend for name, blend in contest.blends().items() if not blend.takes_features}
    ways = [([member], blends["mean"]) for member in parts]
    ways += [(list(parts), blend) for name, blend in blends.items() if name not in contest.slow_blends]
    gold, targets = contest.gold(here), contest.targets(here)
    scores, counts, outside = [], [], []
    for members, blend in ways:
        chosen = [parts[member].take(known) for member in members]
        predictions = cross_predicted(contest, own, chosen, blend)
        scores.append(contest.score(here, gold, predictions)["score"])
        counts.append(contest.counts(here, gold, predictions))
        blend.fit(chosen, targets, lambda blended: contest.objective(here, blended))
        decision = contest.fit_decision(here, blend.apply(chosen))
        blended = blend.apply([parts[member].take(others) for member in members])
        outside.append(contest.score(there, contest.gold(there), contest.decode(there, blended, decision))["score"])
    resampled = bootstrap_scores(np.stack(counts), contest.groups(here), 1000)
    complexities = [blend.complexity for _, blend in ways]
    rules = {
        "kit": best_way(scores, complexities, resampled),
        "beyond_chance": best_way(scores, [2 * (number > 0) for number in complexities], resampled),
        "score": int(np.argmax(scores)),
        "member": int(np.argmax(scores[: len(parts)])),
        "mean": len(parts),
    }
    return {rule: outside[way] for rule, way in rules.items()} | {"known": max(outside)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
