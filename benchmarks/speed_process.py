"""Whole commands from outside: how soon they answer, how soon they train, and the most memory that they take."""

import json
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks.speed_lengths import datagrand_rows, sohu_rows
from benchmarks.speed_measure import Row, command

# Stands in for `python -m competitions`, says when the first step begins (and may end there), and the peak of memory.
WATCHED = """
import os, sys, time
from competitions.__main__ import main
from benchmarks.speed_measure import memory_now

if os.environ.get("STOP_AT_STEP"):
    from transformers import Trainer
    def first(self, *words, **settings):
        print(time.time(), flush=True)
        os._exit(0)
    Trainer.training_step = first
status = main(sys.argv[1:])
print(memory_now())
sys.exit(status)
"""
CONTESTS = {"datagrand_extraction": "bilstm_crf", "sohu_matching": "recurrent_norm"}


def start_rows(quick: bool) -> list[Row]:
    """`--help`, and the first step of training when vocabulary, word vectors and features are in the cache."""
    times = [command(["-m", "competitions", "--help"])[0] for _ in range(3 if quick else 5)]
    rows = [Row("python -m competitions --help", "wall time", f"{median(times):.2f} s", "", "", "< 1 s",
                median(times) < 1)]  # fmt: skip
    for contest, member in CONTESTS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_contest(contest, folder, 600 if quick else 6000)
            seconds = [first_step(contest, member, folder, turn) for turn in range(2 if quick else 6)]
        later = median(seconds[1:])
        rows.append(Row(f"first training step, {contest}, cached", "with an empty cache, wall time", f"{later:.1f} s",
                        f"{seconds[0]:.1f} s", "", "< 10 s", later < 10))  # fmt: skip
    return rows


def first_step(contest: str, member: str, folder: Path, turn: int) -> float:
    """Wall seconds from the command to its first step, of a new run each turn."""
    words = [contest, "train", f"data_dir={folder / 'data'}", f"output_dir={folder / 'runs' / str(turn)}",
             f"only={member}/fold-0/seed-1", "workers=1"]  # fmt: skip
    begun = time.time()
    said = command(["-c", WATCHED, *words], STOP_AT_STEP="1")[1]
    return float(said.splitlines()[-1]) - begun


def memory_rows(quick: bool) -> list[Row]:
    """The peak of memory of a training and of a prediction, and with twice as many rows."""
    rows = []
    for contest, member in CONTESTS.items():
        peaks: dict[str, list[float]] = {"train": [], "predict": []}
        for count in (300, 600) if quick else (2000, 4000):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_contest(contest, folder, count)
                run = [f"data_dir={folder / 'data'}", f"output_dir={folder / 'run'}"]
                settings = f"members.{member}"
                steps = [f"{settings}.training.epochs=1", f"{settings}.word_vectors.epochs=0", "folds=2",
                         f"use=[{member}]"]  # fmt: skip
                words = [contest, "train", *run, *steps, f"only={member}/fold-0", "workers=1"]
                peaks["train"].append(peak(words))
                peak([contest, "train", *run, *steps, "workers=1"])
                peak([contest, "ensemble", *run, *steps])
                test = next((folder / "data").rglob("test*.txt"))
                words = [contest, "predict", f"run={folder / 'run'}", f"input={test}", f"output={folder / 'out.txt'}"]
                peaks["predict"].append(peak(words))
        for stage, (one, two) in peaks.items():
            growth = 100 * (two / one - 1)
            rows.append(Row(f"peak memory, {stage}, {contest}, {count // 2:,} and {count:,} rows", "", f"{one:,.0f} MB",
                            f"{two:,.0f} MB", f"{growth:+.1f}%", "≤ 5%", growth <= 5))  # fmt: skip
    return rows


def peak(words: list[str]) -> float:
    """The most memory of a command, in MB."""
    return float(command(["-c", WATCHED, *words])[1].splitlines()[-1])


def write_contest(contest: str, folder: Path, count: int) -> None:
    """Files in a contest's own format, `count` training rows and as many test rows."""
    if contest == "datagrand_extraction":
        from competitions.datagrand_extraction.data import write_tagged

        rows, test = datagrand_rows(count), datagrand_rows(count, 1)
        write_tagged(folder / "data" / "train.txt", rows["tokens"].tolist(), rows["spans"].tolist())
        (folder / "data" / "test.txt").write_text("\n".join(map("_".join, test["tokens"])) + "\n")
        return
    place = folder / "data" / "短短匹配A类"
    place.mkdir(parents=True)
    for name, rows in (("train.txt", sohu_rows(count)), ("test_with_id.txt", sohu_rows(count, seed=1))):
        _write_pairs(place / name, rows, labelled=name == "train.txt")


def _write_pairs(path: Path, rows: pd.DataFrame, labelled: bool) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows.itertuples():
            pair = {"source": row.source, "target": row.target}
            extra = {"labelA": str(row.label)} if labelled else {"id": f"{row.id}a"}
            stream.write(json.dumps(pair | extra, ensure_ascii=False) + "\n")
