"""What encoders are measured on: seven tasks, three of them in two ways, and what others published."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets
from benchmarks.datasets import Data
from common.ensembling.thresholds import best_threshold
from common.evaluation.metrics import binary_f1, entity_f1


@dataclass(frozen=True)
class Recipe:
    """How an encoder is fine-tuned: the same for every start, fixed before the first run.

    epochs, batch_size, learning_rate (of the encoder), head_learning_rate: see TrainingConfig. pooling, shared_ngrams
    (of pairs that may match): see MatcherSettings.
    max_length: tokens; longer texts and pairs are cut, tagged lines become windows.
    """

    epochs: float
    max_length: int
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    batch_size: int = 32
    pooling: str = "mean"
    shared_ngrams: int = 0


@dataclass(frozen=True)
class Task:
    """A data set with its metric.

    kind: "texts" (classes of one text), "matching" (do two texts match), "inference" (classes of a pair) or "tagging".
    metric: "accuracy", "f1" (of label 1, at a threshold fitted on the other folds) or "entity_f1" (strict, micro).
    read: the data from the folder of all sets. published: of MiniRBT-H256 (10 million parameters, distilled), trained
    on the whole official training set and scored on other rows: for scale only.
    """

    title: str
    kind: str
    metric: str
    read: Callable[[Path], Data]
    recipe: Recipe
    published: float | None = None


def _files(folder: Path, *names: str) -> list[Path]:
    return [folder / name for name in names]


TASKS = {
    "chnsenticorp": Task(
        "ChnSentiCorp, train -> dev", "texts", "accuracy",
        lambda root: datasets.read_texts(*_files(root / "classification/chnsenticorp", "train.tsv", "dev.tsv")),
        Recipe(3, 128), 0.930,
    ),
    "resume": Task(
        "Resume NER, train -> dev", "tagging", "entity_f1",
        lambda root: datasets.read_tagged(*_files(root / "ner/resume", "train.char.bmes", "dev.char.bmes")),
        Recipe(6, 128, learning_rate=3e-4, head_learning_rate=5e-3, batch_size=16),
    ),
    "lcqmc": Task(
        "LCQMC dev, 5 folds", "matching", "accuracy",
        lambda root: datasets.read_pairs(root / "matching/lcqmc/dev.tsv"),
        Recipe(3, 64, shared_ngrams=3), 0.868,
    ),
    "bq": Task(
        "BQ dev, 5 folds", "matching", "accuracy",
        lambda root: datasets.read_pairs(root / "matching/bq_corpus/dev.tsv"),
        Recipe(3, 64, shared_ngrams=3), 0.837,
    ),
    "ocnli": Task(
        "OCNLI train.10k, 5 folds", "inference", "accuracy",
        lambda root: datasets.read_inference(root / "nli/ocnli/train.10k.json"), Recipe(2, 64), 0.687,
    ),
    "sohu": Task(
        "Sohu short-short A pairs, 5 folds", "matching", "f1",
        lambda root: datasets.read_topic_pairs(_files(root / "sohu2021/短短匹配A类", "train.txt", "valid.txt")),
        Recipe(6, 192, shared_ngrams=3),
    ),
    "people_daily": Task(
        "People's Daily NER dev, 5 folds", "tagging", "entity_f1",
        lambda root: datasets.read_tagged(root / "ner/people_daily/example.dev"),
        Recipe(4, 128, learning_rate=3e-4, head_learning_rate=5e-3, batch_size=16),
    ),
}  # fmt: skip


def _plain(task: Task) -> Task:
    """The task as others set it: which n-grams both texts have is then not told to any start."""
    return replace(task, title=f"{task.title}, no marks", recipe=replace(task.recipe, shared_ngrams=0))


TASKS |= {f"{name}_plain": _plain(TASKS[name]) for name in ("lcqmc", "bq", "sohu")}


@cache
def load(name: str, folder: str, rows: int = 0) -> Data:
    """The data of a task, read once a process. rows: only so many, for trying things; 0 for all."""
    data = TASKS[name].read(Path(folder))
    return datasets.sampled(data, rows) if rows else data


def gold(rows: Any) -> list[Any]:
    """What the predictions of rows are compared with: class numbers, or spans."""
    if "spans" in rows:
        return [[[int(start), int(end), kind] for start, end, kind in spans] for spans in rows["spans"]]
    return rows["label"].astype(int).tolist()


def score(metric: str, folds: list[tuple[list[Any], list[Any]]]) -> float:
    """The metric over all rows of all folds together.

    folds: (gold, predictions) of each. Predictions are class numbers, spans, or for "f1" probabilities: the threshold
    of a fold is then the best one of the other folds, and 0.5 where there is no other.
    """
    truth = [item for own, _ in folds for item in own]
    if metric == "f1":
        decided: list[int] = []
        for place, (_, chances) in enumerate(folds):
            others = [fold for number, fold in enumerate(folds) if number != place]
            threshold = 0.5
            if others:
                labels, values = (np.concatenate([fold[part] for fold in others]) for part in (0, 1))
                threshold = best_threshold(values, labels)[0]
            decided += (np.asarray(chances) >= threshold).astype(int).tolist()
        return binary_f1(truth, decided)
    found = [item for _, own in folds for item in own]
    if metric == "entity_f1":
        spans = ([[tuple(span) for span in row] for row in side] for side in (truth, found))
        return entity_f1(*spans)["micro"]["f1"]
    return float(np.mean(np.asarray(truth) == np.asarray(found)))
