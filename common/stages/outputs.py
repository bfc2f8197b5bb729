"""check, score and predict: what is done with a finished run and with files in the submission's format."""

from pathlib import Path
from typing import Any

from common.config import ConfigError
from common.contest import Contest
from common.ensembling.blending import kinds_of, restore
from common.files import DataError, check_writable, existing, read_json
from common.logs import log
from common.run import Run, unique_ids
from common.stages.ensemble import Extended
from common.stages.rows import thinned
from common.stages.soups import models, scored


def check(contest: Contest) -> None:
    """Validates `submission=`, by default the run's own, against the test file. Raises DataError for a fault."""
    path = Path(contest.config.submission or Path(contest.config.output_dir) / contest.submission_file)
    test = thinned(contest.read_test(), contest.config.max_rows)
    if not len(test):
        if contest.config.submission:
            raise DataError("there are no test rows to check a submission against", contest.config.data_dir,
                            expected="the official test file", action="put it there")  # fmt: skip
        log.info(f"{contest.config.data_dir} holds no test file: there is no submission to check")
        return
    existing(path, "a submission", "run the ensemble stage first, or name a file with submission=FILE")
    contest.check_submission(path, test)
    log.info(f"{path}: {len(test)} rows, format and order are right")


def score(contest: Contest) -> dict[str, float]:
    """The contest's metric of `prediction=` (by default the run's submission) against `gold=`, printed part by part."""
    if not contest.config.gold:
        raise ConfigError("score needs gold=FILE: usage: score gold=FILE [prediction=FILE]")
    own = Path(contest.config.output_dir) / contest.submission_file
    prediction = Path(contest.config.prediction or own)
    gold_rows, gold = contest.read_predictions(Path(contest.config.gold))
    rows, predictions = contest.read_predictions(prediction, like=Path(contest.config.gold))
    place = {name: number for number, name in enumerate(unique_ids(rows, prediction)["id"])}
    missing = [name for name in gold_rows["id"] if name not in place]
    if missing or len(rows) != len(gold_rows):
        raise DataError(
            f"{len(rows)} predictions for {len(gold_rows)} gold rows"
            + (f", without {len(missing)} of the gold's ids such as {missing[0]!r}" if missing else ""),
            prediction, expected="one prediction for every gold row", action="predict the gold's own test file",
        )  # fmt: skip
    result = contest.score(gold_rows, gold, [predictions[place[name]] for name in gold_rows["id"]])
    for name, value in result.items():
        log.info(f"{name:24} {value:.4f}")
    return result


def predict(contest: Contest) -> None:
    """Predicts `input=`, a file in the official test format, with the finished run; writes `output=`."""
    config = contest.config
    for key in ("input", "output"):
        if not getattr(config, key):
            raise ConfigError(f"predict needs {key}=FILE: usage: predict run=FOLDER input=FILE output=FILE")
    # A folder or a file; asked for here, since a contest may take a folder without test files for one without a test.
    existing(config.input, "a file in the official test format", "check input=")
    check_writable(Path(config.output).parent)
    run = Run(contest)
    recipe = read_json(existing(run.folder / "ensemble.json", "a finished run", "run the ensemble stage first"))
    rows = unique_ids(contest.read_test(Path(config.input)), config.input)
    if not len(rows):
        raise DataError("holds no rows to predict", config.input, expected="the official test format",
                        action="check input=")  # fmt: skip
    predictions = predict_rows(contest, run, recipe, rows)
    contest.write_submission(Path(config.output), rows, predictions)
    log.info(f"{len(rows)} predictions: {config.output}")


def predict_rows(contest: Contest, run: Run, recipe: dict[str, Any], rows) -> list[Any]:
    """Predictions of new rows by a run's blend: every unit of its members scores them, then as `ensemble` combined."""
    from tqdm import tqdm

    from common.training.prepared_text import SharedText

    units = [unit for unit in run.units() if unit.member in recipe["members"]]
    shared, found = SharedText(), {}
    # Seeds of a fold have one vocabulary: they come after each other, so that the text is made ready once for them.
    members = contest.config.use
    in_turn = sorted(units, key=lambda unit: (members.index(unit.member), unit.fold))
    for unit, folder in tqdm(models(contest, run, in_turn), desc="predict", unit="model", disable=None):
        found[unit] = scored(contest, unit, folder, rows, shared)
    outputs: dict[str, list[tuple]] = {}
    for unit in units:
        if unit in found:
            outputs.setdefault(unit.member, []).append(found[unit])
    parts = [contest.average_units(name, *map(list, zip(*outputs[name], strict=True))) for name in recipe["members"]]
    blend = restore(recipe["blend"], kinds_of(contest.blends().values()))
    return contest.decode(rows, blend.apply(Extended(contest, rows)(parts, blend)), recipe["decision"])
