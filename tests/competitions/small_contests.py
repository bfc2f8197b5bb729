"""What the tests of the small contest folders share: their generated samples, run through every stage."""

from pathlib import Path

from common.contest import Contest
from common.files import read_json
from competitions.launch import configured, launch
from tests.competitions.conftest import ROOT


def contest_of(name: str, data: Path, *words: str, config: str = "") -> Contest:
    """The contest on the files in `data`. config: one of its further configs."""
    files = [ROOT / "competitions" / name / "config" / config] if config else []
    return configured(name, files, [f"data_dir={data}", *words])


def run_sample(name: str, folder: Path, *more: str) -> Path:
    """The submission that the contest's sample becomes; `predict` gives the same. The rest goes into `folder`.

    more: further settings."""
    own, run = ROOT / "competitions" / name, folder / "run"
    words = [f"data_dir={own / 'sample'}", f"output_dir={run}", "workers=1", *more]
    for stage in ("train", "ensemble", "check"):
        launch(name, stage, [own / "config" / "sample.yaml"], words)
    assert read_json(run / "metrics.json")["score"] > 0.5
    contest = configured(name, [own / "config" / "sample.yaml"], words)
    test, again = own / "sample" / contest.config.files.test, folder / "again"
    launch(name, "predict", [], [f"run={run}", f"output_dir={run}", f"input={test}", f"output={again}"])
    assert again.read_bytes() == (run / contest.submission_file).read_bytes()
    return run / contest.submission_file
