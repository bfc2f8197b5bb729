"""python -m competitions.demo: every contest on its demo data, from the files to a submission, and a table of scores.

It runs the same scripts that a competitor runs, with each contest's config/demo.yaml, and before them the stage
pretrain where that file says how.
"""

import subprocess
import sys
import time
from pathlib import Path

from common.config import ConfigError, read_config
from common.files import DataError, read_json
from competitions.launch import launch

HERE = Path(__file__).parent


def main(words: list[str]) -> int:
    """Builds the demo data, trains every contest that has a demo.yaml, prints the table. words: key=value for all."""
    from data.demo import main as build_data

    started, rows = time.time(), []
    if status := build_data([]):
        return status
    for config in sorted(HERE.glob("*/config/demo.yaml")):
        contest, began = config.parts[-3], time.time()
        own = list(words)
        if read_config([config], words).get("pretrain") and not any(word.startswith("encoder=") for word in words):
            own.append(f"encoder={launch(contest, 'pretrain', [config], words)}")
        command = ["bash", str(HERE / contest / "train.sh"), "--config", str(config), *own]
        if status := subprocess.run(command).returncode:
            return status
        metrics = read_json(Path(read_config([config], words).output_dir) / "metrics.json")
        gold = launch(contest, "score", [config], own)
        members = dict.fromkeys(unit.split("/")[0] for unit in metrics["units"])
        rows.append([contest, " + ".join(members), f"{metrics['score']:.4f}", f"{gold['score']:.4f}",
                     metrics["submission"], f"{time.time() - began:.0f}"])  # fmt: skip
    header = ["contest", "members", "out-of-fold", "held-out gold", "submission", "seconds"]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\ndone in {time.time() - started:.0f} s")
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
