"""CMRC 2018: its scorer's submission, and the sample through every stage."""

import json
from pathlib import Path

import pytest

from common.files import DataError
from tests.competitions.small_contests import contest_of, run_sample


def test_the_sample_becomes_answers_by_question_id(tmp_path: Path) -> None:
    path = run_sample("cmrc2018", tmp_path, "n_best=3")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found) == [f"q{number}" for number in range(60, 72)] and all(found.values())
    best = json.loads((path.parent / "nbest.json").read_text(encoding="utf-8"))
    assert {name: own[0]["text"] for name, own in best.items()} == found and {len(own) for own in best.values()} == {3}


def test_official_files_are_read_and_answers_of_other_questions_are_refused(tmp_path: Path) -> None:
    own = {"id": "TRIAL_1_QUERY_0", "question": "在哪里？", "answers": [{"text": "北湖", "answer_start": 2}] * 3}
    paragraph = {"id": "TRIAL_1", "context": "他在北湖住。", "qas": [own]}
    text = json.dumps({"version": "v1.0", "data": [{"paragraphs": [paragraph], "id": "TRIAL_1", "title": "湖"}]})
    for name in ("cmrc2018_trial.json", "cmrc2018_dev.json"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    contest = contest_of("cmrc2018", tmp_path)
    train, test, path = contest.read_train(), contest.read_test(), tmp_path / "s.json"
    assert train["answers"].tolist() == [["北湖"] * 3] and "answers" not in test
    contest.write_submission(path, test, ["北湖"])
    contest.check_submission(path, test)
    gold_rows, gold = contest.read_predictions(tmp_path / "cmrc2018_dev.json")
    assert contest.score(gold_rows, gold, contest.read_predictions(path, like=tmp_path)[1])["score"] == 1.0
    with pytest.raises(DataError, match="predict the same test file again"):
        contest.check_submission(path, test.assign(id="TRIAL_2"))
