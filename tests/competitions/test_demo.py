"""python -m competitions.demo: the stages of each contest with a demo.yaml, in order, and its table."""

import subprocess
from pathlib import Path

import pytest

import data.demo
from common.files import write_json
from competitions import demo


def test_every_contest_with_a_demo_is_trained_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for contest in ("one", "two"):
        folder = tmp_path / contest / "config"
        folder.mkdir(parents=True)
        (folder / "demo.yaml").write_text(f"output_dir: {tmp_path / contest}\n", encoding="utf-8")
        facts = {"units": {"lexical/fold-0": {}, "lexical/fold-1": {}}, "score": 0.5, "submission": "here"}
        write_json(tmp_path / contest / "metrics.json", facts)
    done = []

    def launch(contest, stage, files, words):
        done.append((contest, stage, words))
        return {"score": 0.25}

    def run(command):
        done.append((Path(command[1]).parent.name, Path(command[1]).name, command[4:]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(demo, "HERE", tmp_path)
    monkeypatch.setattr(demo, "launch", launch)
    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(data.demo, "main", lambda words: 0)
    assert demo.main(["folds=2"]) == 0
    assert done == [(contest, step, ["folds=2"]) for contest in ("one", "two") for step in ("train.sh", "score")]
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[:4] for line in table] == [[name, "lexical", "0.5000", "0.2500"] for name in ("one", "two")]
