"""Tiny DataGrand files, and stages run on them by members small enough to train in a second."""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.contest import Contest
from common.files import write_lines
from common.run import Run
from competitions.launch import configured, launch

ROOT = Path(__file__).parents[2]
CONTEST = "datagrand_extraction"
# What makes an entity: 11 goes with 12 (a), 21 with 22 and 23 (b), 31 stands alone (c). 40 to 59 is the text around.
ENTITIES = {"a": ["11", "12"], "b": ["21", "22", "23"], "c": ["31"]}
RECURRENT = "members.bilstm_crf.architecture"
TINY = [
    "folds=2", "workers=1", "members.bilstm_crf.word_vectors.epochs=1",
    f"{RECURRENT}.embedding_size=8", f"{RECURRENT}.bigram_size=4", f"{RECURRENT}.hidden_size=24",
    f"{RECURRENT}.embedding_dropout=0.1", f"{RECURRENT}.bigram_dropout=0.1",
    *(f"members.{name}.{setting}" for name in ("bilstm_crf", "span_pointers")
      for setting in ("dropout=0.1", "training.epochs=2", "training.batch_size=4",
                      "training.recurrent_learning_rate=0.03", "training.head_learning_rate=0.03",
                      "training.precision=fp32")),
    "members.sparse_crf.iterations=8", "members.sparse_crf.clusters=4", "members.sparse_crf.cluster_epochs=1",
    "members.bert_crf.recurrent_size=4", "members.bert_crf.training.max_steps=1",
]  # fmt: skip


def some_line(draw: random.Random) -> str:
    """A line of 8 to 20 numbers in train.txt's format; one in five has no entity, and entities may be neighbours."""
    wanted, segments, length = draw.randint(8, 17), [], 0
    if draw.random() < 0.2:
        return "_".join(str(draw.randint(40, 59)) for _ in range(wanted)) + "/o"
    while length < wanted:
        around = not (segments and segments[-1].endswith("/o")) and draw.random() < 0.7
        tag = "o" if around else draw.choice("abc")
        tokens = [str(draw.randint(40, 59)) for _ in range(draw.randint(1, 4))] if around else ENTITIES[tag]
        segments.append("_".join(tokens) + f"/{tag}")
        length += len(tokens)
    return "  ".join(segments)


def untagged(line: str) -> str:
    """A labelled line as test.txt would have it."""
    return "_".join(segment.rpartition("/")[0] for segment in line.split("  "))


@dataclass(frozen=True)
class Datagrand:
    """The contest on files in `data`, its run in `output`. words: settings that every stage gets."""

    data: Path
    output: Path
    words: tuple[str, ...] = ()

    def settings(self, *words: str) -> list[str]:
        """What stands after the stage on the command line."""
        return [*TINY, f"data_dir={self.data}", f"output_dir={self.output}", *self.words, *words]

    def run(self, stage: str, *words: str) -> Any:
        """A stage, in this process and with one thread, whatever the stage chose for its trials."""
        import torch

        try:
            return launch(CONTEST, stage, [], self.settings(*words))
        finally:
            torch.set_num_threads(1)

    def command(self, stage: str, *words: str, module: tuple[str, ...] = ("competitions",)) -> list[str]:
        """The stage as a command line of its own."""
        return [sys.executable, "-m", *module, CONTEST, stage, *self.settings(*words)]

    def contest(self, *words: str) -> Contest:
        """The contest, configured."""
        return configured(CONTEST, [], self.settings(*words))

    def units(self, *words: str) -> dict[str, Path]:
        """The folder of each unit of the run, by the unit's name."""
        run = Run(self.contest(*words))
        return {unit.name: run.unit_folder(unit) for unit in run.units()}

    def contents(self) -> dict[str, bytes]:
        """Every file of the run but its log, which each stage adds to."""
        files = (path for path in sorted(self.output.rglob("*")) if path.is_file() and path.name != "log.txt")
        return {str(path.relative_to(self.output)): path.read_bytes() for path in files}


def write_files(folder: Path, lines: int = 60, seed: int = 1) -> Path:
    """train.txt with `lines` lines, of which the last two repeat the first two; test.txt, gold.txt and corpus.txt."""
    draw = random.Random(seed)
    train = [some_line(draw) for _ in range(lines - 2)]
    gold = [some_line(draw) for _ in range(12)]
    write_lines(folder / "train.txt", [*train, *train[:2]])
    write_lines(folder / "gold.txt", gold)
    write_lines(folder / "test.txt", map(untagged, gold))
    write_lines(folder / "corpus.txt", (untagged(some_line(draw)) for _ in range(40)))
    return folder


@pytest.fixture(scope="session")
def datagrand_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny official files, for reading only."""
    return write_files(tmp_path_factory.mktemp("datagrand"))


@pytest.fixture
def datagrand(datagrand_files: Path, tmp_path: Path) -> Datagrand:
    """The contest on the tiny files with a run of its own."""
    return Datagrand(datagrand_files, tmp_path / "run")


@pytest.fixture
def own_files(tmp_path: Path) -> Datagrand:
    """The contest on files that the test may spoil."""
    return Datagrand(write_files(tmp_path / "data"), tmp_path / "run")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are faster with one thread, and the same in this process and in another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def log_closed() -> Iterator[None]:
    """A stage sends its log to a console and a file that are gone after the test."""
    yield
    logger = logging.getLogger("common")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


@pytest.fixture
def elsewhere() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a process of its own, with one thread."""

    def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=single_threaded() | environment)

    return run


def single_threaded() -> dict[str, str]:
    """The environment of a child process with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
