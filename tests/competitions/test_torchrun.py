"""Two processes share the training of one run: each unit is written once, by the first."""

import json
import subprocess
from collections.abc import Callable

from common.ensembling.scores import Scores
from common.run import Run
from tests.competitions.conftest import Datagrand


def test_two_processes_train_one_run(
    datagrand: Datagrand, elsewhere: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ("use=[bilstm_crf,sparse_crf]", "folds=2")
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "competitions")
    found = elsewhere(datagrand.command("train", *words, module=launcher), TOKENIZERS_PARALLELISM="false")
    assert found.returncode == 0, found.stderr[-3000:]

    units = datagrand.units(*words)
    said = found.stdout.splitlines()
    for name, folder in units.items():
        assert sum(line.startswith(f"{name}  held-out score") for line in said) == 1, "each unit is told of once"
        assert not (folder / "checkpoints").exists() and not (folder / "settings.json").exists()
    run = Run(datagrand.contest(*words))
    rows = 0
    for unit in run.units():
        scores = run.scores(unit, "oof")
        assert abs(scores.values.sum(1) - 1).max() < 1e-4 and len(run.scores(unit, "test")) == 12
        rows += len(scores)
    assert rows == 2 * 60
    # A step's batch is spread over both: half the steps that one process needs for its 30 rows, 4 at a time.
    neural = json.loads((units["bilstm_crf/fold-0/seed-1"] / "unit.json").read_text())
    assert neural["steps"] == 2 * 4 and 0 <= neural["score"] <= 1

    metrics = datagrand.run("ensemble", *words)
    assert metrics["results"]["sparse_crf"]["score"] > 0.9
    datagrand.run("check", *words)
    assert len(Scores.load(datagrand.output / "oof.parquet")) == 60
