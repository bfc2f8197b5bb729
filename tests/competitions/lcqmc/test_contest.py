"""LCQMC and its siblings: Qianyan's submission, accuracy as the metric, and the sample through every stage."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.ensembling.thresholds import best_accuracy_threshold
from common.evaluation.bootstrap import f1_from_counts
from tests.competitions.small_contests import contest_of, run_sample


def test_the_sample_becomes_qianyans_tab_separated_file(tmp_path: Path) -> None:
    lines = run_sample("lcqmc", tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "index\tprediction" and [line.split("\t")[0] for line in lines[1:]] == list(map(str, range(12)))


@pytest.mark.parametrize("config", ["", "bq.yaml", "paws_x.yaml", "oppo.yaml"])
def test_files_of_every_set_are_read(config: str, tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text('怎么还款\t还款怎么办\t1\n怎么借\t"借不到\t0\n', encoding="utf-8")
    rows = contest_of("lcqmc", tmp_path, config=config).read_train()
    assert rows["target"].tolist() == ["还款怎么办", '"借不到'] and rows["label"].tolist() == [1, 0]


def test_accuracy_has_a_threshold_of_its_own() -> None:
    rows = pd.DataFrame({"id": list("abcde"), "task": 0, "label": [1, 0, 0, 1, 0]})
    scores = Scores.of(rows["id"].tolist(), np.array([0.9, 0.8, 0.7, 0.6, 0.1], dtype=np.float32))
    own = contest_of("lcqmc", Path())
    predictions = own.decode(rows, scores, own.fit_decision(rows, scores))
    assert predictions == [1, 0, 0, 0, 0]
    found = own.score(rows, own.gold(rows), predictions)
    assert found["score"] == found["accuracy"] == 0.8
    assert f1_from_counts(own.counts(rows, own.gold(rows), predictions).sum(axis=0)) == pytest.approx(0.8)
    with_f1 = contest_of("lcqmc", Path(), "metric=f1")
    assert with_f1.decode(rows, scores, with_f1.fit_decision(rows, scores)) == [1, 1, 1, 1, 0]
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        contest_of("lcqmc", Path(), "metric=accurcy")


def test_no_other_threshold_is_right_more_often() -> None:
    random = np.random.default_rng(1)
    for rows in (1, 2, 30):
        chances, labels = random.random(rows).round(1), random.integers(0, 2, rows)
        threshold, accuracy = best_accuracy_threshold(chances, labels)
        assert ((chances >= threshold) == labels).mean() == pytest.approx(accuracy)
        assert accuracy >= max(((chances >= cut) == labels).mean() for cut in np.linspace(-0.05, 1.05, 23))
