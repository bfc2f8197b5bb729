"""search: the settings of one member, tried on a few folds by Optuna; bad trials are cut short, and it can go on.

The best trial's score is optimistic: it was the best of many on the rows that it is scored on. What was found is worth
a run of its own, on all folds.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from common.config import ConfigError, nearest
from common.contest import Contest
from common.ensembling.scores import Scores
from common.files import write_json
from common.logs import log, spoken
from common.run import table_digest
from common.stages.rows import Rows, read_rows, unlabelled

if TYPE_CHECKING:
    import optuna

# What everyone tries on a pretrained encoder. Source: Devlin et al. 2019, appendix A.3.
USUAL = {
    "training.batch_size": [16, 32],
    "training.learning_rate": [2e-5, 3e-5, 5e-5],
    "training.epochs": [2, 3, 4],
}
FREE = {
    "training.batch_size": [8, 16, 32, 64],
    "training.learning_rate": {"low": 1e-5, "high": 5e-4, "log": True},
    "training.head_learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.epochs": {"low": 2, "high": 6},
    "training.warmup": {"low": 0.0, "high": 0.2},
    "training.layer_decay": {"low": 0.7, "high": 1.0},
}
LEAST_TRIALS = 4  # for a picture of importances


def search(contest: Contest) -> dict[str, Any]:
    """Tries settings until as many trials as asked for are finished; returns the best. One process at a time.

    Raises ConfigError for a space that means nothing, and for a search that was begun under other settings.
    """
    import optuna

    own, name, space = contest.config.search, _member(contest), _space(contest)
    rows, folder = read_rows(contest), Path(contest.config.output_dir) / "search"
    if not set(own.folds) <= set(range(contest.config.folds)) or not own.folds:
        raise ConfigError(f"search.folds is {list(own.folds)}: expected some of 0 to {contest.config.folds - 1}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(folder, name, {"space": space, "member": contest.config.members[name], "folds": list(own.folds),
                                  "data": table_digest(rows.train), "seed": contest.config.seeds[0]})  # fmt: skip
    total, points = own.trials, _points(space)
    if points and (len(points) <= total or not own.ranges):
        total = len(points)
        for point in points:
            study.enqueue_trial(point, skip_if_exists=True)
    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    began, before = time(), len(study.get_trials(states=finished))
    log.info(f"{total} trials of {name}, {before} of them finished: {', '.join(space)}")
    while (done := len(study.get_trials(states=finished))) < total:
        # A sampler of its own for each trial: a search that goes on suggests what one without a break would have.
        study.sampler = optuna.samplers.TPESampler(seed=1000 * own.seed + done, n_startup_trials=min(10, total // 3))
        trial = study.ask()
        chosen = {key: _suggested(trial, key, values) for key, values in space.items()}
        try:
            study.tell(trial, score := _score(contest, name, chosen, rows, trial if own.prune else None))
            said = f"{score:.4f}"
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            said = "cut short"
        left = (time() - began) / (done + 1 - before) * (total - done - 1)
        log.info(f"  trial {done + 1} of {total}  {said}  {_words('', chosen)}; {spoken(left)} left")
    return _report(study, folder, name)


def _member(contest: Contest) -> str:
    name = contest.config.search.member or contest.config.use[0]
    if name not in contest.config.use:
        raise ConfigError(f"search.member is {name!r}{nearest(name, contest.config.use)}")
    return name


def _space(contest: Contest) -> dict[str, Any]:
    """By setting of the member: choices, or bounds low and high, with log for a logarithmic scale."""
    own = contest.config.search
    if own.space not in ("usual", "free"):
        raise ConfigError(f"search.space is {own.space!r}{nearest(own.space, ('usual', 'free'))}")
    space = dict(own.ranges) or (USUAL if own.space == "usual" else FREE)
    for key, values in space.items():
        good = (isinstance(values, list) and values) or (isinstance(values, dict) and {"low", "high"} <= set(values))
        if not good:
            raise ConfigError(f"search.ranges: {key} is {values!r}: expected a list of choices, or low, high and log")
        # One middle value is enough to see that the member has such a setting.
        _with(contest, _member(contest), {key: values[0] if isinstance(values, list) else values["low"]})
    return deepcopy(space)


def _with(contest: Contest, name: str, chosen: dict[str, Any]) -> Contest:
    """The contest with that member alone, its settings changed."""
    values = deepcopy(contest.config.members[name])
    for key, value in chosen.items():
        *path, last = key.split(".")
        place = values
        for part in path:
            place[part] = dict(place.get(part) or {})
            place = place[part]
        place[last] = value
    own = replace(contest.config, members={name: values}, use=[name], encoder_use=[])
    return type(contest)(own)


def _study(folder: Path, name: str, settings: dict[str, Any]) -> "optuna.Study":
    """The study of that name in the folder, made when it is not there; what was running is to be tried again."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / f"{name}.journal")))
    # The first epochs of a schedule say little, and so do the first trials.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", pruner=pruner,
                                load_if_exists=True)  # fmt: skip
    if study.user_attrs.get("settings", settings) != settings:
        raise ConfigError(f"{folder} holds a search of {name} under other settings: give this one a run of its own "
                          f"(run=NAME), or delete {folder / f'{name}.journal'}")  # fmt: skip
    study.set_user_attr("settings", settings)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _points(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Every point of a space of choices alone, which is a grid; none of another."""
    if not all(isinstance(values, list) for values in space.values()):
        return []
    return [dict(zip(space, values, strict=True)) for values in product(*space.values())]


def _suggested(trial: "optuna.Trial", key: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(key, values)
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(key, values["low"], values["high"], log=bool(values.get("log", False)))


def _score(contest: Contest, name: str, chosen: dict[str, Any], rows: Rows, trial: Any) -> float:
    """The mean held-out score over the folds. Raises optuna.TrialPruned for a trial that falls behind."""
    tried, scores = _with(contest, name, chosen), []
    for place, fold in enumerate(contest.config.search.folds):
        held_out = rows.train[rows.folds == fold].reset_index(drop=True)
        fit_on = tried.augment(rows.train[rows.folds != fold].reset_index(drop=True))
        member = tried.build_member(name, contest.config.seeds[0])
        if trial is not None and hasattr(member, "judge"):
            member.judge = _watched(member.judge, trial, 100 * place)
        with TemporaryDirectory() as scratch:
            member.fit(fit_on, held_out, unlabelled(contest), Path(scratch))
            found = Scores.of(held_out["id"].tolist(), member.scores(held_out))
        scores.append(tried.judge(held_out, found)["score"])
    return sum(scores) / len(scores)


def _watched(judge: Callable[..., dict[str, float]], trial: Any, first: int) -> Callable[..., dict[str, float]]:
    """The judge of epochs, which also tells the trial and ends it where its score is below the others' median."""
    import optuna

    epoch = 0

    def told(rows: pd.DataFrame, scores: Scores) -> dict[str, float]:
        nonlocal epoch
        result, epoch = judge(rows, scores), epoch + 1
        trial.report(result["score"], first + epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
        return result

    return told


def _words(prefix: str, chosen: dict[str, Any]) -> str:
    return " ".join(f"{prefix}{key}={value:.3g}" if isinstance(value, float) else f"{prefix}{key}={value}"
                    for key, value in chosen.items())  # fmt: skip


def _report(study: "optuna.Study", folder: Path, name: str) -> dict[str, Any]:
    """Writes what was tried and what mattered, and says the best."""
    import optuna

    trials = study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))
    # Optuna gives a trial that was cut short the score at which it was.
    best, complete = study.best_trial, [trial for trial in trials if trial.state.name == "COMPLETE"]
    importances: dict[str, float] = {}
    if len({str(trial.params) for trial in complete}) >= LEAST_TRIALS and len({trial.value for trial in complete}) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
        importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
        draw_importances(importances, folder / f"{name}.png", f"{len(complete)} finished trials of {name}")
    tried = [{"number": trial.number, "state": trial.state.name, "settings": trial.params,
              "score": trial.value if trial in complete else None} for trial in trials]  # fmt: skip
    facts = {"member": name, "score": best.value, "settings": best.params, "importances": importances}
    write_json(folder / f"{name}.json", {**facts, "trials": tried})
    log.info(f"best of {len(trials)} trials ({len(trials) - len(complete)} cut short): {best.value:.4f}, a little too "
             f"good, for it was chosen by this score\n  {_words(f'members.{name}.', best.params)}")  # fmt: skip
    return facts


def draw_importances(importances: dict[str, float], path: Path, title: str) -> None:
    """A picture of how much of the scores' variance each setting explains. Source: Hutter et al. 2014 (fANOVA)."""
    from matplotlib.figure import Figure

    names = sorted(importances, key=importances.__getitem__)
    figure = Figure(figsize=(6, 1.2 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="share of the score's variance (fANOVA)", title=title)
    figure.savefig(path, dpi=120)
