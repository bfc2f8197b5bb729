"""Nested and discontinuous entities: files, scores that keep them apart, thresholds, and members that learn them."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from common.config import ConfigError, typed
from common.ensembling.scores import Scores
from common.evaluation.bootstrap import f1_from_counts
from common.files import DataError, write_lines
from common.stages.ensemble import ensemble
from common.stages.outputs import check, predict
from common.stages.train import train
from competitions.tasks.entity_sets import EntitySetConfig, EntitySetContest

ENCODER = {"model_type": "recurrent", "embedding_size": 24, "hidden_size": 32, "num_layers": 1}
RATES = {"recurrent_learning_rate": 0.02, "head_learning_rate": 0.02, "batch_size": 8, "precision": "fp32"}
MEMBERS = {"nested": {"kind": "global_pointer", "head_size": 16}, "discontinuous": {"kind": "word_pairs",
           "pair_size": 24, "distance_size": 8, "convolutions": [1, 2]}}  # fmt: skip


class Example(EntitySetContest):
    name, submission_file = "example", "submission.json"


def contest(folder: Path, entities: str, **settings) -> Example:
    member = {**MEMBERS[entities], "architecture": ENCODER, "min_frequency": 1, "dropout": 0.0,
              "training": {**RATES, "epochs": 12 if entities == "nested" else 36}}  # fmt: skip
    files = {"layout": "json", "train": ["train.json"], "test": "test.json", "columns": {"id": "id"}}
    values = {"data_dir": str(folder), "output_dir": str(folder / "run"), "folds": 2, "workers": 1, "use": ["grid"],
              "types": ["病", "位"], "entities": entities, "files": files,
              "members": {"grid": member | settings}}  # fmt: skip
    return Example(typed(EntitySetConfig, values))


def data(folder: Path, entities: str, rows: int = 60) -> Path:
    """肝炎 is 病 and its 肝 a 位; where entities may have gaps, 肝和胃炎 holds 肝炎 and 胃炎."""
    draw, lines = random.Random(1), []
    for number in range(rows):
        start, one, two = "患者近来" + "的了在是有"[: draw.randint(1, 4)], *draw.sample("肝胃肺肠", 2)
        begin, found = len(start), []
        if entities == "discontinuous" and number % 2:
            text = f"{start}{one}和{two}炎{number}"
            found = [{"pieces": [[begin, begin + 1], [begin + 3, begin + 4]], "type": "病"},
                     {"start": begin + 2, "end": begin + 4, "type": "病"}]  # fmt: skip
        else:
            text = f"{start}{one}炎{number}"
            found = [{"start": begin, "end": begin + 2, "type": "病"}]
        found.append({"start": begin, "end": begin + 1, "type": "位"})
        lines.append({"id": f"x{number}", "text": text, "entities": found})
    write_lines(folder / "train.json", (json.dumps(line, ensure_ascii=False) for line in lines[: rows - 10]))
    write_lines(folder / "test.json", (json.dumps({"id": line["id"], "text": line["text"]}, ensure_ascii=False)
                for line in lines[rows - 10 :]))  # fmt: skip
    return folder


@pytest.mark.parametrize("entities", ["nested", "discontinuous"])
def test_every_stage_finds_them_and_predict_repeats_the_checked_submission(entities: str, tmp_path: Path) -> None:
    own = contest(data(tmp_path, entities), entities)
    train(own)
    result = ensemble(own)["results"]["grid"]
    assert result["score"] > 0.8 and result["f1 病"] > 0.7 and result["f1 位"] > 0.7
    check(own)
    own.config.input, own.config.output = str(tmp_path / "test.json"), str(tmp_path / "again.json")
    predict(own)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "run/submission.json").read_bytes()


@pytest.mark.parametrize("entities", ["nested", "discontinuous"])
def test_a_restored_member_scores_the_same_whatever_the_windows(entities: str, tmp_path: Path) -> None:
    own = contest(data(tmp_path, entities, 30), entities, max_length=10, overlap=3, training={**RATES, "epochs": 1})
    rows = own.read_train()
    member = own.build_member("grid", 1)
    member.fit(rows, rows, (), tmp_path)
    scores, again = member.scores(rows), own.build_member("grid", 1).restore(tmp_path).scores(rows)
    for tokens, one, other in zip(rows["tokens"], scores, again, strict=True):
        assert one.shape == (len(tokens) ** 2, 2 if entities == "nested" else 4)
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("entities", ["nested", "discontinuous"])
def test_what_is_sure_is_decoded_written_and_read_back(entities: str, tmp_path: Path) -> None:
    own = contest(data(tmp_path, entities), entities)
    rows = own.read_train()
    gold = own.gold(rows)
    scores = Scores.of(rows["id"].tolist(), [sure(own, len(tokens), found) for tokens, found in
                       zip(rows["tokens"], gold, strict=True)])  # fmt: skip
    assert len(scores.values) == len(own.targets(rows))
    found = own.decode(rows, scores, own.fit_decision(rows, scores))
    assert [sorted(one) for one in found] == gold and own.score(rows, gold, found)["score"] == 1.0
    own.write_submission(tmp_path / "s.json", rows, found)
    own.check_submission(tmp_path / "s.json", rows)
    assert own.read_submission(tmp_path / "s.json") == (rows["id"].tolist(), gold)
    some = [found[0], *([] for _ in found[1:])]
    assert f1_from_counts(own.counts(rows, gold, some).sum(axis=0)) == own.score(rows, gold, some)["score"] < 1


def sure(own: Example, words: int, entities: list) -> np.ndarray:
    from models.word_pairs import word_pairs

    kinds = {"病": 0, "位": 1}
    if own.config.entities == "nested":
        grid = np.full((words, words, 2), 0.01)
        for places, kind in entities:
            grid[places[0], places[-1], kinds[kind]] = 0.9
        return grid.reshape(-1, 2)
    grid = np.zeros((words, words, 4))
    grid[..., 0] = 1
    for one, two, kind in word_pairs([(list(places), kinds[kind]) for places, kind in entities]):
        grid[one, two] = np.eye(4)[kind]
    return grid.reshape(-1, 4)


def test_the_threshold_of_spans_is_chosen_on_the_scores(tmp_path: Path) -> None:
    own = contest(data(tmp_path, "nested"), "nested")
    rows = own.read_train()
    values = [sure(own, len(tokens), found) * 0.4 for tokens, found in
              zip(rows["tokens"], own.gold(rows), strict=True)]  # fmt: skip
    scores = Scores.of(rows["id"].tolist(), values)
    assert own.judge(rows, scores)["score"] == 0.0
    decision = own.fit_decision(rows, scores)
    assert decision == {"threshold": 0.3} and own.decode(rows, scores, decision)[0] == own.gold(rows)[0]


@pytest.mark.parametrize(("entities", "entity", "message"), [
    ("nested", {"pieces": [[0, 1], [2, 3]], "type": "病"}, "set entities=discontinuous"),
    ("discontinuous", {"pieces": [[2, 3], [0, 1]], "type": "病"}, "places inside the 4 characters"),
    ("nested", {"start": 2, "end": 9, "type": "病"}, "places inside the 4 characters"),
    ("nested", {"start": 2, "end": 3, "type": "症"}, "of the type '症'"),
    ("nested", {"begin": 2, "end": 3, "type": "病"}, "cannot read its entity"),
])  # fmt: skip
def test_a_faulty_entity_is_named(entities: str, entity: dict, message: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "train.json", [json.dumps({"id": 1, "text": "我有肝炎", "entities": [entity]})])
    with pytest.raises(DataError, match=f"train.json:1: .*{message}"):
        contest(tmp_path, entities).read_train()


@pytest.mark.parametrize(("entities", "settings", "message"), [
    ("nested", {"kind": "word_pairs"}, "members.grid.kind is 'word_pairs'"),
    ("discontinuous", {"pair_size": 0}, "at least 1"),
])  # fmt: skip
def test_a_mistake_in_the_settings_is_named(entities: str, settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        contest(tmp_path, entities, **settings)
