"""C3: CLUE's submission, both repositories' files, and the sample through every stage."""

import json
from pathlib import Path

import pytest

from common.files import DataError
from tests.competitions.small_contests import contest_of, run_sample

OWN = {"question": "他在哪里？", "choice": ["家", "北湖", "车上"]}


def write(path: Path, *questions: dict) -> None:
    path.write_text(json.dumps([[["男：你在哪里？", "女：我在北湖。"], list(questions), "1-1"]]), encoding="utf-8")


def test_the_sample_becomes_clues_submission(tmp_path: Path) -> None:
    items = [json.loads(line) for line in run_sample("c3", tmp_path).read_text(encoding="utf-8").splitlines()]
    assert [item["id"] for item in items] == list(range(12))
    assert all(item["label"] in range(4) for item in items)


def test_answers_become_places_and_questions_keep_clues_ids(tmp_path: Path) -> None:
    write(tmp_path / "m-train.json", OWN | {"answer": "北湖"}, OWN | {"answer": "家"})
    write(tmp_path / "test1.1.json", OWN | {"id": 7})
    contest = contest_of("c3", tmp_path)
    train, test, path = contest.read_train(), contest.read_test(), tmp_path / "s.json"
    assert train["label"].tolist() == [1, 0] and train["passage"][0] == "男：你在哪里？\n女：我在北湖。"
    assert test["id"].tolist() == ["7"] and "label" not in test
    contest.write_submission(path, test, [2])
    assert path.read_text(encoding="utf-8") == '{"id": 7, "label": 2}\n'
    contest.check_submission(path, test)
    contest.write_submission(path, test, [3])
    with pytest.raises(DataError, match="question 7 has the answer 3; expected the place of one of its 3 candidates"):
        contest.check_submission(path, test)


def test_faulty_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "m-train.json", OWN | {"answer": "河边"})
    with pytest.raises(DataError, match=r"m-train.json: question 0 \(他在哪里？\) has no right candidate"):
        contest_of("c3", tmp_path).read_train()
    write(tmp_path / "m-train.json", {"question": "?"})
    with pytest.raises(DataError, match=r"is not in C3's form .*after 0 questions"):
        contest_of("c3", tmp_path).read_train()
