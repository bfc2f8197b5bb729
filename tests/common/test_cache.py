"""An entry of the cache is made once, whole, by its content; without a cache everything works as it does with one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from common import cache
from common.cache import DiskCache, code_version, content_of, fingerprint, of_texts, of_values


def read(folder: Path) -> str:
    return (folder / "value.txt").read_text()


def maker(value: str, made: list[str] | None = None):
    def make(folder: Path) -> None:
        (folder / "value.txt").write_text(value)
        if made is not None:
            made.append(value)

    return make


def test_an_entry_is_made_once_and_another_key_is_another_entry(tmp_path):
    own, made = DiskCache(tmp_path), []
    assert [own.get("x", key, maker(key, made), read) for key in ("a", "b", "a", "b")] == ["a", "b", "a", "b"]
    assert made == ["a", "b"] and (own.hits, own.misses) == (2, 2)


def test_what_fails_halfway_leaves_nothing(tmp_path):
    own = DiskCache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "value.txt").write_text("half")
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        own.get("x", "a", fail, read)
    assert not [path for path in tmp_path.iterdir() if path.name != ".locks"]
    assert own.get("x", "a", maker("whole"), read) == "whole"


def test_a_broken_entry_is_made_anew(tmp_path):
    own = DiskCache(tmp_path)
    own.get("x", "a", maker("value"), read)
    for damage in (lambda file: file.write_text("val"), os.remove):
        damage(tmp_path / "x-a" / "value.txt")
        assert own.get("x", "a", maker("value"), read) == "value"
    assert own.misses == 3


def test_the_oldest_go_when_there_is_too_much(tmp_path):
    own = DiskCache(tmp_path, gigabytes=2500 / 1e9)
    for number, key in enumerate("abcd"):
        own.get("x", key, maker("." * 1000), read)
        if (tmp_path / f"x-{key}").exists():
            os.utime(tmp_path / f"x-{key}", (number, number))
        if key == "b":
            own.get("x", "a", maker("." * 1000), read)  # used again: b is the older one now
    assert {path.name for path in tmp_path.glob("x-*")} == {"x-a", "x-d"}


def test_where_nothing_can_be_written_the_caller_does_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert DiskCache(tmp_path / "file" / "cache").get("x", "a", maker("value"), read) is None
    assert DiskCache(tmp_path, gigabytes=0).get("x", "a", maker("value"), read) is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert cache.current() is None and cache.kept("x", lambda: 1 / 0, maker("value"), read) is None


WORKER = """
import sys, time
from pathlib import Path
from common.cache import DiskCache

def make(folder):
    print("made", flush=True)
    time.sleep(0.5)
    (folder / "value.txt").write_text("v" * 100_000)

print(len(DiskCache(sys.argv[1]).get("x", "a", make, lambda folder: (folder / "value.txt").read_text())))
"""


def test_of_two_processes_one_makes_it_and_the_other_waits(tmp_path):
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=60)[0] for process in processes)
    assert said.count("made") == 1 and said.count("100000") == 2


def test_a_killed_maker_blocks_nobody(tmp_path):
    root = Path(__file__).parents[2]
    endless = WORKER.replace("0.5", "60")
    process = subprocess.Popen([sys.executable, "-c", endless, str(tmp_path)], cwd=root, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.wait()
    started = time.time()
    assert DiskCache(tmp_path).get("x", "a", maker("value"), read) == "value" and time.time() - started < 5


def test_fingerprints_tell_apart_what_differs():
    table = pd.DataFrame({"id": ["1", "2"], "tokens": [["a", "b"], ["c"]], "label": [0, 1]})
    moved = table.assign(tokens=[["a"], ["b", "c"]])
    assert content_of(table) == content_of(table.assign(id=["3", "4"])) == content_of(table.copy())
    different = [table, moved, table.iloc[::-1], table.assign(label=[1, 1]), table.rename(columns={"label": "task"})]
    assert len({content_of(each) for each in different}) == len(different)
    assert of_values([["a"], ["b"]]) != of_values([["a", "b"]]) != of_values([["ab"]])
    assert of_values([[str(number) for number in range(2500)]]) != of_values([[str(number) for number in range(2501)]])
    assert fingerprint("a", "b") != fingerprint("ab") and fingerprint({"a": 1}) == fingerprint({"a": 1})


def test_texts_may_say_what_they_are():
    class Files:
        def content(self) -> str:
            return "digest of the files"

    assert list(of_texts(Files())) == ["digest of the files"] and list(of_texts(["a"])) == ["a"]


def test_code_is_part_of_what_decides():
    assert code_version("common/text") != code_version("common/training") and len(code_version("common/text")) == 32
