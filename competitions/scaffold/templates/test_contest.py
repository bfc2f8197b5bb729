"""my_contest: its sample becomes a checked submission, and a finished run predicts the same file the same way."""

from pathlib import Path

from common.files import read_json
from competitions.launch import configured, launch

HERE = Path(__file__).parent


def test_the_sample_becomes_a_checked_submission(tmp_path: Path) -> None:
    config, run = [HERE / "config" / "sample.yaml"], tmp_path / "run"
    words = [f"data_dir={HERE / 'sample'}", f"output_dir={run}", "workers=1"]
    for stage in ("prepare", "train", "ensemble", "check"):
        launch("my_contest", stage, config, words)
    contest = configured("my_contest", config, words)
    assert read_json(run / "metrics.json")["score"] > 0.5

    test, again = HERE / "sample" / contest.config.files.test, tmp_path / "again"
    launch("my_contest", "predict", [], [f"run={run}", f"output_dir={run}", f"input={test}", f"output={again}"])
    assert again.read_bytes() == (run / contest.submission_file).read_bytes()
