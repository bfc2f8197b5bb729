"""Keyphrases: tagged as entities, predicted, scored and submitted as phrases."""

import json
import random
from pathlib import Path

import pytest

from common.config import typed
from common.ensembling.scores import Scores
from common.evaluation.bootstrap import f1_from_counts
from common.files import read_json_lines, write_lines
from common.stages.ensemble import ensemble
from common.stages.outputs import check, predict
from common.stages.train import train
from competitions.tasks.keyphrases import KeyphraseConfig, KeyphraseContest

SPARSE = {"kind": "sparse_crf", "iterations": 20, "clusters": 8, "cluster_epochs": 1}


class Example(KeyphraseContest):
    name, submission_file = "example", "submission.json"


def contest(folder: Path, **settings) -> Example:
    files = {"layout": "json", "train": ["train.json"], "test": "test.json", "columns": {"id": "id", "text": "abst"}}
    values = {"data_dir": str(folder), "output_dir": str(folder / "run"), "folds": 2, "workers": 1,
              "use": ["sparse_crf"], "files": files, "members": {"sparse_crf": SPARSE}}  # fmt: skip
    return Example(typed(KeyphraseConfig, values | settings))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw, lines = random.Random(1), []
    for number in range(70):
        one, two = draw.sample(["神经网络", "分词方法", "语义匹配", "实体识别"], 2)
        lines.append({"id": number, "abst": f"本文用{one}研究{two}的问题，{one}第{number}次更好",
                      "keyphrases": [two, one, *(["没有的词"] if number == 3 else [])]})  # fmt: skip
    write_lines(tmp_path / "train.json", (json.dumps(line, ensure_ascii=False) for line in lines[:60]))
    test = ({key: line[key] for key in ("id", "abst")} for line in lines[60:])
    write_lines(tmp_path / "test.json", (json.dumps(line, ensure_ascii=False) for line in test))
    return tmp_path


def test_every_stage_finds_them_and_predict_repeats_the_checked_submission(data: Path) -> None:
    own = contest(data)
    train(own)
    assert 0.8 < ensemble(own)["results"]["sparse_crf"]["score"] < 1, "one phrase is in no text"
    check(own)
    own.config.input, own.config.output = str(data / "test.json"), str(data / "again.json")
    predict(own)
    assert (data / "again.json").read_bytes() == (data / "run/submission.json").read_bytes()
    items = [item for _, item in read_json_lines(data / "again.json")]
    assert len(items) == 10 and all(len(item["keyphrases"]) == 2 for item in items)


def test_phrases_become_spans_and_tags_become_phrases_the_most_frequent_first(data: Path) -> None:
    own = contest(data)
    rows = own.read_train()
    one, two = rows["phrases"][0][1], rows["phrases"][0][0]
    assert [kind for *_, kind in rows["spans"][0]] == ["keyphrase"] * 3, "one of them occurs twice"
    scores = Scores.of(rows["id"].tolist(), [own.scheme.encode(spans, len(tokens))[:, None] == [[0, 1, 2]] for
                       tokens, spans in zip(rows["tokens"], rows["spans"], strict=True)])  # fmt: skip
    found = own.decode(rows, scores, {})
    assert found[0] == [one, two] and contest(data, most=1).decode(rows, scores, {})[0] == [one]
    result = own.score(rows, own.gold(rows), found)
    assert result == pytest.approx({"score": 240 / 241, "precision": 1.0, "recall": 120 / 121})
    counted = f1_from_counts(own.counts(rows, own.gold(rows), found).sum(axis=0))
    assert counted == pytest.approx(result["score"])
    facts = own.facts(rows, own.read_test())
    assert facts["phrases that their text does not hold"] == "1 of 121"


def test_phrases_of_one_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,keys\n北湖很美,北湖;美\n没有,\n", encoding="utf-8")
    files = {"layout": "csv", "label_separator": ";", "columns": {"text": "text", "keyphrases": "keys"}}
    rows = contest(tmp_path, files=files).read(tmp_path / "a.csv", labelled=True)
    assert rows["phrases"].tolist() == [["北湖", "美"], []]
    assert rows["spans"].tolist() == [[(0, 2, "keyphrase"), (3, 4, "keyphrase")], []]
