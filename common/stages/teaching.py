"""A finished run teaches another: labels for rows that have none, and softer labels for those that have.

What the models of a fold learn from comes from the teacher's models of the same fold alone, and these have not seen its
held-out rows: labels that other folds' models made would carry the held-out labels into the training, by models that
learned from them, and out-of-fold scores would be too good. For the same reason members are averaged, not blended: the
weights of a blend are fitted on all folds.
Sources: Lee 2013 (pseudo-labels); Hinton et al. 2015, section 2, at temperature 1 (distillation).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest, read_config, resolved, typed
from common.contest import Contest
from common.ensembling.scores import Scores, average
from common.files import existing
from common.logs import log
from common.run import Run, table_digest, unique_ids
from common.stages.rows import Rows
from common.stages.soups import scored

PSEUDO = ("none", "hard", "soft")


def check_teacher(contest: Contest) -> None:
    """Raises ConfigError for settings of a teacher that mean nothing or that a member cannot learn by.

    Raises DataError when the teacher's run is not there.
    """
    own = contest.config.teacher
    if own.pseudo not in PSEUDO:
        raise ConfigError(f"teacher.pseudo is {own.pseudo!r}{nearest(own.pseudo, PSEUDO)}")
    if not (0 <= own.share <= 1 and 0 <= own.confidence <= 1 and own.most >= 0):
        raise ConfigError(f"teacher.share is {own.share:g}, confidence {own.confidence:g}, most {own.most}: expected "
                          f"two numbers from 0 to 1, and a number of rows, 0 for all")  # fmt: skip
    if not own.run:
        if own.share or own.pseudo != "none":
            raise ConfigError("teacher.share and teacher.pseudo need a teacher: teacher.run=FOLDER of a finished run")
        return
    if not own.share and own.pseudo == "none":
        raise ConfigError("teacher.run teaches nothing: set teacher.share=0.5, or teacher.pseudo=hard or soft")
    if Path(own.run).resolve() == Path(contest.config.output_dir).resolve():
        raise ConfigError(f"teacher.run={own.run} is this run itself: give the new run a name of its own (run=NAME)")
    existing(Path(own.run) / "config.yaml", "the folder of a finished run", "check teacher.run")
    if own.share or own.pseudo == "soft":
        for name in contest.config.use:
            getattr(contest.build_member(name, contest.config.seeds[0]), "check_teacher", lambda: None)()


class Teacher:
    """The models of a finished run, fold by fold.

    contest: the one that is taught. rows: its rows, which have to be the teacher's, in the same folds.
    Raises ConfigError when they are not, or when a unit is not finished.
    """

    def __init__(self, contest: Contest, rows: Rows) -> None:
        folder = Path(contest.config.teacher.run)
        values = resolved(read_config([folder / "config.yaml"], []))
        if (named := values.pop("contest", contest.name)) != contest.name:
            raise ConfigError(f"teacher.run={folder} belongs to another contest, {named}, not to {contest.name}")
        self.contest = type(contest)(typed(contest.config_class, values | {"output_dir": str(folder)}))
        self.run = Run(self.contest)
        for unit in self.run.units():
            facts = self.run.finished(unit)
            if facts is None:
                raise ConfigError(f"teacher.run={folder}: {unit.name} is not finished: run its train stage first")
            if facts["settings"]["data"] != rows.digest:
                raise ConfigError(f"teacher.run={folder} was trained on other rows or folds: a fold's teacher has to "
                                  f"have the same held-out rows (folds, fold_seed, max_rows, data_dir)")  # fmt: skip

    def scores(self, fold: int, table: pd.DataFrame) -> Scores:
        """The mean over members of what the fold's models say of rows, none of which they need to know."""
        parts = []
        for name in self.contest.config.use:
            own = [unit for unit in self.run.units() if (unit.member, unit.fold) == (name, fold)]
            outputs = [scored(self.contest, unit, self.run.unit_folder(unit), table) for unit in own]
            parts.append(self.contest.average_units(name, *map(list, zip(*outputs, strict=True))))
        return average(parts)


def taught(contest: Contest, run: Run, rows: Rows, fold: int, fit_on: pd.DataFrame) -> pd.DataFrame:
    """The rows that a fold is fitted on with what its teacher adds; they are `fit_on` without a teacher.

    Rows that the teacher labelled come last, their ids marked. teacher: what it says of each row, (units, outputs);
    teacher_share: how much of a row's label that is. Both columns are there only where one is above 0.
    """
    own = contest.config.teacher
    if not own.run:
        return fit_on
    parts = [(fit_on, _scores(contest, run, rows, fold, fit_on) if own.share else None, own.share)]
    if own.pseudo != "none":
        table = rows.test
        if own.rows:
            table = unique_ids(contest.read_test(Path(own.rows)), own.rows)
        labelled, scores = pseudo_labelled(contest, table, _scores(contest, run, rows, fold, table))
        log.info(f"  fold {fold}: {len(labelled)} of {len(table)} rows labelled by the teacher")
        parts.append((labelled, scores, 1.0 if own.pseudo == "soft" else 0.0))
    whole = pd.concat([part for part, *_ in parts], ignore_index=True)[list(fit_on.columns)]
    if len(parts) > 1:
        whole = whole.astype({contest.label_column: fit_on[contest.label_column].dtype})
    if not any(share for *_, share in parts):
        return whole
    shares = np.concatenate([np.full(len(part), share) for part, _, share in parts])
    said: list[Any] = [None if scores is None else scores.row(place)
                       for part, scores, _ in parts for place in range(len(part))]  # fmt: skip
    return whole.assign(teacher=pd.Series(said, dtype=object), teacher_share=shares)


def pseudo_labelled(contest: Contest, table: pd.DataFrame, scores: Scores) -> tuple[pd.DataFrame, Scores]:
    """The rows of which the teacher is certain enough, with its labels, and its scores of them; the surest first kept.

    A row is as certain as its least certain unit.
    """
    own, sure = contest.config.teacher, scores.confidence()
    places = np.flatnonzero(sure >= own.confidence)
    if own.most and len(places) > own.most:
        places = np.sort(places[np.argsort(-sure[places], kind="stable")[: own.most]])
    kept, chosen = scores.take(places), table.iloc[places].reset_index(drop=True)
    labelled = contest.labelled(chosen, contest.decode(chosen, kept, {}))
    return labelled.assign(id="teacher:" + labelled["id"]), kept


def _scores(contest: Contest, run: Run, rows: Rows, fold: int, table: pd.DataFrame) -> Scores:
    """What the fold's teacher says of rows, kept for the fold's other units."""
    path = run.folder / "teacher" / f"fold-{fold}-{table_digest(table)}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        Teacher(contest, rows).scores(fold, table).save(path)
    return Scores.load(path)
