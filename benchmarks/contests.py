"""python -m benchmarks.contests datasets=FOLDER [key=value ...]

What do the contest folders reach as they are? Runs each one's own stages (train, ensemble, check) with its own config
on public data, and writes a table of every member and the blend into benchmarks/RESULTS.md.

Keys:
  datasets=FOLDER      the public data sets                          (default ../shared/datasets)
  tasks=lcqmc,ocnli    which: chnsenticorp chnsenticorp_clean resume lcqmc ocnli cluener cmrc2018 c3  (default all)
  members=tfidf        these members alone                           (default those of each config)
  seeds=1,2            seeds of weights, order and dropout           (default 1)
  workers=1            units side by side, each of one thread        (default 1)
  output_dir=FOLDER    one run a task                                (default outputs/benchmarks/contests)
  results=FILE         the file whose section is replaced; none when empty (default benchmarks/RESULTS.md)
  rows=0               only so many rows of each set, to try things; such a table is not written into `results`

The same command goes on where it was cut off; the section has what is finished so far. Fits are kept by their settings:
after a change of code, or of the encoder's weights under the same name, take another output_dir.
"""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.command import command, listed

LISTS = ("tasks", "members", "seeds")


@dataclass
class Settings:
    """The keys that the head of this file explains; empty lists stand for everything."""

    datasets: str = "../shared/datasets"
    tasks: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [1])
    workers: int = 1
    output_dir: str = "outputs/benchmarks/contests"
    results: str = "benchmarks/RESULTS.md"
    rows: int = 0


def main(words: list[str]) -> int:
    """Runs the benchmark; returns the exit status, see `command`."""
    return command(words, __doc__, lambda: measure(read_settings(words)))


def read_settings(words: list[str]) -> Settings:
    """Settings from `key=value` words; lists may be written with or without brackets. Raises ConfigError."""
    from benchmarks.contest_tasks import TASKS
    from common.config import ConfigError, nearest, read_config, resolved, typed

    settings = typed(Settings, resolved(read_config([], listed(words, LISTS))))
    for name in settings.tasks:
        if name not in TASKS:
            raise ConfigError(f"tasks: unknown {name!r}{nearest(name, TASKS)}")
    settings.tasks = [name for name in TASKS if name in (settings.tasks or TASKS)]
    if not settings.seeds or settings.workers < 1 or min(settings.seeds) < 1:
        raise ConfigError("seeds and workers are whole numbers from 1")
    return settings


def measure(settings: Settings) -> None:
    """Runs what is not finished, task by task, and after each writes the section anew."""
    from benchmarks.contest_runs import run
    from benchmarks.contest_tables import report, table
    from benchmarks.contest_tasks import TASKS
    from benchmarks.results import replace_section
    from common.files import read_json, write_json
    from common.logs import log

    for name in settings.tasks:
        path = Path(settings.output_dir) / name / "result.json"
        found = run(name, settings)
        write_json(path, found)
        log.info(f"\n{table(found)}")
        if settings.results and not settings.rows:
            paths = {name: Path(settings.output_dir) / name / "result.json" for name in TASKS}
            finished = {name: read_json(path) for name, path in paths.items() if path.exists()}
            words = [f"datasets={settings.datasets}", f"seeds={','.join(map(str, settings.seeds))}"]
            replace_section(Path(settings.results), "contests", report(shlex.join(words), finished))
            log.info(f"\nwritten into {settings.results}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
