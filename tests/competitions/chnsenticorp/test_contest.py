"""ChnSentiCorp: Qianyan's submission, and the sample through every stage."""

from pathlib import Path

from tests.competitions.small_contests import contest_of, run_sample


def test_the_sample_becomes_qianyans_tab_separated_file(tmp_path: Path) -> None:
    submission = run_sample("chnsenticorp", tmp_path)
    lines = submission.read_text(encoding="utf-8").splitlines()
    assert submission.name == "ChnSentiCorp.tsv" and lines[0] == "index\tprediction" and len(lines) == 13
    assert {line.split("\t")[1] for line in lines[1:]} <= {"0", "1"}


def test_official_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text('label\ttext_a\n1\t房间"很"大\n0\t太吵了\n', encoding="utf-8")
    rows = contest_of("chnsenticorp", tmp_path).read_train()
    assert rows["text"].tolist() == ['房间"很"大', "太吵了"] and rows["label"].tolist() == ["1", "0"]
