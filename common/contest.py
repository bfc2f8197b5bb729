"""What a contest has to answer. The stages (common/stages) run anything that answers it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest, typed
from common.ensembling.blending import Blend
from common.ensembling.scores import Scores, average


@dataclass
class EnsembleConfig:
    """How members are combined.

    method: a blend's name, or "best": the highest cross-fitted out-of-fold score, where what is fitted has to beat what
    is not by more than chance (see ensembling/choice.py).
    members: the members to blend; empty means all that were trained.
    blends: the blends that are tried; empty means those of the contest that are fast enough to try every time.
    exhaustive: up to this many members the best subset is sought among all subsets, beyond it greedily.
    resamples: of the rows, for the interval of each gain; 0: none, and the highest score is the best.
    """

    method: str = "best"
    members: list[str] = field(default_factory=list)
    blends: list[str] = field(default_factory=list)
    exhaustive: int = 12
    resamples: int = 2000


@dataclass
class TrialsConfig:
    """Many seeds started, the bad stopped early (see stages/trials.py).

    keep: how many seeds of each member are trained to the end, those with the best held-out score so far; 0: all.
    after: the share of the steps at whose next evaluation they are compared. Held-out scores of seeds that were chosen
    by them are a little optimistic, the less the more folds there are.
    """

    keep: int = 0
    after: float = 0.3


@dataclass
class TeacherConfig:
    """A finished run of the same contest, rows and folds that this one learns from (see stages/teaching.py).

    run: its folder; empty: none. share: of a training row's label, what is the teacher's distribution instead
    (distillation); 0: none, 1: all. pseudo: none, or hard or soft: rows without labels join the training, with the
    teacher's prediction as their label, or its distribution. A CRF keeps the likelihood of its labels, of a soft
    pseudo-label the likeliest ones, and learns the teacher's marginals beside it. Members that learn from no
    distribution (lexical ones, sparse CRF) take hard labels, and no share.
    rows: a file in the test format with such rows; empty: the test rows. confidence: the least probability of a row's
    label, of its least certain word. most: how many such rows, the surest; 0: all.
    """

    run: str = ""
    share: float = 0.0
    pseudo: str = "none"
    rows: str = ""
    confidence: float = 0.9
    most: int = 0


@dataclass
class SearchConfig:
    """The search stage (see stages/search.py).

    member: whose settings; empty: the first of `use`. space: usual (batch 16 and 32, rates 2e-5, 3e-5 and 5e-5, 2 to 4
    epochs: 18 trials) or free (`trials` of them, rates, epochs and more on a scale). ranges: a space in its place, by
    setting of the member: a list of choices, or low, high and log; lists alone are a grid, tried point by point where
    it has no more than `trials`. folds: that every trial is fitted and scored on. trials: of a space that is no such
    grid. prune: trials below the median of the others' at an epoch end there. seed: of what is tried.
    """

    member: str = ""
    space: str = "usual"
    ranges: dict[str, Any] = field(default_factory=dict)
    folds: list[int] = field(default_factory=lambda: [0])
    trials: int = 30
    prune: bool = True
    seed: int = 1


@dataclass
class RunConfig:
    """Settings that every contest has; a contest's own class adds to them.

    run: the run's name; output_dir: its folder, by default outputs/<contest>/<run>. data_dir: the official files.
    encoder: hub id or local folder; members refer to it as ${encoder}.
    folds, fold_seed: how the training rows are cut. seeds: each fold is trained once per seed.
    trials: how many of the seeds are trained to the end.
    teacher: a finished run that this one learns from.
    soup: rows without labels are scored by one model a seed, the mean of its folds' weights (see stages/soups.py).
    use: the members to train; encoder_use: those that join them when `encoder` is set. members: the settings of each,
    by name, with `kind` saying what it is.
    pretrain: what differs from config/pretrain.yaml in the pretrain stage. search: the search stage.
    only: MEMBER, MEMBER/fold-2 or MEMBER/fold-2/seed-1 trains just that part of the run.
    workers: units trained side by side; 0 picks one a core on a CPU and one on a GPU.
    smoke: a few dozen lines through every stage. max_rows: cut the training and test rows (0 keeps all).
    cache: folder for vocabularies and features, found again by their content; empty: .cache beside the run's folder.
    cache_gigabytes: what has not been used for longest is deleted beyond it; 0: nothing is kept.
    input, output: the predict stage's files. prediction, gold: the score stage's. submission: the check stage's.
    other: the run that the compare stage sets against this one.
    """

    run: str = "default"
    output_dir: str = ""
    data_dir: str = ""
    encoder: str = ""
    folds: int = 5
    fold_seed: int = 1
    seeds: list[int] = field(default_factory=lambda: [1])
    trials: TrialsConfig = field(default_factory=TrialsConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    soup: bool = False
    use: list[str] = field(default_factory=list)
    encoder_use: list[str] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    pretrain: dict[str, Any] = field(default_factory=dict)
    search: SearchConfig = field(default_factory=SearchConfig)
    only: str = ""
    workers: int = 0
    smoke: bool = False
    max_rows: int = 0
    cache: str = ""
    cache_gigabytes: float = 10.0
    input: str = ""
    output: str = ""
    prediction: str = ""
    gold: str = ""
    submission: str = ""
    other: str = ""


class Member(Protocol):
    """One model of a contest: fitted on some rows, asked for the probabilities of others, kept in a folder."""

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        """Learns from `train`, saves itself into `folder`, returns facts; `held_out` only picks the best epoch."""

    def scores(self, rows: pd.DataFrame) -> np.ndarray | list[np.ndarray]:
        """Probabilities: (rows,) of label 1, or one (units, outputs) array a row."""

    def restore(self, folder: Path) -> "Member":
        """Loads what `fit` saved; returns itself."""


class Contest(ABC):
    """One contest: how its files are read, what is predicted, how that is scored and submitted.

    config: the settings of this run. Tables are pandas; every row has a unique string `id`.
    """

    name: ClassVar[str]
    submission_file: ClassVar[str]
    config_class: ClassVar[type[RunConfig]] = RunConfig
    member_kinds: ClassVar[dict[str, type]]
    columns: ClassVar[tuple[str, ...]] = ("id",)  # what the tables of read_train and read_test must have
    label_column: ClassVar[str] = "label"  # where a row's label stands; empty: it is no prediction
    pretraining_tokenizer: ClassVar[str] = "character"  # or anonymised: what the pretrain stage makes by itself

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        if config.encoder:
            config.use = list(dict.fromkeys([*config.use, *config.encoder_use]))
        for name in config.use:
            if name not in config.members:
                raise ConfigError(f"use names a member {name!r} that has no settings{nearest(name, config.members)}")
        for name, values in config.members.items():
            if "kind" not in (values or {}):
                others = [other for other, own in config.members.items() if "kind" in (own or {})]
                raise ConfigError(f"members.{name} has no kind, so there is no such member{nearest(name, others)}")
        self.settings = {name: self._settings(name) for name in config.use}

    def _settings(self, name: str) -> Any:
        values = dict(self.config.members[name] or {})
        kind = values.pop("kind", None)
        if kind not in self.member_kinds:
            raise ConfigError(f"members.{name}.kind is {kind!r}{nearest(str(kind), self.member_kinds)}")
        return typed(self.member_kinds[kind], values, f"members.{name}")

    # Files -> tables

    @abstractmethod
    def read_train(self) -> pd.DataFrame:
        """Every labelled row. Raises DataError for the first thing wrong in the files."""

    @abstractmethod
    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        """The official test rows in their order, or those of another file of the same format."""

    def unlabelled(self) -> Iterable[Any]:
        """Further text of the contest for vocabularies and pretraining; never the labelled rows."""
        return ()

    def pretraining_texts(self) -> Iterable[str]:
        """All text of the contest, labelled rows' too but without their labels, for the pretrain stage."""
        raise ConfigError(f"{self.name} does not say what to pretrain on: define pretraining_texts in its contest.py")

    @abstractmethod
    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """(rows,) fold numbers; rows that share a text have the same one."""

    def augment(self, train: pd.DataFrame) -> pd.DataFrame:
        """The rows to fit on, made from a fold's training rows; by default the same."""
        return train

    def labelled(self, rows: pd.DataFrame, predictions: Sequence[Any]) -> pd.DataFrame:
        """Unlabelled rows with predictions as their labels. Raises ConfigError where that is not possible."""
        if not self.label_column:
            raise ConfigError(f"{self.name} does not take predictions as labels: leave teacher.pseudo at none")
        return rows.assign(**{self.label_column: pd.Series(list(predictions), index=rows.index, dtype=object)})

    # Tables -> model -> scores

    @abstractmethod
    def build_member(self, name: str, seed: int) -> Member:
        """A new, unfitted member by the settings of that name."""

    @abstractmethod
    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        """(units,) gold classes, in the order of the units in Scores."""

    def average_units(
        self, name: str, scores: list[Scores], emissions: list[Scores | None], folders: list[Path]
    ) -> Scores:
        """One member's scores from its units' scores of the same rows: by default the mean of probabilities.

        name: the member. emissions: CRF emissions, where a unit has them. folders: the units' folders.
        """
        return average(scores)

    def objective(self, rows: pd.DataFrame, scores: Scores) -> float:
        """What blend weights maximise on out-of-fold rows: the metric under the best decision for these scores."""
        predictions = self.decode(rows, scores, self.fit_decision(rows, scores))
        return self.score(rows, self.gold(rows), predictions)["score"]

    def blends(self) -> dict[str, Blend]:
        """The ways to combine members that make sense here, by name."""
        from common.ensembling.blending import BLENDS
        from common.ensembling.boosting import BoostedStacking
        from common.ensembling.calibration import CALIBRATIONS
        from common.ensembling.power_mean import PowerMean
        from common.ensembling.subset import BestSubset

        return {
            **{name: kind() for name, kind in BLENDS.items()},
            "power_mean": PowerMean(),
            "best_subset": BestSubset(exhaustive=self.config.ensemble.exhaustive),
            **{f"{name}_mean": kind() for name, kind in CALIBRATIONS.items()},
            "boosted_stacking": BoostedStacking(),
        }

    # Those of `blends` that are too slow here to try without being asked for (ensemble.blends, ensemble.method).
    slow_blends: tuple[str, ...] = ()

    def stacking_features(self, rows: pd.DataFrame) -> np.ndarray:
        """(units, features) what boosted stacking sees beside scores: of each row's own text alone, nothing fitted."""
        return np.zeros((len(rows), 0))

    def judge(self, rows: pd.DataFrame, scores: Scores) -> dict[str, float]:
        """The metric of one fold's scores by themselves: what epochs are compared by, and what a unit reports."""
        return self.score(rows, self.gold(rows), self.decode(rows, scores, {}))

    # Scores -> predictions -> submission

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """What `decode` needs beyond probabilities (thresholds), chosen on out-of-fold scores; JSON values."""
        return {}

    @abstractmethod
    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[Any]:
        """A prediction for every row."""

    @abstractmethod
    def gold(self, rows: pd.DataFrame) -> list[Any]:
        """The right predictions of labelled rows."""

    @abstractmethod
    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """The contest's metric as "score", and its parts. rows give what the metric groups by."""

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray | None:
        """(rows, groups, 3) what each row adds to right, predicted and gold of each group, where "score" is the mean of
        the groups' F1 (accuracy is F1 with one predicted and one gold a row). None: the metric is another, and gains
        have no interval."""
        return None

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows,) which rows are tied together, such as by a shared text; by default none are."""
        return np.arange(len(rows))

    @abstractmethod
    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[Any]) -> None:
        """Writes the official format, atomically, in the order of `rows`."""

    def write_more(self, folder: Path, rows: pd.DataFrame, scores: Scores) -> None:  # noqa: B027
        """Writes into the run's folder what there is to say about test rows beyond the submission; by default nothing.

        scores: the blend's. A contest that is asked for second-best answers has them here."""

    @abstractmethod
    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[Any]]:
        """Rows (with at least id) and predictions of a file in the submission's format or of a gold file."""

    @abstractmethod
    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        """Raises DataError for the first thing in a submission that the organisers would reject."""

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        """What to know before a long run: label balance, lengths, duplicates across splits; by name."""
        return {}
