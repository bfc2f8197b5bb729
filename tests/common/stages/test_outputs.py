"""check, score and predict say what is wrong with a file, and predict repeats what the ensemble did."""

import pytest

from common.config import ConfigError
from common.files import DataError, write_lines
from common.stages.ensemble import ensemble
from common.stages.outputs import check, predict, score
from common.stages.train import train
from tests.common.toy import toy_rows, write_toy


@pytest.fixture
def finished(toy):
    def make(**settings):
        contest = toy(**settings)
        train(contest)
        ensemble(contest)
        return contest

    return make


@pytest.mark.parametrize(
    "method",
    [
        "mean",
        "rank_mean",
        "hill_climbing",
        "stacking",
        "power_mean",
        "best_subset",
        "temperature_mean",
        "isotonic_mean",
        "boosted_stacking",
        "a",
    ],
)
def test_predicting_the_test_file_again_gives_the_submission(finished, toy, tmp_path, method):
    settings = {"seeds": [1, 2], "ensemble": {"method": method, "blends": ["mean"]}}
    finished(**settings)
    output = tmp_path / "again.tsv"
    predict(toy(**settings, input=str(tmp_path / "data" / "test.jsonl"), output=str(output)))
    assert output.read_bytes() == (tmp_path / "run" / "submission.tsv").read_bytes()


def test_a_prediction_does_not_depend_on_the_rows_beside_it(finished, toy, tmp_path):
    finished(ensemble={"method": "rank_mean"})
    table = toy_rows(30, 2).drop(columns="label")
    write_toy(tmp_path / "few.jsonl", table[7:9])
    predict(toy(input=str(tmp_path / "few.jsonl"), output=str(tmp_path / "few.tsv")))
    all_lines = (tmp_path / "run" / "submission.tsv").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "few.tsv").read_text(encoding="utf-8").splitlines() == all_lines[7:9]


def test_predict_needs_a_finished_run_and_both_files(toy, tmp_path):
    with pytest.raises(ConfigError, match="predict needs input=FILE"):
        predict(toy(output="x"))
    with pytest.raises(ConfigError, match="predict needs output=FILE"):
        predict(toy(input="x"))
    with pytest.raises(DataError, match=r"ensemble\.json.*run the ensemble stage first"):
        predict(toy(input=str(tmp_path / "data" / "test.jsonl"), output="x"))


def test_predict_refuses_repeated_ids(finished, toy, tmp_path):
    finished()
    write_lines(tmp_path / "twice.jsonl", (tmp_path / "data" / "test.jsonl").read_text().splitlines()[:1] * 2)
    with pytest.raises(DataError, match=r"twice\.jsonl: the id '2-0' occurs more than once"):
        predict(toy(input=str(tmp_path / "twice.jsonl"), output=str(tmp_path / "x")))
    assert not (tmp_path / "x").exists()


def test_check_takes_the_runs_own_submission_or_the_named_one(finished, toy, tmp_path):
    with pytest.raises(DataError, match=r"submission\.tsv.*run the ensemble stage first"):
        check(toy())
    finished()
    check(toy())
    lines = (tmp_path / "run" / "submission.tsv").read_text().splitlines()
    write_lines(tmp_path / "shuffled.tsv", reversed(lines))
    with pytest.raises(DataError, match=r"shuffled\.tsv: ids differ"):
        check(toy(submission=str(tmp_path / "shuffled.tsv")))


def test_a_run_on_fewer_rows_is_checked_against_as_many(finished):
    check(finished(max_rows=21))


def test_score_matches_rows_by_id(toy, tmp_path):
    write_lines(tmp_path / "gold.tsv", ["p\t1", "q\t0", "r\t1", "s\t0"])
    write_lines(tmp_path / "own.tsv", ["s\t0", "r\t0", "p\t1", "q\t1"])
    contest = toy(gold=str(tmp_path / "gold.tsv"), prediction=str(tmp_path / "own.tsv"))
    assert score(contest) == {"score": 0.5, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["p\t1"], "1 predictions for 2 gold rows, without 1 of the gold's ids such as 'q'"),
        (["p\t1", "x\t1"], "2 predictions for 2 gold rows, without 1 of the gold's ids such as 'q'"),
        (["p\t1", "q\t1", "x\t1"], "3 predictions for 2 gold rows;"),
        (["p\t1", "p\t1"], "the id 'p' occurs more than once"),
    ],
)
def test_predictions_of_other_rows_are_refused(toy, tmp_path, lines, message):
    write_lines(tmp_path / "gold.tsv", ["p\t1", "q\t0"])
    write_lines(tmp_path / "own.tsv", lines)
    with pytest.raises(DataError, match=rf"own\.tsv: {message}"):
        score(toy(gold=str(tmp_path / "gold.tsv"), prediction=str(tmp_path / "own.tsv")))


def test_score_needs_a_gold_file_and_takes_the_runs_own_submission(finished, toy, tmp_path):
    with pytest.raises(ConfigError, match="score needs gold=FILE"):
        score(toy(prediction="x"))
    finished()
    own = (tmp_path / "run" / "submission.tsv").read_text().splitlines()
    write_lines(tmp_path / "gold.tsv", own)
    assert score(toy(gold=str(tmp_path / "gold.tsv")))["accuracy"] == 1


def test_without_test_rows_there_is_nothing_to_check_unless_a_submission_is_named(toy, tmp_path):
    contest = toy()
    contest.read_test = lambda: toy_rows(0, 2)
    check(contest)
    write_lines(tmp_path / "own.tsv", ["p\t1"])
    contest.config.submission = str(tmp_path / "own.tsv")
    with pytest.raises(DataError, match="no test rows to check a submission against"):
        check(contest)


def test_what_cannot_be_predicted_or_written_is_said_before_any_model_is_loaded(finished, toy, tmp_path, monkeypatch):
    finished()
    monkeypatch.setattr("common.stages.outputs.predict_rows", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(DataError, match=r"none\.jsonl: no such file.*check input="):
        predict(toy(input=str(tmp_path / "none.jsonl"), output=str(tmp_path / "x")))
    write_lines(tmp_path / "file", ["in the way"])
    test = str(tmp_path / "data" / "test.jsonl")
    with pytest.raises(DataError, match=r"file.*cannot be written.*choose another place"):
        predict(toy(input=test, output=str(tmp_path / "file" / "x")))
    contest = toy(input=test, output=str(tmp_path / "x"))
    contest.read_test = lambda path: toy_rows(0, 2)
    with pytest.raises(DataError, match=r"test\.jsonl: holds no rows to predict"):
        predict(contest)
    assert not (tmp_path / "x").exists()
