"""python -m benchmarks.encoder datasets=FOLDER encoder=NAME [key=value ...]

Does an encoder pay? Fine-tunes it, and the same architecture from random weights, with one recipe, on seven public
tasks, next to a baseline without any encoder, and writes the table into benchmarks/RESULTS.md.

Keys:
  datasets=FOLDER      the public data sets                          (default ../shared/datasets)
  encoder=NAME         a hub id or a local folder                    (default models/pretrained)
  tasks=lcqmc,bq       which tasks: chnsenticorp resume lcqmc bq ocnli sohu people_daily, and
                       lcqmc_plain bq_plain sohu_plain, without marks on n-grams that both texts have  (default all)
  starts=random        which of pretrained, random, baseline         (default all); random needs no weights, only
                       config.json and the tokenizer
  seeds=1,2,3          seeds of weights, order and dropout           (default 1,2,3)
  workers=2            processes, each of one thread                 (default 2)
  output_dir=FOLDER    one file for each fit                         (default outputs/benchmarks/encoder)
  results=FILE         the file whose section is replaced; none when empty (default benchmarks/RESULTS.md)
  rows=0               only so many rows of each set, to try things; such a table is not written into `results`

The same command goes on where it was cut off. A new encoder is measured anew; the other starts are kept.
"""

import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.command import command, listed

LISTS = ("tasks", "starts", "seeds")


@dataclass
class Settings:
    """The keys that the head of this file explains; empty lists stand for everything."""

    datasets: str = "../shared/datasets"
    encoder: str = "models/pretrained"
    tasks: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    workers: int = 2
    output_dir: str = "outputs/benchmarks/encoder"
    results: str = "benchmarks/RESULTS.md"
    rows: int = 0


def main(words: list[str]) -> int:
    """Runs the benchmark; returns the exit status, see `command`."""
    return command(words, __doc__, lambda: measure(read_settings(words)))


def read_settings(words: list[str]) -> Settings:
    """Settings from `key=value` words; lists may be written with or without brackets. Raises ConfigError."""
    from benchmarks.encoder_units import STARTS
    from benchmarks.tasks import TASKS
    from common.config import ConfigError, nearest, read_config, resolved, typed

    settings = typed(Settings, resolved(read_config([], listed(words, LISTS))))
    for key, known in (("tasks", TASKS), ("starts", STARTS)):
        for name in getattr(settings, key):
            if name not in known:
                raise ConfigError(f"{key}: unknown {name!r}{nearest(name, known)}")
    settings.tasks = [name for name in TASKS if name in (settings.tasks or TASKS)]
    settings.starts = [name for name in STARTS if name in (settings.starts or STARTS)]
    if not settings.seeds or settings.workers < 1 or min(settings.seeds) < 1:
        raise ConfigError("seeds and workers are whole numbers from 1")
    return settings


def measure(settings: Settings) -> None:
    """Runs what is not finished, prints the table, and writes it into the results."""
    from benchmarks.encoder_table import results, table
    from benchmarks.encoder_units import STARTS, plan
    from benchmarks.results import replace_section
    from benchmarks.units import run
    from common.config import ConfigError
    from common.logs import log, start_log

    folder = Path(settings.output_dir)
    start_log(folder)

    def planned(starts):
        return plan(settings.tasks, starts, settings.seeds, settings.encoder, settings.datasets, settings.rows, folder)

    try:
        units = planned(settings.starts)
    except FileNotFoundError as error:
        raise ConfigError(f"encoder={settings.encoder}: {error}") from None
    run(units, settings.workers)
    for start in STARTS:
        # What earlier commands measured of the other starts belongs into the table too, where the encoder allows it.
        if start not in settings.starts:
            with suppress(FileNotFoundError, ConfigError):
                units += planned([start])
    found = results(units)
    log.info(f"\n{table(found, settings.tasks)}")
    if settings.results and not settings.rows:
        replace_section(Path(settings.results), "encoder", report(settings, found))
        log.info(f"\nwritten into {settings.results}")


def report(settings: Settings, found) -> str:
    """The section of the results: the table, and what it takes to repeat it."""
    from benchmarks.encoder_table import recipes, table, time_spent
    from benchmarks.results import circumstances

    words = [f"datasets={settings.datasets}", f"encoder={settings.encoder}",
             f"seeds={','.join(map(str, settings.seeds))}"]  # fmt: skip
    return f"""## Does the encoder pay?

    python -m benchmarks.encoder {shlex.join(words)}

`{settings.encoder}` and the same architecture from random weights, fine-tuned by the same recipe; mean and standard
deviation over {len(settings.seeds)} seeds (same folds). Folds share no text; a seed's score is that of all its held-out
rows together, by models that never saw them; epochs are fixed in advance and the last is kept. F1 of pairs: the
threshold of a fold is fitted on the others.

{table(found, settings.tasks)}

Published, for scale only: MiniRBT-H256 (10 million parameters, distilled), trained on the whole official training sets,
scored on other rows. Of ChnSentiCorp's training file, texts that stand in dev too and repetitions were taken out.

{recipes(settings.tasks)}

AdamW, linear decay after a tenth of warmup, dropout 0.1. {circumstances()}; one thread a fit: {time_spent(found)}.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
