"""Text files by name or pattern, and a contest's texts as one of them."""

import os
from pathlib import Path

import pytest

from common.files import DataError
from common.text.corpus_files import corpus_files, lines_of, text_names, write_corpus


def test_names_and_patterns_each_stand_for_files_that_come_once(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "[c].txt", "d.txt.xz"):
        (tmp_path / name).write_text(name)
    found = corpus_files([f"{tmp_path}/b.txt", f"{tmp_path}/?.txt", f"{tmp_path}/[c].txt"])
    assert [file.name for file in found] == ["b.txt", "a.txt", "[c].txt"]
    for patterns, message in (([], "no text to pretrain on"), ([f"{tmp_path}/*.text"], "no such file")):
        with pytest.raises(DataError, match=message):
            corpus_files(patterns)


def test_texts_of_one_name_are_told_apart() -> None:
    assert text_names([Path("a/x.txt"), Path("b/x.txt.xz"), Path("y.txt")]) == ["x_0", "x_1", "y"]


def test_a_contests_texts_are_documents_each_once(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    write_corpus(path, iter(["今天\n 天气 ", "北京", "", "今天\n天气"]))
    assert list(lines_of([path])) == ["今天", "天气", "", "北京", ""]


def test_a_corpus_that_is_the_same_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    write_corpus(path, ["今天"])
    os.utime(path, ns=(10**18, 10**18))
    write_corpus(path, ["今天"])
    assert path.stat().st_mtime_ns == 10**18
    write_corpus(path, ["今天", "北京"])
    assert path.stat().st_mtime_ns != 10**18
