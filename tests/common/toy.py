"""A tiny contest without torch: two numbers a row, a label, and members that each look at one of the numbers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import Contest
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.scores import Scores
from common.ensembling.thresholds import best_threshold
from common.evaluation.metrics import binary_counts, binary_f1
from common.files import DataError, read_json, read_json_lines, write_json, write_lines


@dataclass
class OneFeature:
    """feature: the column that the member looks at. steepness: of its logistic curve."""

    feature: str = "x0"
    steepness: float = 4.0


class OneFeatureMember:
    """A logistic curve through the midpoint between both labels' means, a little off by the seed."""

    def __init__(self, settings: OneFeature, seed: int) -> None:
        self.settings, self.seed, self.middle = settings, seed, 0.0

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame, unlabelled: Iterable[Any], folder: Path
    ) -> dict[str, Any]:
        means = train.groupby("label")[self.settings.feature].mean()
        self.middle = float(means.mean()) + 0.001 * self.seed
        write_json(folder / "member.json", {"middle": self.middle, "fitted_on": train["id"].tolist()})
        return {"held_out": held_out["id"].tolist()}

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        return 1 / (1 + np.exp(self.settings.steepness * (self.middle - rows[self.settings.feature].to_numpy())))

    def restore(self, folder: Path) -> "OneFeatureMember":
        self.middle = read_json(folder / "member.json")["middle"]
        return self


class ToyContest(Contest):
    """data_dir holds train.jsonl and test.jsonl with id, text, x0, x1, label; a submission is "id<TAB>label" lines."""

    name: ClassVar[str] = "toy"
    submission_file: ClassVar[str] = "submission.tsv"
    member_kinds: ClassVar[dict[str, type]] = {"one_feature": OneFeature}

    def _read(self, path: Path, *keys: str) -> pd.DataFrame:
        return pd.DataFrame([row for _, row in read_json_lines(path, ("id", "text", "x0", "x1", *keys))])

    def read_train(self) -> pd.DataFrame:
        return self._read(Path(self.config.data_dir) / "train.jsonl", "label")

    def read_test(self, path: Path | None = None) -> pd.DataFrame:
        return self._read(path or Path(self.config.data_dir) / "test.jsonl")

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        return grouped_stratified_folds(
            self.groups(train), train["label"].tolist(), self.config.folds, self.config.fold_seed
        )

    def build_member(self, name: str, seed: int) -> OneFeatureMember:
        return OneFeatureMember(self.settings[name], seed)

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return rows["label"].to_numpy()

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        return {"threshold": best_threshold(scores.values[:, 0], self.targets(rows))[0]}

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[int]:
        return (scores.values[:, 0] >= decision.get("threshold", 0.5)).astype(int).tolist()

    def gold(self, rows: pd.DataFrame) -> list[int]:
        return rows["label"].tolist()

    def score(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        return {"score": binary_f1(gold, predictions), "accuracy": float(np.mean(np.equal(gold, predictions)))}

    def counts(self, rows: pd.DataFrame, gold: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
        return binary_counts(["all"] * len(rows), gold, predictions)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups([(text,) for text in rows["text"]])

    def stacking_features(self, rows: pd.DataFrame) -> np.ndarray:
        return rows[["x0", "x1"]].to_numpy()

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[int]) -> None:
        write_lines(path, (f"{name}\t{label}" for name, label in zip(rows["id"], predictions, strict=True)))

    def read_predictions(self, path: Path, like: Path | None = None) -> tuple[pd.DataFrame, list[int]]:
        pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return pd.DataFrame({"id": [name for name, _ in pairs]}), [int(label) for _, label in pairs]

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        rows, _ = self.read_predictions(path)
        if rows["id"].tolist() != test["id"].tolist():
            raise DataError("ids differ from the test file", path)


def toy_rows(rows: int, seed: int) -> pd.DataFrame:
    """Two noisy views of a label; a text in four is an earlier one in other capitals."""
    random = np.random.default_rng(seed)
    label = random.random(rows) < 0.4
    texts = [f"text {place if place % 4 else place // 2}" for place in range(rows)]
    return pd.DataFrame(
        {
            "id": [f"{seed}-{place}" for place in range(rows)],
            "text": [text.upper() if place % 3 else text for place, text in enumerate(texts)],
            "x0": label + random.normal(0, 0.6, rows),
            "x1": label + random.normal(0, 0.6, rows),
            "label": label.astype(int),
        }
    )


def write_toy(path: Path, table: pd.DataFrame) -> None:
    write_lines(path, (json.dumps(row) for row in table.to_dict("records")))
