"""A pool's processes: they have begun before they work, and end with the one that made them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from common.processes import cores, pool_of

ROOT = Path(__file__).parents[2]
said: list[str] = []

PARENT = """
import time
from common.processes import pool_of
from tests.common.test_processes import remember, say_who_and_stay

if __name__ == "__main__":
    pool = pool_of(2, remember, "")
    for _ in range(2):
        pool.submit(say_who_and_stay)
    time.sleep(600)
"""


def remember(word: str) -> None:
    said.append(word)


def remembered() -> list[str]:
    return said


def say_who_and_stay() -> None:
    print(os.getpid(), flush=True)
    sleep(600)


def alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_cores_are_counted_where_the_system_does_not_say_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()


def test_each_process_begins_with_the_arguments() -> None:
    with pool_of(1, remember, "a") as pool:
        assert pool.submit(remembered).result() == ["a"] and said == []


def test_they_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(map(alive, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = monotonic() + 20
    while any(map(alive, workers)) and monotonic() < until:
        sleep(0.1)
    assert not any(map(alive, workers))
