"""python -m competitions.demo: the stages of each contest with a demo.yaml, in order, and its table."""

import subprocess
from pathlib import Path

import pytest

import data.demo
from common.files import write_json
from competitions import demo


def test_a_contest_with_a_recipe_for_it_is_pretrained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for contest, recipe in (("plain", ""), ("trained", "pretrain: {encoder: some/encoder}\n")):
        folder = tmp_path / contest / "config"
        folder.mkdir(parents=True)
        (folder / "demo.yaml").write_text(f"output_dir: {tmp_path / contest}\n{recipe}", encoding="utf-8")
        facts = {"units": {"lexical/fold-0": {}, "lexical/fold-1": {}}, "score": 0.5, "submission": "here"}
        write_json(tmp_path / contest / "metrics.json", facts)
    done = []

    def launch(contest, stage, files, words):
        done.append((contest, stage, words))
        return tmp_path / "encoder" if stage == "pretrain" else {"score": 0.25}

    def run(command):
        done.append((Path(command[1]).parent.name, "train.sh", command[4:]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(demo, "HERE", tmp_path)
    monkeypatch.setattr(demo, "launch", launch)
    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(data.demo, "main", lambda words: 0)
    assert demo.main(["folds=2"]) == 0
    encoder = f"encoder={tmp_path / 'encoder'}"
    assert done == [
        ("plain", "train.sh", ["folds=2"]),
        ("plain", "score", ["folds=2"]),
        ("trained", "pretrain", ["folds=2"]),
        ("trained", "train.sh", ["folds=2", encoder]),
        ("trained", "score", ["folds=2", encoder]),
    ]
    done.clear()
    assert demo.main(["encoder=own"]) == 0
    assert [stage for _, stage, _ in done] == 2 * ["train.sh", "score"]
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[:4] for line in table] == [
        ["plain", "lexical", "0.5000", "0.2500"],
        ["trained", "lexical", "0.5000", "0.2500"],
    ]
