"""The sample becomes a checked submission, and a finished run predicts the same file the same way."""

from pathlib import Path

from common.files import read_json
from competitions.launch import configured, launch

HERE = Path(__file__).parent
CONTEST = HERE.name


def test_the_sample_becomes_a_checked_submission(tmp_path: Path) -> None:
    config, run = [HERE / "config" / "sample.yaml"], tmp_path / "run"
    words = [f"data_dir={HERE / 'sample'}", f"output_dir={run}", "workers=1"]
    for stage in ("prepare", "train", "ensemble", "check"):
        launch(CONTEST, stage, config, words)
    contest = configured(CONTEST, config, words)
    assert read_json(run / "metrics.json")["score"] > 0.5

    test, again = HERE / "sample" / contest.config.files.test, tmp_path / "again"
    launch(CONTEST, "predict", [], [f"run={run}", f"output_dir={run}", f"input={test}", f"output={again}"])
    assert again.read_bytes() == (run / contest.submission_file).read_bytes()
