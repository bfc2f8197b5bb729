"""Relations of known entities: files, every ordered pair with its own score, and a member that learns them."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from common.config import ConfigError, typed
from common.ensembling.scores import Scores
from common.files import DataError, write_lines
from common.stages.ensemble import ensemble
from common.stages.outputs import check, predict
from common.stages.train import train
from common.text.tokenization import WholeWordTokenizer
from common.training.prepared_text import SharedText
from competitions.tasks.relations import RelationConfig, RelationContest
from competitions.tasks.tagging_members import TaggerMember

ENCODER = {"model_type": "recurrent", "embedding_size": 24, "hidden_size": 32, "num_layers": 1}
RATES = {"recurrent_learning_rate": 0.01, "head_learning_rate": 0.01, "batch_size": 8, "precision": "fp32"}


class Example(RelationContest):
    name, submission_file = "example", "submission.json"


def contest(folder: Path, several: bool = False, **settings) -> Example:
    member = {"kind": "relations", "architecture": ENCODER, "min_frequency": 1, "dropout": 0.0, "pair_size": 16,
              "type_size": 4, "training": {**RATES, "epochs": 16}}  # fmt: skip
    files = {"layout": "json", "train": ["train.json"], "test": "test.json", "columns": {"id": "id"}}
    values = {"data_dir": str(folder), "output_dir": str(folder / "run"), "folds": 2, "workers": 1, "use": ["pairs"],
              "types": ["人", "地"], "relations": ["住在", "去过"], "several": several, "files": files,
              "members": {"pairs": member | settings}}  # fmt: skip
    return Example(typed(RelationConfig, values))


def data(folder: Path, rows: int = 110) -> Path:
    """小王住在北湖 and 小王去过北湖 say which; the second person has none."""
    draw, lines = random.Random(2), []
    for number in range(rows):
        who, where, name = draw.choice("王李张陈"), draw.choice(["北湖", "南山"]), draw.choice(["住在", "去过"])
        text = f"小{who}{name}{where}小赵不知道{number % 10}"
        entities = [{"start": 4, "end": 6, "type": "地"}, {"start": 0, "end": 2, "type": "人"},
                    {"start": 6, "end": 8, "type": "人"}]  # fmt: skip
        lines.append({"id": f"x{number}", "text": text, "entities": entities,
                      "relations": [{"head": 1, "tail": 0, "type": name}]})  # fmt: skip
    lines[3] |= {"entities": [], "relations": []}
    write_lines(folder / "train.json", (json.dumps(line, ensure_ascii=False) for line in lines[: rows - 10]))
    test = ({key: line[key] for key in ("id", "text", "entities")} for line in lines[rows - 10 :])
    write_lines(folder / "test.json", (json.dumps(line, ensure_ascii=False) for line in test))
    return folder


def test_every_stage_finds_them_and_predict_repeats_the_checked_submission(tmp_path: Path) -> None:
    own = contest(data(tmp_path))
    train(own)
    result = ensemble(own)["results"]["pairs"]
    assert result["score"] > 0.75, "one of 6 pairs of a text has one of 2 relations, which its words say"
    check(own)
    own.config.input, own.config.output = str(tmp_path / "test.json"), str(tmp_path / "again.json")
    predict(own)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "run/submission.json").read_bytes()


@pytest.mark.parametrize("settings", [{}, {"type_size": 0, "features": "first"}, {"max_length": 9, "overlap": 2}])
def test_a_restored_member_scores_the_same_with_a_unit_a_pair(settings: dict, tmp_path: Path) -> None:
    own = contest(data(tmp_path, 30), **settings, training={**RATES, "epochs": 1})
    rows = own.read_train()
    member = own.build_member("pairs", 1)
    member.fit(rows, rows, (), tmp_path)
    scores, again = member.scores(rows), own.build_member("pairs", 1).restore(tmp_path).scores(rows)
    for spans, one, other in zip(rows["spans"], scores, again, strict=True):
        assert one.shape == (len(spans) ** 2, 2) and not one.reshape(len(spans), len(spans), 2).diagonal().any()
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert scores[3].shape == (0, 2) and len(own.targets(rows)) == sum(map(len, scores))


def test_models_of_all_folds_read_the_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = contest(data(tmp_path, 20), training={**RATES, "epochs": 1})
    rows, members = own.read_train(), []
    for fold in range(3):
        members.append(own.build_member("pairs", fold))
        members[fold].fit(rows, rows, (), tmp_path / str(fold))
    alone = members[2].scores(rows)
    calls, encode = [], WholeWordTokenizer.encode_words_many

    def counted(self, lines, **settings):
        calls.append(len(lines))
        return encode(self, lines, **settings)

    monkeypatch.setattr(WholeWordTokenizer, "encode_words_many", counted)
    shared = SharedText()
    for member in members:
        member.share_text(shared)
        found = member.scores(rows)
    assert calls == [len(rows)], "once, for all three models"
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert members[0].text_key()[0] != TaggerMember.text_key(members[0])[0], "features without entities are others"


def test_a_pair_has_its_best_relation_or_all_of_them_above_a_threshold_from_the_scores(tmp_path: Path) -> None:
    rows = contest(data(tmp_path)).read_train().head(2)
    grid = np.zeros((3, 3, 2))
    grid[1, 0] = [0.4, 0.3]
    scores = Scores.of(rows["id"].tolist(), [grid.reshape(9, 2)] * 2)
    who, where = (0, 2, "人"), (4, 6, "地")
    for several, names in ((False, ["住在"]), (True, ["住在", "去过"])):
        own = contest(tmp_path, several)
        assert own.decode(rows, scores, {}) == [[], []]
        assert own.decode(rows, scores, {"threshold": 0.25})[0] == [(who, where, name) for name in names]
        assert own.fit_decision(rows, scores)["threshold"] < 0.45


def test_what_is_written_is_read_back_in_the_order_of_the_entities(tmp_path: Path) -> None:
    own = contest(data(tmp_path))
    rows = own.read_train()
    assert rows["spans"][0] == [(4, 6, "地"), (0, 2, "人"), (6, 8, "人")] and rows["relations"][0][0][:2] == (1, 0)
    own.write_submission(tmp_path / "s.json", rows, own.gold(rows))
    own.check_submission(tmp_path / "s.json", rows)
    assert own.read_submission(tmp_path / "s.json") == (rows["id"].tolist(), own.gold(rows))
    assert own.score(rows, own.gold(rows), own.gold(rows))["score"] == 1.0
    with pytest.raises(DataError, match="predict the same test file again"):
        own.check_submission(tmp_path / "s.json", rows.iloc[1:])


@pytest.mark.parametrize(("relation", "message"), [
    ({"head": 0, "tail": 0, "type": "住在"}, "has a relation from 0 to 0"),
    ({"head": 0, "tail": 7, "type": "住在"}, "has a relation from 0 to 7"),
    ({"head": 0, "tail": 1, "type": "住"}, "has the relation '住'"),
    ({"from": 0, "tail": 1}, "cannot read its relation"),
])  # fmt: skip
def test_a_faulty_relation_is_named(relation: dict, message: str, tmp_path: Path) -> None:
    entities = [{"start": 0, "end": 1, "type": "人"}, {"start": 1, "end": 2, "type": "人"}]
    line = {"id": 1, "text": "我们", "entities": entities, "relations": [relation]}
    write_lines(tmp_path / "train.json", [json.dumps(line, ensure_ascii=False)])
    with pytest.raises(DataError, match=f"train.json:1: {message}"):
        contest(tmp_path).read_train()


@pytest.mark.parametrize(("settings", "message"), [
    ({"kind": "tagger"}, "members.pairs.kind is 'tagger'"), ({"features": "frist"}, "did you mean 'first'"),
    ({"pair_size": 0}, "expected above 0"),
])  # fmt: skip
def test_a_mistake_in_the_settings_is_named(settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        contest(tmp_path, **settings)
