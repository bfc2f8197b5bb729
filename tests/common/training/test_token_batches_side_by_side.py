"""Two processes that train on batches of tokens take the same steps, and every row of an epoch is in one of them."""

import json
import subprocess
import sys
from pathlib import Path

WORKER = """
import json, sys
from pathlib import Path
import torch
from common.training.arguments import training_arguments
from common.training.trainer import FoldTrainer
from tests.common.training.tiny import COLLATOR, accuracy, fast, feature_rows, tagger

folder = Path(sys.argv[1])
rows = feature_rows(61)
rows = rows.add_column("row", list(range(len(rows))))
seen = []

def collate(some):
    seen.append([row.pop("row") for row in some])
    return COLLATOR(some)

config = fast(batch_tokens=40, epochs=3, keep="last")
arguments = training_arguments(config, folder / "checkpoints", 1)
trainer = FoldTrainer(tagger(), config, arguments, rows, collate, lambda model: {"score": 0.5})
trainer.train()
weights = {name: value.double().sum().item() for name, value in trainer.model.state_dict().items()}
found = {"steps": trainer.state.global_step, "seen": seen, "weights": weights}
(folder / f"{arguments.process_index}.json").write_text(json.dumps(found))
"""


def trained(folder: Path, processes: int) -> list[dict]:
    """What each process says of its training."""
    root = Path(__file__).parents[3]
    folder.mkdir()
    script = folder / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone",
               str(script), str(folder)]  # fmt: skip
    found = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin",
                           "OMP_NUM_THREADS": "1", "HOME": str(folder)}, capture_output=True, text=True)  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


def test_two_processes_take_the_same_steps_and_no_row_twice(tmp_path):
    one, two = trained(tmp_path / "two", 2)
    assert one["steps"] == two["steps"] and one["weights"] == two["weights"]
    steps = one["steps"] // 3
    for epoch in range(3):
        batches = [batch for own in (one, two) for batch in own["seen"][epoch * steps : (epoch + 1) * steps]]
        assert sorted(row for batch in batches for row in batch) == list(range(61)), f"epoch {epoch}"
    (alone,) = trained(tmp_path / "one", 1)
    assert abs(alone["steps"] - 2 * one["steps"]) <= 3, "half the steps of one process"
