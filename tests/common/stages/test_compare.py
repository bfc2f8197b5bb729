"""Two finished runs are set against each other on the rows that both have, by what neither saw in training."""

import numpy as np
import pytest

from common.config import ConfigError
from common.evaluation.bootstrap import bootstrap_scores, interval
from common.files import DataError, read_json
from common.run import Run
from common.stages.compare import compare
from common.stages.ensemble import cross_predicted, ensemble, out_of_fold
from common.stages.rows import read_rows
from common.stages.train import train


@pytest.fixture
def finished(toy, tmp_path):
    def make(name: str, **settings):
        contest = toy(output_dir=str(tmp_path / name), **settings)
        train(contest)
        ensemble(contest)
        return contest

    return make


def test_the_difference_is_that_of_both_runs_scores_with_its_interval(finished):
    both, one = finished("both", ensemble={"method": "mean"}), finished("one", use=["a"], fold_seed=2)
    found = compare(both, one)
    metrics = [read_json(f"{contest.config.output_dir}/metrics.json") for contest in (both, one)]
    assert [found["score"], found["other"]] == [own["score"] for own in metrics]
    assert found["gain"] == found["score"] - found["other"] and found["low"] < found["gain"] < found["high"]

    # The same by hand: predictions, counts, resamples.
    rows, counts = read_rows(both), []
    gold = both.gold(rows.train)
    for contest in (both, one):
        own, run = read_rows(contest), Run(contest)
        parts = [out_of_fold(contest, run, [unit for unit in run.units() if unit.member == name])
                 .ordered(own.train["id"]) for name in contest.config.use]  # fmt: skip
        counts.append(both.counts(own.train, gold, cross_predicted(contest, own, parts, contest.blends()["mean"])))
    drawn = bootstrap_scores(np.stack(counts), both.groups(rows.train), 2000)
    assert (found["low"], found["high"]) == interval(drawn[0] - drawn[1])

    turned = compare(one, both)
    assert turned["gain"] == -found["gain"]
    assert np.allclose([turned["low"], turned["high"]], [-found["high"], -found["low"]], atol=1e-12)


def test_a_run_is_no_better_than_itself(finished):
    run = finished("run")
    found = compare(run, run)
    assert (found["gain"], found["low"], found["high"]) == (0, 0, 0)


def test_where_the_metric_is_not_made_of_counts_there_is_no_interval(finished, monkeypatch):
    run, other = finished("run"), finished("other", use=["b"])
    monkeypatch.setattr(run, "counts", lambda *_: None)
    assert set(compare(run, other)) == {"score", "other", "gain"}


def test_other_rows_and_unfinished_runs_are_errors(finished, toy, tmp_path):
    run = finished("run")
    with pytest.raises(ConfigError, match="the same rows: compare runs of the same files and max_rows"):
        compare(run, finished("fewer", max_rows=60))
    again = tmp_path / "data" / "train.jsonl"
    other = finished("texts")
    texts = again.read_text()
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "train.jsonl").write_text(texts.replace("text 1", "text 1 and more"))
    (moved / "test.jsonl").write_text((tmp_path / "data" / "test.jsonl").read_text())
    other.config.data_dir = str(moved)
    with pytest.raises(ConfigError, match="the same rows"):
        compare(run, other)
    with pytest.raises(DataError, match="run its ensemble stage first"):
        compare(run, toy(output_dir=str(tmp_path / "none")))
