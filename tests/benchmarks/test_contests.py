"""The contests' benchmark runs a folder as it is, scores dev with and without rows that training has, and goes on."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contests
from benchmarks.contest_runs import Dev, row_keys
from benchmarks.contest_tables import report, table
from benchmarks.contest_tasks import TASKS, joined_parts, without_repeats
from common.ensembling.scores import Scores
from common.files import read_json
from common.stages.rows import read_rows
from competitions.launch import HERE, configured

GOOD, BAD, PLACES = "好棒喜欢", "差烂讨厌", "东西南北中上下左右前后里外远近高低大小多少"


def reviews(path: Path, numbers: range) -> None:
    """Reviews of two classes, the same for the same number."""
    lines = []
    for n in numbers:
        random = np.random.default_rng(n)
        text = "".join(random.choice(list(PLACES), 6)) + (BAD, GOOD)[n % 2][random.integers(4)]
        lines.append(f"{n % 2}\t{text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["label\ttext_a", *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty reviews to train on, of which dev's first ten are the last ten."""
    folder = tmp_path_factory.mktemp("sets")
    for name, numbers in (("train", range(80)), ("dev", range(70, 110))):
        reviews(folder / f"classification/chnsenticorp/{name}.tsv", numbers)
    return folder


def measured(root: Path, folder: Path, *words: str) -> dict:
    common = [f"datasets={root}", "tasks=chnsenticorp", "members=tfidf,naive_bayes", f"output_dir={folder}"]
    assert contests.main([*common, f"results={folder / 'RESULTS.md'}", *words]) == 0
    return read_json(folder / "chnsenticorp" / "result.json")


def test_a_folder_is_run_and_reported_and_a_finished_task_is_kept(root: Path, tmp_path: Path) -> None:
    found = measured(root, tmp_path)
    assert set(found["members"]) == {"tfidf", "naive_bayes"} and (found["dev_rows"], found["unseen_rows"]) == (40, 30)
    assert found["members"]["tfidf"]["oof"] > 0.8 and found["blend"]["dev"] > 0.8
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| accuracy | out-of-fold | dev (40 rows) | dev, unseen rows (30) | time |" in text
    assert text.count("### ") == 1 and "Published" in text

    unit = tmp_path / "chnsenticorp/tfidf/fold-0/seed-1/unit.json"
    before = unit.stat().st_mtime_ns
    (tmp_path / "chnsenticorp/metrics.json").unlink()  # would be read or written if anything ran
    assert measured(root, tmp_path) == found and unit.stat().st_mtime_ns == before


def test_dev_scores_are_those_of_the_run_and_unseen_rows_those_that_training_does_not_have(root, tmp_path) -> None:
    words = [f"data_dir={root / 'classification/chnsenticorp'}", f"output_dir={tmp_path}", "files.test=dev.tsv"]
    contest = configured("chnsenticorp", [], words)
    rows = read_rows(contest)
    dev = Dev(contest, rows, TASKS["chnsenticorp"])
    assert dev.unseen.tolist() == [False] * 10 + [True] * 30
    # Right on the rows that training has, wrong on two thirds of the others.
    right = np.array([True] * 10 + [n % 3 == 0 for n in range(30)])
    gold = np.arange(70, 110) % 2
    values = np.eye(2)[np.where(right, gold, 1 - gold)][:, None]
    order = np.random.default_rng(0).permutation(40)  # scores may come in any order
    scores = Scores.of([rows.test["id"][place] for place in order], values[order])
    assert dev.scores(scores, {}) == {"dev": pytest.approx(0.5), "unseen": pytest.approx(1 / 3)}


def test_the_clean_set_has_no_training_review_that_dev_has(root: Path, tmp_path: Path) -> None:
    without_repeats(root / "classification/chnsenticorp", tmp_path)
    contest = configured("chnsenticorp", [], [f"data_dir={tmp_path}", "files.test=dev.tsv"])
    train, test = contest.read_train(), contest.read_test()
    assert (len(train), len(test)) == (70, 40) and not set(row_keys(contest, train)) & set(row_keys(contest, test))


def test_both_parts_of_c3_become_one_file(tmp_path: Path) -> None:
    question = {"question": "他在哪里？", "choice": ["家", "北湖"], "answer": "北湖"}
    for split in ("train", "dev"):
        for part in ("m", "d"):
            item = [[f"{part}{split}：我在北湖。"], [question], "1"]
            (tmp_path / f"c3-{part}-{split}.json").write_text(json.dumps([item]), encoding="utf-8")
    joined_parts(tmp_path, tmp_path / "own")
    contest = configured("c3", [], [f"data_dir={tmp_path / 'own'}", "files.train=[train.json]", "files.test=dev.json"])
    assert contest.read_train()["passage"].tolist() == ["mtrain：我在北湖。", "dtrain：我在北湖。"]
    assert len(contest.read_test()) == 2


def test_every_task_names_a_folder_and_configs_that_are_there() -> None:
    for task in TASKS.values():
        configs = [HERE / task.contest / "config" / own for own in task.configs]
        contest = configured(task.contest, configs, ["data_dir=x", *task.words])
        assert contest.name == task.contest and (not task.gold or contest.config.files.test == task.gold)


def test_the_report_has_a_column_for_dev_only_where_there_is_one() -> None:
    member = {"oof": 0.5, "seconds": 100.0}
    found = {"task": "lcqmc", "rows": 9, "members": {"a": member, "b": member}, "blend": {"name": "mean", "oof": 0.6}}
    assert table(found).splitlines() == [
        "| accuracy | out-of-fold | time |",
        "|---|---|---|",
        "| a | 0.5000 | 2 min |",
        "| b | 0.5000 | 2 min |",
        "| chosen: mean | **0.6000** | 3 min |",
    ]
    assert "python -m benchmarks.contests datasets=x seeds=1" in report("datasets=x seeds=1", {"lcqmc": found})


@pytest.mark.parametrize(("word", "message"), [("tasks=lcqm", "did you mean 'lcqmc'"), ("seeds=0", "from 1")])
def test_a_wrong_key_is_one_clear_error(word: str, message: str, capsys) -> None:
    assert contests.main([word]) == 2
    assert message in capsys.readouterr().err
