"""compare: is one finished run better than another, or is it chance of which rows there are?"""

from typing import Any

import numpy as np

from common.config import ConfigError
from common.contest import Contest
from common.evaluation.bootstrap import bootstrap_scores, interval
from common.files import existing, read_json
from common.logs import log
from common.run import Run, table_digest
from common.stages.ensemble import Extended, cross_predicted, out_of_fold
from common.stages.rows import Rows, read_rows

RESAMPLES = 2000  # where the run's own setting asks for none


def compare(contest: Contest, other: Contest) -> dict[str, float]:
    """The cross-fitted out-of-fold scores of two runs on the same rows, each by the way it chose, and their difference.

    contest, other: finished runs of one contest on the same training rows; folds may differ. Returns score, other,
    gain, and its 95 % interval low, high over resampled rows, paired, where the metric is made of counts.
    Raises ConfigError when the rows are not the same, DataError for a run that is not finished.
    """
    rows, others = read_rows(contest), read_rows(other)
    # Ids alone would not tell: in many contests they are line numbers.
    if table_digest(rows.train) != table_digest(others.train):
        raise ConfigError(f"{contest.config.output_dir} and {other.config.output_dir} were not trained on the same "
                          "rows: compare runs of the same files and max_rows")  # fmt: skip
    gold = contest.gold(rows.train)
    predictions = [_predictions(contest, rows), _predictions(other, others)]
    first, second = (contest.score(rows.train, gold, own)["score"] for own in predictions)
    result = {"score": first, "other": second, "gain": first - second}
    counts = [contest.counts(rows.train, gold, own) for own in predictions]
    if all(own is not None for own in counts):
        resamples = contest.config.ensemble.resamples or RESAMPLES
        resampled = bootstrap_scores(np.stack(counts), contest.groups(rows.train), resamples)
        result |= dict(zip(("low", "high"), interval(resampled[0] - resampled[1]), strict=True))
    _log(contest, other, result)
    return result


def _predictions(contest: Contest, rows: Rows) -> list[Any]:
    """What the run predicts for its training rows, each by models, weights and thresholds that have not seen it."""
    run, (name, members) = Run(contest), _way(contest)
    units, blends = run.units(), contest.blends()
    parts = [out_of_fold(contest, run, [unit for unit in units if unit.member == member]).ordered(rows.train["id"])
             for member in members]  # fmt: skip
    blend = blends.get(name, blends["mean"])
    return cross_predicted(contest, rows, Extended(contest, rows.train)(parts, blend), blend)


def _way(contest: Contest) -> tuple[str, list[str]]:
    """The name of the blend or the member that a run chose, and the members in it."""
    folder = Run(contest).folder
    recipe = read_json(existing(folder / "ensemble.json", "a finished run", "run its ensemble stage first"))
    return read_json(folder / "metrics.json")["chosen"], recipe["members"]


def _log(contest: Contest, other: Contest, result: dict[str, float]) -> None:
    for own, key in ((contest, "score"), (other, "other")):
        name, members = _way(own)
        way = name if len(members) == 1 else f"{name} of {', '.join(members)}"
        log.info(f"{result[key]:.4f}  {Run(own).folder}: {way}")
    line = f"{result['gain']:+.4f}  the first over the second"
    if "low" in result:
        says = "more than chance" if result["low"] > 0 or result["high"] < 0 else "may be chance"
        line += f", 95% interval over resampled rows [{result['low']:+.4f}, {result['high']:+.4f}]: {says}"
    log.info(line)
