"""CLUENER and its siblings: CLUE's submission, CoNLL for the others, and the sample through every stage."""

import json
from pathlib import Path

import pytest

from common.files import DataError
from tests.competitions.small_contests import contest_of, run_sample


def test_the_sample_becomes_clues_submission(tmp_path: Path) -> None:
    items = [json.loads(line) for line in run_sample("cluener", tmp_path).read_text(encoding="utf-8").splitlines()]
    assert [item["id"] for item in items] == list(range(60, 72))
    assert all(isinstance(item["label"], dict) for item in items) and any(item["label"] for item in items)


def test_official_files_are_read_and_the_submission_has_their_form(tmp_path: Path) -> None:
    label = {"name": {"小王": [[0, 1], [4, 5]]}, "address": {"北湖": [[7, 8]]}}
    (tmp_path / "train.json").write_text(json.dumps({"text": "小王说，小王在北湖", "label": label}), encoding="utf-8")
    (tmp_path / "test.json").write_text('{"id": 7, "text": "小王说，小王在北湖"}', encoding="utf-8")
    contest = contest_of("cluener", tmp_path)
    spans = contest.read_train()["spans"].tolist()
    assert spans == [[(0, 2, "name"), (4, 6, "name"), (7, 9, "address")]]
    path, test = tmp_path / "s.json", contest.read_test()
    contest.write_submission(path, test, spans)
    assert json.loads(path.read_text(encoding="utf-8")) == {"id": 7, "label": label}
    contest.check_submission(path, test)
    rows, found = contest.read_predictions(path, like=tmp_path / "train.json")
    assert rows["id"].tolist() == ["7"] and found == spans
    with pytest.raises(DataError, match="predict the same test file again"):
        contest.check_submission(path, test.assign(id="8"))


@pytest.mark.parametrize(("config", "name", "line"), [
    ("resume.yaml", "train.char.bmes", "北 B-ORG\n湖 M-ORG\n馆 E-ORG\n"),
    ("weibo.yaml", "weiboNER_2nd_conll.train", "北0\tB-ORG.NAM\n湖1\tI-ORG.NAM\n馆2\tI-ORG.NAM\n"),
    ("msra.yaml", "msra_train_bio.txt", "北\tB-ORG\n湖\tI-ORG\n馆\tI-ORG\n"),
])  # fmt: skip
def test_files_of_the_other_sets_are_read_and_written_back(config, name, line, tmp_path: Path) -> None:
    (tmp_path / name).write_text(line, encoding="utf-8")
    contest = contest_of("cluener", tmp_path, config=config)
    rows = contest.read_train()
    assert rows["tokens"].tolist() == [["北", "湖", "馆"]] and rows["spans"][0][0][:2] == (0, 3)
    contest.write_submission(tmp_path / "s", rows, rows["spans"].tolist())
    contest.check_submission(tmp_path / "s", rows)
    assert contest.read_predictions(tmp_path / "s", like=tmp_path / name)[1] == rows["spans"].tolist()
