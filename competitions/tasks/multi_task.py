"""Contests of several tasks that one encoder learns together: each task is a small contest of its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError, nearest, typed
from common.contest import Contest, Member, RunConfig
from common.ensembling.blending import Blend, HillClimbing, Mean
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.subset import BestSubset
from common.files import DataError, atomic_path, existing
from competitions.tasks.multi_task_parts import PARTS, Part


@dataclass
class MultiTaskConfig(RunConfig):
    """tasks: by each task's name its `kind` (classification, multilabel, pairs, tagging) and what such a contest is
    told: files, metric, classes or types. data_dir is that of all, unless a task has its own."""

    tasks: dict[str, Any] = field(default_factory=dict)


def _kinds() -> dict[str, type]:
    from competitions.tasks.multi_task_members import MultiTaskSettings

    return {"multi_task": MultiTaskSettings}


class MultiTaskContest(Contest):
    """Rows of all tasks in one table, one task after another: `task` is a row's task, and what its own contest reads
    stands beside it. A submission is a folder with a file a task; so are the inputs of predict and score.

    part_kinds: what a task may be. Scores are as wide as the widest task's; the rest of a row is zero.
    The score is the mean of the tasks' own metrics.
    """

    config_class: ClassVar[type[RunConfig]] = MultiTaskConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "task")
    submission_file: ClassVar[str] = "submission"
    part_kinds: ClassVar[dict[str, type[Contest]]] = PARTS

    def __init__(self, config: MultiTaskConfig) -> None:
        self.member_kinds = _kinds()
        if not config.tasks:
            raise ConfigError("tasks is empty: expected each task's kind and files by its name")
        self.parts: dict[str, Part] = {name: self._part(name, values, config) for name, values in config.tasks.items()}
        super().__init__(config)
        for name, own in self.settings.items():
            if unknown := set(own.tasks) - set(self.parts):
                task = min(unknown)
                raise ConfigError(f"members.{name}.tasks names a task {task!r}{nearest(task, self.parts)}")

    def _part(self, name: str, values: dict[str, Any], config: MultiTaskConfig) -> Part:
        values = dict(values or {})
        kind = values.pop("kind", None)
        if kind not in self.part_kinds:
            raise ConfigError(f"tasks.{name}.kind is {kind!r}{nearest(str(kind), self.part_kinds)}")
        if not name.isidentifier():
            raise ConfigError(f"the task {name!r} must be named like a variable, such as topic or entities_2")
        cls = self.part_kinds[kind]
        own = typed(cls.config_class, {"data_dir": config.data_dir} | values, f"tasks.{name}")
        own.max_rows = config.max_rows
        return cls(own)

    # Rows of one task, and of all

    def rows_of(self, rows: pd.DataFrame, name: str) -> tuple[np.ndarray, pd.DataFrame]:
        """The places of a task's rows, and these as the task's own contest reads them."""
        places = np.flatnonzero((rows["task"] == name).to_numpy())
        own = rows.iloc[places].reset_index(drop=True)
        own = own.loc[:, [column for column in own if column != "task" and not own[column].isna().all()]]
        return places, own.infer_objects().assign(id=[text.partition("/")[2] for text in own.get("id", ())])

    def _present(self, rows: pd.DataFrame) -> Iterator[tuple[str, Part, np.ndarray, pd.DataFrame]]:
        for name, part in self.parts.items():
            places, own = self.rows_of(rows, name)
            if len(own):
                yield name, part, places, own

    def _together(self, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
        # As objects, since whole numbers of one task would become floats beside another's rows that have none.
        parts = [table.assign(id=f"{name}/" + table["id"].astype(str), task=name).astype(object)
                 for name, table in tables.items() if len(table)]  # fmt: skip
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(self.columns))

    def read_train(self) -> pd.DataFrame:
        return self._together({name: part.read_train() for name, part in self.parts.items()})

    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        """The tasks' own test files, or those of the same names in another folder."""
        return self._together({name: part.read_test(None if path is None else self._file(path, part))
                               for name, part in self.parts.items()})  # fmt: skip

    @staticmethod
    def _file(folder: Path, part: Part) -> Path:
        return existing(folder / (part.config.files.test or "test file"), "a task's test file, by the name that "
                        "files.test has", "put it into that folder")  # fmt: skip

    def unlabelled(self) -> Iterable[Any]:
        return [text for part in self.parts.values() for text in part.unlabelled()]

    def pretraining_texts(self) -> Iterator[str]:
        """Every text of every task."""
        for part in self.parts.values():
            yield from part.pretraining_texts()

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Rows that share a text share a fold, of whatever tasks they are; each fold has its share of every task."""
        labels = train.get("label", pd.Series([""] * len(train)))
        strata = [(task, label if isinstance(label, str) else "") for task, label in zip(train["task"], labels,
                  strict=True)]  # fmt: skip
        return grouped_stratified_folds(self.groups(train), strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        texts: list[list[str]] = [[] for _ in range(len(rows))]
        for _, part, places, own in self._present(rows):
            for column in part.text_columns:
                for place, text in zip(places, own[column], strict=True):
                    texts[place].append(text if isinstance(text, str) else "".join(text))
        return text_groups(texts)

    # Members and scores

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.multi_task_members import MultiTaskMember

        settings, members = self.settings[name], {}
        for task, part in self.parts.items():
            values = {key: value for key, value in (settings.tasks.get(task) or {}).items() if key != "weight"}
            kind = values.pop("kind", part.default_member)
            if kind not in part.encoder_members:
                raise ConfigError(f"members.{name}.tasks.{task}.kind is {kind!r}{nearest(kind, part.encoder_members)}")
            part.settings = {name: typed(part.member_kinds[kind], values, f"members.{name}.tasks.{task}")}
            members[task] = part.build_member(name, seed)
        outputs = {task: part.outputs for task, part in self.parts.items()}
        return MultiTaskMember(settings, members, self.rows_of, outputs, seed, self.judge)

    def blends(self) -> dict[str, Blend]:
        """Those that need no gold class of every unit, since a class means something else in each task."""
        subset = BestSubset(exhaustive=self.config.ensemble.exhaustive)
        return {blend.name: blend for blend in (Mean(), HillClimbing(), subset)}

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return np.concatenate([part.targets(own) for _, part, _, own in self._present(rows)])

    def _scores_of(self, scores: Scores, places: np.ndarray, part: Part, own: pd.DataFrame) -> Scores:
        taken = scores.take(places)
        return Scores(tuple(own["id"]), taken.offsets, taken.values[:, : part.outputs])

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """Of each task what its own contest decides by."""
        return {name: part.fit_decision(own, self._scores_of(scores, places, part, own))
                for name, part, places, own in self._present(rows)}  # fmt: skip

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[Any]:
        found: list[Any] = [None] * len(rows)
        for name, part, places, own in self._present(rows):
            predictions = part.decode(own, self._scores_of(scores, places, part, own), decision.get(name, {}))
            for place, prediction in zip(places, predictions, strict=True):
                found[place] = prediction
        return found

    def gold(self, rows: pd.DataFrame) -> list[Any]:
        found: list[Any] = [None] * len(rows)
        for _, part, places, own in self._present(rows):
            for place, answer in zip(places, part.gold(own), strict=True):
                found[place] = answer
        return found

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """The mean of the tasks' scores, and each task's score with its parts under its name."""
        scores, parts = [], {}
        for name, part, places, own in self._present(rows):
            found = part.score(own, [gold[place] for place in places], [predictions[place] for place in places])
            scores.append(found.pop("score"))
            parts |= {name: scores[-1]} | {f"{name} {key}": value for key, value in found.items()}
        return {"score": float(np.mean(scores)) if scores else 0.0, **parts}

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, part, _, own in self._present(train):
            other = self.rows_of(test, name)[1]
            other = other if len(other) else pd.DataFrame(columns=list(part.columns))
            facts |= {f"{name}: rows": f"{len(own)}, test {len(other)}"}
            facts |= {f"{name}: {key}": value for key, value in part.facts(own, other).items()}
        return facts

    # A folder with a file a task

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[Any]) -> None:
        with atomic_path(path) as draft:
            draft.mkdir()
            for name, part, places, own in self._present(rows):
                part.write_submission(draft / part.file_of(name), own, [predictions[place] for place in places])

    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[Any]]:
        """A folder of gold files, named as the test files are; with `like`, which is that folder, a submission."""
        tables, predictions = {}, []
        for name, part in self.parts.items():
            file = self._file(path, part) if like is None else path / part.file_of(name)
            tables[name], own = part.read_predictions(existing(file, "a file of each task", "check the folder"), like)
            predictions += own
        return self._together(tables), predictions

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        if not path.is_dir():
            raise DataError("is no folder", path, expected="a folder with a file a task", action="check submission=")
        for name, part, _, own in self._present(test):
            file = existing(path / part.file_of(name), f"the predictions of {name}", "run the ensemble stage again")
            part.check_submission(file, own)
