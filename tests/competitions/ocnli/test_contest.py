"""OCNLI: CLUE's submission, rows without majority left out, and the sample through every stage."""

import json
from pathlib import Path

from tests.competitions.small_contests import contest_of, run_sample


def test_the_sample_becomes_clues_submission(tmp_path: Path) -> None:
    items = [json.loads(line) for line in run_sample("ocnli", tmp_path).read_text(encoding="utf-8").splitlines()]
    assert [item["id"] for item in items] == list(range(60, 72))
    assert {item["label"] for item in items} <= {"entailment", "neutral", "contradiction"}


def test_rows_without_majority_are_left_out(tmp_path: Path) -> None:
    lines = [{"id": n, "sentence1": "天在下雨", "sentence2": "没有下雨", "label": label}
             for n, label in enumerate(["-", "contradiction"])]  # fmt: skip
    (tmp_path / "train.50k.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows = contest_of("ocnli", tmp_path).read_train()
    assert rows[["id", "text_b", "label"]].to_numpy().tolist() == [["1", "没有下雨", "contradiction"]]
