"""Two tasks with one encoder: each is read, scored and submitted as its own contest would."""

from pathlib import Path

import numpy as np
import pytest

from common.config import ConfigError, typed
from common.ensembling.scores import Scores
from common.files import DataError, read_json
from common.members.neural import NeuralMember
from common.stages.ensemble import ensemble
from common.stages.outputs import check, predict, score
from common.stages.prepare import prepare
from common.stages.rows import read_rows
from common.stages.train import train
from common.training.arguments import training_arguments
from common.training.trainer import FoldTrainer
from competitions.scaffold.samples import write_sample
from competitions.tasks.multi_task import MultiTaskConfig, MultiTaskContest
from competitions.tasks.tables import FilesConfig

TOPIC = {"layout": "csv", "header": True, "columns": {"id": "id", "text": "text", "label": "label"},
         "train": ["topic.csv"], "test": "topic_test.csv"}  # fmt: skip
ENTITIES = {"layout": "conll", "columns": {"token": 1, "tag": -1}, "train": ["names.txt"], "test": "names_test.txt"}
CLASSES, TYPES = ["甲", "乙", "丙"], ["LOC", "PER"]
ENCODER = {"model_type": "recurrent", "embedding_size": 32, "hidden_size": 32, "num_layers": 1, "layer_norm": True}
RATES = {"recurrent_learning_rate": 0.01, "head_learning_rate": 0.01, "batch_size": 8, "precision": "fp32"}


class Both(MultiTaskContest):
    name = "both"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_sample(folder, "classification", FilesConfig(**TOPIC), CLASSES)
    write_sample(folder, "tagging", FilesConfig(**ENTITIES), TYPES)
    return folder


def contest(data: Path, output: Path, parts: dict | None = None, **settings) -> Both:
    member = {"kind": "multi_task", "architecture": ENCODER, "min_frequency": 1, "training": {**RATES, "epochs": 12},
              "tasks": {"topic": {"max_length": 64}, "names": {"dropout": 0.1}}}  # fmt: skip
    values = {"data_dir": str(data), "output_dir": str(output), "folds": 2, "workers": 1, "use": ["shared"],
              "tasks": parts or {"topic": {"kind": "classification", "classes": CLASSES, "files": TOPIC},
                                 "names": {"kind": "tagging", "types": TYPES, "files": ENTITIES}},
              "members": {"shared": member | settings}}  # fmt: skip
    return Both(typed(MultiTaskConfig, values))


def test_every_stage_ends_in_a_checked_submission_that_predict_repeats(data: Path, tmp_path: Path) -> None:
    own = contest(data, tmp_path / "run", condition_size=8)
    facts = prepare(own)
    assert facts["topic: rows"] == "60, test 12" and facts["names: rows"] == "60, test 12"
    train(own)
    result = ensemble(own)["results"]["shared"]
    assert result["topic"] > 0.6 and result["names"] > 0.6, "three classes and four tags follow from single words"
    assert result["score"] == pytest.approx((result["topic"] + result["names"]) / 2)
    assert {"topic macro_f1", "names precision"} <= set(result)
    check(own)
    assert read_json(tmp_path / "run/ensemble.json")["decision"]["names"].keys() == {"entity_bias"}

    own.config.input, own.config.output = str(data), str(tmp_path / "again")
    predict(own)
    for name in ("topic.csv", "names.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run/submission" / name).read_bytes()
    (tmp_path / "run/submission/names.txt").unlink()
    with pytest.raises(DataError, match="the predictions of names"):
        check(own)


def test_score_takes_a_folder_of_gold_files(data: Path, tmp_path: Path) -> None:
    own = contest(data, tmp_path / "run")
    gold = tmp_path / "gold"
    gold.mkdir()
    for task in (TOPIC, ENTITIES):
        (gold / task["test"]).write_bytes((data / task["train"][0]).read_bytes())
    rows, answers = own.read_predictions(gold)
    own.write_submission(tmp_path / "run/submission", rows, answers)
    own.config.gold = str(gold)
    assert score(own)["score"] == 1.0
    own.write_submission(tmp_path / "run/submission", rows, ["甲"] * 60 + answers[60:])
    assert score(own)["score"] == pytest.approx((20 / 60 + 1) / 2)


def test_a_restored_member_scores_the_same_and_each_row_by_its_own_task(data: Path, tmp_path: Path) -> None:
    own = contest(data, tmp_path, condition_size=4, training={**RATES, "epochs": 1})
    rows = own.read_train()
    member = own.build_member("shared", 1)
    member.fit(
        rows.iloc[::2].reset_index(drop=True), rows.iloc[1::2].reset_index(drop=True), own.unlabelled(), tmp_path
    )
    scores = member.scores(rows)
    restored = own.build_member("shared", 1).restore(tmp_path)
    assert restored.model.task_embedding.weight.shape == (2, 4)
    # Whatever the order and number of rows: a row's scores are those of its task's head.
    order = np.random.default_rng(0).permutation(len(rows))[:50]
    for place, values in zip(order, restored.scores(rows.iloc[order].reset_index(drop=True)), strict=True):
        np.testing.assert_allclose(values, scores[place], atol=1e-5)
    lengths = [len(tokens) if isinstance(tokens, list) else 1 for tokens in rows["tokens"]]
    assert [len(values) for values in scores] == lengths
    for task, values in zip(rows["task"], scores, strict=True):
        width = {"topic": 3, "names": 5}[task]
        np.testing.assert_allclose(values[:, :width].sum(axis=1), 1, atol=1e-4)
        assert values.shape[1] == 5 and not values[:, width:].any()


def test_batches_are_of_one_task_and_small_tasks_come_more_often_by_temperature(data: Path, tmp_path: Path) -> None:
    drawn = {}
    for temperature in (1.0, 1000.0):
        own = contest(data, tmp_path / str(temperature), training={**RATES, "task_temperature": temperature})
        rows = own.read_train().iloc[:80].reset_index(drop=True)  # 60 of topic, 20 of names
        member = own.build_member("shared", 1)
        member.fit_text(rows, (), tmp_path / str(temperature))
        table, _ = member.features(rows, labelled=True)
        arguments = training_arguments(member.training, tmp_path / "checkpoints", 1)
        trainer = FoldTrainer(member.build_model(), member.training, arguments, table, member.collator(), lambda _: {})
        numbers = [set(batch["task"].tolist()) for batch in trainer.get_train_dataloader()]
        assert all(len(own) == 1 for own in numbers) and len(numbers) == 10
        drawn[temperature] = sum(own == {1} for own in numbers)
    assert drawn[1.0] in (2, 3) and drawn[1000.0] == 5


def test_rows_of_two_tasks_that_share_a_text_share_a_fold(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(
        f"{line.split(',')[1]}\t乙文{n}\t{n % 2}\n" for n, line in
        enumerate((data / "topic.csv").read_text(encoding="utf-8").splitlines()[1:])), encoding="utf-8")  # fmt: skip
    files = {"layout": "tsv", "header": False, "columns": {"text": 1, "text_b": 2, "label": 3}, "train": ["pairs.tsv"]}
    own = contest(data, tmp_path / "run", {
        "topic": {"kind": "classification", "classes": CLASSES, "files": TOPIC},
        "pairs": {"kind": "pairs", "classes": ["0", "1"], "data_dir": str(tmp_path), "files": files},
    }, tasks={})  # fmt: skip
    rows = read_rows(own)
    assert (rows.folds[:60] == rows.folds[60:]).all() and sorted(np.bincount(rows.folds)) == [60, 60]
    member = own.build_member("shared", 1)
    member.fit_text(rows.train, (), tmp_path)
    table, owners = member.features(rows.train, labelled=True)
    assert sorted(owners) == list(range(120)) and table.num_rows == 120


def test_a_task_alone_is_scored_as_by_its_own_contest(data: Path, tmp_path: Path) -> None:
    own = contest(data, tmp_path)
    rows = own.read_train()
    random = np.random.default_rng(3)
    values = [random.dirichlet(np.ones(5), 1 if task == "topic" else len(tokens))
              for task, tokens in zip(rows["task"], rows["tokens"], strict=True)]  # fmt: skip
    scores = Scores.of(rows["id"].tolist(), values)
    found = own.score(rows, own.gold(rows), own.decode(rows, scores, own.fit_decision(rows, scores)))
    for name, width in (("topic", 3), ("names", 5)):
        part, places = own.parts[name], np.flatnonzero(rows["task"] == name)
        alone = part.read_train()
        table = Scores.of(alone["id"].tolist(), [values[place][:, :width] for place in places])
        decision = part.fit_decision(alone, table)
        assert part.score(alone, part.gold(alone), part.decode(alone, table, decision))["score"] == found[name]


@pytest.mark.parametrize(("tasks", "settings", "message"), [
    ({"topic": {"kind": "clasification"}}, {}, "tasks.topic.kind is 'clasification': did you mean 'classification'"),
    ({"a b": {"kind": "tagging", "types": TYPES}}, {}, "must be named like a variable"),
    ({"topic": {"kind": "tagging", "typs": TYPES}}, {}, "unknown config key 'tasks.topic.typs'"),
    (None, {"tasks": {"topik": {}}}, "names a task 'topik': did you mean 'topic'"),
    (None, {"tasks": {"topic": {"training": {}}}}, "tasks.topic.training: all tasks share it"),
    (None, {"tasks": {"topic": {"weight": 0}}}, "weight is 0"),
    (None, {"tasks": {"topic": {"kind": "tagger"}}}, "tasks.topic.kind is 'tagger'"),
    (None, {"tasks": {"topic": {"pooling": "idf"}}}, "pooling=idf"),
    (None, {"tasks": {"topic": {"max_lenght": 9}}}, "did you mean 'max_length'"),
    (None, {"training": {"task_temperature": 0}}, "task_temperature is 0"),
    (None, {"training": {"batch_tokens": 64, "epochs": 1}}, "set batch_size"),
])  # fmt: skip
def test_a_mistake_in_the_settings_is_named(tasks, settings, message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        own = contest(data, tmp_path, tasks, **settings)
        member: NeuralMember = own.build_member("shared", 1)
        member.fit(own.read_train(), own.read_train(), (), tmp_path)
