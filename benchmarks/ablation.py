"""python -m benchmarks.ablation datasets=FOLDER [--config GRID.yaml] [key=value ...]

What does each training trick do to the score, the time and the memory of a fit? Fits every row of a grid (a trick) on
every task with every seed, and writes a table and a picture of the differences to the plain recipe.

Keys, over those of benchmarks/ablation.yaml, where tasks and rows are declared (tasks.NAME.train_rows=1000 works too):
  datasets=FOLDER      the public data sets                          (default ../shared/datasets)
  encoder=NAME         what pretrained tasks start from              (default models/pretrained)
  use=[TASK,...]       which tasks                                   only=[ROW,...]  which rows beside plain
  seeds=[1,2,3]        of weights, order and dropout                 full=true       all rows and folds of the data
  workers=1            processes, each of one thread; 0 fits nothing and writes what is finished
  output_dir=FOLDER    one file for each fit                         (default outputs/benchmarks/ablation)
  results=FILE         the file whose section is replaced; none when empty (default benchmarks/RESULTS.md)
  picture=FILE         none when empty                               (default benchmarks/ablation.png)

The same command goes on where it was cut off.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.command import command

GRID = Path(__file__).with_suffix(".yaml")


@dataclass
class Settings:
    """The keys that the head of this file explains. tasks, rows: see TaskConfig and RowConfig."""

    datasets: str = "../shared/datasets"
    encoder: str = "models/pretrained"
    tasks: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    use: list[str] = field(default_factory=list)
    only: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    full: bool = False
    workers: int = 1
    output_dir: str = "outputs/benchmarks/ablation"
    results: str = "benchmarks/RESULTS.md"
    picture: str = "benchmarks/ablation.png"


def main(words: list[str]) -> int:
    """Runs the benchmark; returns the exit status, see `command`."""
    return command(words, __doc__, lambda: measure(read_settings(words), words))


def read_settings(words: list[str]) -> Settings:
    """Settings from the grid and `key=value` words over it, with tasks and rows typed. Raises ConfigError."""
    from benchmarks.ablation_units import PLAIN, RowConfig, TaskConfig
    from common.config import ConfigError, nearest, read_config, resolved, typed

    grid, values = GRID, list(words)
    if "--config" in values:
        place = values.index("--config")
        grid = Path((values[place + 1 : place + 2] or [""])[0])
        del values[place : place + 2]
    settings = typed(Settings, resolved(read_config([grid], values)))
    tasks = {name: typed(TaskConfig, value or {}, f"tasks.{name}") for name, value in settings.tasks.items()}
    rows = {name: typed(RowConfig, value or {}, f"rows.{name}") for name, value in settings.rows.items()}
    for key, asked, known in (("use", settings.use, tasks), ("only", settings.only, rows)):
        for name in asked:
            if name not in known:
                raise ConfigError(f"{key} names {name!r}{nearest(name, known)}")
    if PLAIN not in rows or rows[PLAIN].settings:
        raise ConfigError(f"rows need one named {PLAIN!r} without settings: the others are compared with it")
    if not settings.seeds or min(settings.seeds) < 1 or settings.workers < 0:
        raise ConfigError("seeds are whole numbers from 1, workers one from 0")
    settings.tasks = {name: task for name, task in tasks.items() if name in (settings.use or tasks)}
    settings.rows = {name: row for name, row in rows.items() if name == PLAIN or name in (settings.only or rows)}
    if settings.full:
        for task in settings.tasks.values():
            task.train_rows, task.scored_rows, task.folds = 0, 0, [0, 1, 2, 3, 4]
    return settings


def measure(settings: Settings, words: list[str]) -> None:
    """Runs what is not finished, prints the table, and writes table and picture."""
    from benchmarks.ablation_memory import memory_plan
    from benchmarks.ablation_units import plan
    from benchmarks.units import run
    from common.config import ConfigError
    from common.logs import log, start_log

    folder = Path(settings.output_dir)
    start_log(folder)
    try:
        units = plan(settings.tasks, settings.rows, settings.seeds, settings.datasets, settings.encoder, folder)
    except FileNotFoundError as error:
        raise ConfigError(f"encoder={settings.encoder}: {error}") from None
    memory = memory_plan(units)
    if settings.workers:
        run([*units, *memory], settings.workers)
    from benchmarks.ablation_table import compared, draw, section
    from benchmarks.results import replace_section

    found = compared(units, memory, settings.tasks)
    text = section(found, words)
    log.info(text)
    if settings.picture:
        draw(found, Path(settings.picture))
    if settings.results:
        replace_section(Path(settings.results), "ablation", text)
        log.info(f"\nwritten into {settings.results}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
