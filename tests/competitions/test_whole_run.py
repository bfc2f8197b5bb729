"""From files to a submission and back: what is finished is kept, what was cut off resumes, and the files say it all."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.members.neural import last_whole_checkpoint
from competitions.__main__ import main
from tests.competitions.conftest import ROOT, Datagrand, single_threaded

MEMBERS = ("bilstm_crf", "span_pointers", "sparse_crf")
ONE_UNIT = "use=[bilstm_crf]", "only=bilstm_crf/fold-0/seed-1"


@pytest.fixture(scope="module")
def finished(datagrand_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Datagrand:
    """prepare, train, ensemble and check have run; for reading only."""
    kit = Datagrand(datagrand_files, tmp_path_factory.mktemp("finished") / "run")
    for stage in ("prepare", "train", "ensemble", "check"):
        kit.run(stage)
    return kit


@pytest.fixture
def copied(finished: Datagrand, datagrand: Datagrand) -> Datagrand:
    """A copy of the finished run."""
    shutil.copytree(finished.output, datagrand.output)
    return datagrand


def units_done(kit: Datagrand) -> dict[str, int]:
    """When each unit was finished."""
    return {str(path.parent): path.stat().st_mtime_ns for path in kit.output.glob("*/*/*/unit.json")}


def test_every_member_is_scored_on_every_row_by_a_model_that_has_not_seen_it(finished: Datagrand) -> None:
    contest = finished.contest()
    train = contest.read_train()
    folds = contest.folds(train)
    for name in MEMBERS:
        for fold in range(2):
            oof = Scores.load(finished.output / name / f"fold-{fold}" / "seed-1" / "oof.parquet")
            assert list(oof.ids) == train["id"][folds == fold].tolist()
            test = Scores.load(finished.output / name / f"fold-{fold}" / "seed-1" / "test.parquet")
            assert len(test) == 12
            for scores in (oof, test):
                assert (scores.values >= 0).all() and abs(scores.values.sum(1) - 1).max() < 1e-4
    blended = Scores.load(finished.output / "oof.parquet")
    assert list(blended.ids) == train["id"].tolist()


def test_the_metrics_name_each_member_the_blends_and_the_gain(finished: Datagrand) -> None:
    metrics = json.loads((finished.output / "metrics.json").read_text())
    results = {name: result["score"] for name, result in metrics["results"].items()}
    contest = finished.contest()
    blends = contest.blends()
    assert {*MEMBERS, *blends} - {*contest.slow_blends} == set(results)
    best = max(results[name] for name in MEMBERS)
    simple = [name for name in results if name not in blends or not blends[name].complexity]
    assert metrics["score"] == results[metrics["chosen"]] >= max(results[name] for name in simple)
    assert metrics["gain_over_best_member"] == pytest.approx(metrics["score"] - best)
    assert set(metrics["units"]) == set(finished.units())
    assert results["sparse_crf"] > 0.9
    for part in ("precision", "recall", "f1 a", "f1 b", "f1 c"):
        assert 0 <= metrics["results"]["mean"][part] <= 1


def test_two_runs_are_compared_by_name(finished: Datagrand, copied: Datagrand, capsys: pytest.CaptureFixture) -> None:
    copied.run("ensemble", "use=[bilstm_crf]")
    words = ["datagrand_extraction", "compare", f"run={finished.output}"]
    assert main([*words, f"other={copied.output}"]) == 0
    first, second = (json.loads((kit.output / "metrics.json").read_text())["score"] for kit in (finished, copied))
    said = capsys.readouterr().out
    assert f"{second:.4f}  {copied.output}: bilstm_crf" in said and f"{first - second:+.4f}  the first over" in said
    assert main(words) == 2 and "compare needs other=NAME" in capsys.readouterr().err


def test_a_finished_run_holds_its_settings_and_nothing_that_needs_unpickling(finished: Datagrand) -> None:
    files = {str(path.relative_to(finished.output)) for path in finished.output.rglob("*") if path.is_file()}
    wanted = {"config.yaml", "environment.json", "metrics.json", "ensemble.json", "report.html", "log.txt",
              "oof.parquet", "test.parquet", "submission.txt"}  # fmt: skip
    assert wanted <= files
    assert not [name for name in files if name.endswith((".pt", ".pth", ".bin", ".pkl", ".pickle", ".npy", ".joblib"))]
    assert not [name for name in files if "checkpoint" in name or "optimizer" in name]
    for unit in ("bilstm_crf", "span_pointers"):
        assert f"{unit}/fold-0/seed-1/model/model.safetensors" in files
        assert f"{unit}/fold-0/seed-1/tokenizer/tokenizer.json" in files


def test_its_config_repeats_the_run(finished: Datagrand, datagrand: Datagrand) -> None:
    """config.yaml is complete: no other word is needed."""
    words = ["train", "--config", str(finished.output / "config.yaml"), f"output_dir={datagrand.output}"]
    assert main(["datagrand_extraction", *words, "only=bilstm_crf/fold-1", "workers=1"]) == 0
    for file in ("oof.parquet", "test.parquet", "model/model.safetensors"):
        unit = Path("bilstm_crf/fold-1/seed-1")
        assert (datagrand.output / unit / file).read_bytes() == (finished.output / unit / file).read_bytes(), file


@pytest.mark.parametrize("method", ["best", "stacking", "interval_vote", "best_subset_token_vote", "boosted_stacking"])
def test_predicting_the_test_file_gives_the_submission(copied: Datagrand, tmp_path: Path, method: str) -> None:
    copied.run("ensemble", f"ensemble.method={method}")
    output = tmp_path / "again.txt"
    words = [f"run={copied.output}", f"input={copied.data / 'test.txt'}", f"output={output}"]
    assert main(["datagrand_extraction", "predict", *words]) == 0
    assert output.read_bytes() == (copied.output / "submission.txt").read_bytes()


def test_averaged_crfs_predict_what_they_submitted(copied: Datagrand, tmp_path: Path) -> None:
    """`average: crf` needs the emissions again when it predicts."""
    shutil.rmtree(copied.output / "bilstm_crf")
    words = ("use=[bilstm_crf]", "members.bilstm_crf.average=crf")
    copied.run("train", *words)
    copied.run("ensemble", *words)
    output = tmp_path / "again.txt"
    words = (f"run={copied.output}", f"input={copied.data / 'test.txt'}", f"output={output}")
    assert main(["datagrand_extraction", "predict", *words]) == 0
    assert output.read_bytes() == (copied.output / "submission.txt").read_bytes()


def test_new_text_with_unknown_numbers_is_predicted(copied: Datagrand, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("77777_11_12\n21_22_23_88888\n99999\n", encoding="utf-8")
    words = [f"run={copied.output}", f"input={tmp_path / 'new.txt'}", f"output={tmp_path / 'out.txt'}"]
    assert main(["datagrand_extraction", "predict", *words]) == 0
    assert (tmp_path / "out.txt").read_text().splitlines() == ["77777/o  11_12/a", "21_22_23/b  88888/o", "99999/o"]


def test_score_tells_how_the_submission_did(copied: Datagrand) -> None:
    found = copied.run("score", f"gold={copied.data / 'gold.txt'}")
    assert found["score"] > 0.9
    perfect = copied.run("score", f"gold={copied.data / 'gold.txt'}", f"prediction={copied.data / 'gold.txt'}")
    assert perfect["score"] == perfect["precision"] == perfect["recall b"] == 1.0


def test_training_a_finished_run_trains_nothing(copied: Datagrand, monkeypatch: pytest.MonkeyPatch) -> None:
    before = copied.contents()
    monkeypatch.setattr("common.stages.train.train_unit", lambda *_: pytest.fail("a finished unit was trained again"))
    copied.run("train")
    assert copied.contents() == before


def test_a_unit_that_was_deleted_is_trained_alone_and_gives_the_same(copied: Datagrand) -> None:
    unit = copied.output / "bilstm_crf" / "fold-1" / "seed-1"
    before, done = copied.contents(), units_done(copied)
    shutil.rmtree(unit)
    copied.run("train")
    changed = {name for name, when in units_done(copied).items() if done[name] != when}
    assert changed == {str(unit)}
    for file in ("oof.parquet", "test.parquet", "model/model.safetensors"):
        assert (unit / file).read_bytes() == before[f"bilstm_crf/fold-1/seed-1/{file}"]


def test_other_settings_do_not_touch_a_finished_run(copied: Datagrand) -> None:
    before = copied.contents()
    for word in ("members.bilstm_crf.training.epochs=1", "augmentation=all_types", "scheme=BIOES", "folds=3"):
        for stage in ("train", "ensemble"):
            with pytest.raises(ConfigError, match=r"finished under other settings.*run=NAME|not finished"):
                copied.run(stage, word)
    assert copied.contents() == before


def test_other_data_does_not_touch_a_finished_run(own_files: Datagrand) -> None:
    own_files.run("train", "use=[sparse_crf]")
    before = own_files.contents()
    lines = (own_files.data / "train.txt").read_text().splitlines()
    (own_files.data / "train.txt").write_text("\n".join([*lines[1:], "11_12/a"]) + "\n")
    with pytest.raises(ConfigError, match=r"data: .* -> "):
        own_files.run("train", "use=[sparse_crf]")
    assert own_files.contents() == before


def test_the_ensemble_waits_for_every_unit(copied: Datagrand) -> None:
    shutil.rmtree(copied.output / "span_pointers" / "fold-1")
    with pytest.raises(ConfigError, match=r"1 units are not finished, the first is span_pointers/fold-1/seed-1"):
        copied.run("ensemble")
    assert copied.run("ensemble", "use=[bilstm_crf,sparse_crf]")["score"] > 0.9


def test_only_trains_one_unit(datagrand: Datagrand) -> None:
    datagrand.run("train", "seeds=[1,2]", "only=sparse_crf/fold-0/seed-2")
    assert [Path(name).relative_to(datagrand.output) for name in units_done(datagrand)] == [
        Path("sparse_crf/fold-0/seed-2")
    ]
    with pytest.raises(ConfigError, match=r"only=sparse_crf/fold-9 names no unit.*did you mean 'sparse_crf/fold-"):
        datagrand.run("train", "only=sparse_crf/fold-9")


def test_a_neural_member_learns(datagrand: Datagrand) -> None:
    """Not by chance: which numbers make an entity is learnt from thirty lines."""
    datagrand.run("train", *ONE_UNIT, "members.bilstm_crf.training.epochs=10")
    facts = json.loads((datagrand.output / "bilstm_crf" / "fold-0" / "seed-1" / "unit.json").read_text())
    assert facts["score"] > 0.8


def test_side_by_side_gives_what_one_after_another_gives(
    finished: Datagrand, datagrand: Datagrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    datagrand.run("train", "use=[bilstm_crf]", "workers=2")
    for fold in range(2):
        for file in ("oof.parquet", "test.parquet"):
            path = Path("bilstm_crf") / f"fold-{fold}" / "seed-1" / file
            assert (datagrand.output / path).read_bytes() == (finished.output / path).read_bytes()


def test_a_killed_unit_resumes_to_the_same_scores(
    datagrand: Datagrand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*ONE_UNIT, "members.bilstm_crf.training.epochs=20")
    command = datagrand.command("train", *words)
    child = subprocess.Popen(command, cwd=ROOT, env=single_threaded(), stdout=subprocess.DEVNULL)
    unit = datagrand.output / "bilstm_crf" / "fold-0" / "seed-1"
    deadline = time.time() + 60
    while last_whole_checkpoint(unit / "checkpoints") is None:
        assert child.poll() is None and time.time() < deadline, "ended before its first checkpoint"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(unit.glob("checkpoints/checkpoint-*")) and not (unit / "unit.json").exists()

    datagrand.run("train", *words)
    assert "epoch 1 of 20" not in capsys.readouterr().out, "it began anew"
    assert not (unit / "checkpoints").exists()

    uninterrupted = Datagrand(datagrand.data, tmp_path / "uninterrupted")
    uninterrupted.run("train", *words)
    assert "epoch 1 of 20" in capsys.readouterr().out
    other = uninterrupted.output / "bilstm_crf" / "fold-0" / "seed-1"
    for file in ("oof.parquet", "test.parquet", "model/model.safetensors"):
        assert (unit / file).read_bytes() == (other / file).read_bytes(), file
    pd.testing.assert_frame_equal(pd.read_parquet(unit / "oof.parquet"), pd.read_parquet(other / "oof.parquet"))


def test_a_checkpoint_that_was_cut_off_while_it_was_written_is_not_resumed(
    finished: Datagrand, datagrand: Datagrand
) -> None:
    unit = Path("bilstm_crf/fold-0/seed-1")
    checkpoint = datagrand.output / unit / "checkpoints" / "checkpoint-8"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"epoch": 1.0, "glob')
    datagrand.run("train", *ONE_UNIT)
    assert (datagrand.output / unit / "oof.parquet").read_bytes() == (
        finished.output / unit / "oof.parquet"
    ).read_bytes()


def test_what_a_cut_off_unit_left_under_other_settings_is_not_resumed(datagrand: Datagrand) -> None:
    unit = datagrand.output / "bilstm_crf" / "fold-0" / "seed-1"
    (unit / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    (unit / "checkpoints" / "checkpoint-7" / "trainer_state.json").write_text("{}")
    (unit / "settings.json").write_text('{"member": "another"}')
    datagrand.run("train", *ONE_UNIT)
    assert json.loads((unit / "unit.json").read_text())["steps"] > 7


def test_smoke_goes_through_every_stage(datagrand: Datagrand, tmp_path: Path) -> None:
    kit = Datagrand(datagrand.data, datagrand.output, ("smoke=true",))
    for stage in ("prepare", "train", "ensemble", "check"):
        kit.run(stage)
    smoke = Path(f"{datagrand.output}-smoke")
    assert not datagrand.output.exists(), "a smoke run stays out of the real run's folder"
    assert len(pd.read_parquet(smoke / "oof.parquet")) == 48
    words = (f"run={smoke}", f"input={kit.data / 'test.txt'}", f"output={tmp_path / 'out.txt'}")
    assert main(["datagrand_extraction", "predict", *words]) == 0
    assert (tmp_path / "out.txt").read_bytes() == (smoke / "submission.txt").read_bytes()
    assert 0 <= kit.run("score", f"gold={kit.data / 'gold.txt'}")["score"] <= 1


def test_stages_of_a_finished_run_take_its_settings(copied: Datagrand, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"run={copied.output}"
    assert main(["datagrand_extraction", "check", run]) == 0
    assert main(["datagrand_extraction", "score", run, f"gold={copied.data / 'gold.txt'}"]) == 0
    said = (copied.output / "log.txt").read_text()
    assert f"== datagrand_extraction check {run}" in said and "12 rows, format and order are right" in said
    assert said.index("== datagrand_extraction train") < said.index("== datagrand_extraction score")
