"""Errors name file, line and what to do; a write happens as a whole or not at all."""

import bz2
import errno
import gzip
import lzma
import os
import tempfile
from pathlib import Path

import pytest

from common.files import (
    DataError,
    atomic_path,
    existing,
    read_json,
    read_json_lines,
    read_lines,
    write_json,
    write_lines,
    write_text,
)


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Reading


def test_lines_keep_everything_but_their_ends(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes("\ufeff一\r\n \u2028二\t\n\n三\r四".encode())
    assert list(read_lines(path)) == [(1, "一"), (2, " \u2028二\t"), (3, ""), (4, "三\r四")]


def test_only_the_first_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes("\ufeffa\n\ufeffb\n".encode())
    assert list(read_lines(path)) == [(1, "a"), (2, "\ufeffb")]


def test_another_encoding_is_named_with_its_line_and_the_command_that_mends_it(tmp_path):
    path = tmp_path / "gb.txt"
    path.write_bytes(b"ascii\n" + "ab中文\n".encode("gb18030"))
    lines = read_lines(path)
    assert next(lines) == (1, "ascii")
    with pytest.raises(DataError, match=r"gb\.txt:2: not UTF-8 \(byte 3 of the line is 0xd6\).*iconv -f GB18030"):
        next(lines)


@pytest.mark.parametrize(
    ("pack", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz, under another name")]
)
def test_packed_files_are_named(tmp_path, pack, kind):
    path = tmp_path / "rows.txt.gz"
    path.write_bytes(pack("一二三四\n".encode() * 50))
    with pytest.raises(DataError, match=rf"rows.txt.gz: is packed \({kind}\); expected .*; unpack it first"):
        list(read_lines(path))


def test_xz_files_are_unpacked_on_the_way(tmp_path):
    path = tmp_path / "rows.txt.xz"
    path.write_bytes(lzma.compress("\ufeff一\r\n\n二".encode()))
    assert list(read_lines(path)) == [(1, "一"), (2, ""), (3, "二")]
    path.write_bytes(lzma.compress("一\n".encode() + b"\xd6\n"))
    with pytest.raises(DataError, match=r"rows\.txt\.xz:2: not UTF-8"):
        list(read_lines(path))


@pytest.mark.parametrize("content", [b"no xz", lzma.compress(b"line\n" * 99)[:-9]])
def test_broken_xz_files_are_named(tmp_path, content):
    (tmp_path / "rows.txt.xz").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.txt\.xz: not a whole \.xz file.*fetch or pack it again"):
        list(read_lines(tmp_path / "rows.txt.xz"))


def test_absent_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.txt: no such file.*expected a readable UTF-8"):
        list(read_lines(tmp_path / "nothing.txt"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_lines(tmp_path))
    with pytest.raises(DataError, match=r"train\.csv.*expected the training file; download it"):
        existing(tmp_path / "train.csv", "the training file", "download it")
    assert existing(str(tmp_path), "a folder", "") == tmp_path


def test_json_lines_carry_their_line_numbers_past_blank_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, ['{"id": 1}', "  ", '{"id": 2, "text": "好"}'])
    assert list(read_json_lines(path, required=("id",))) == [(1, {"id": 1}), (3, {"id": 2, "text": "好"})]


def test_one_json_array_is_read_like_lines(tmp_path):
    path = tmp_path / "rows.json"
    write_lines(path, ["", '[{"id": 1},', ' {"id": 2,', '  "text": "好"}', "]"])
    assert list(read_json_lines(path, required=("id",))) == [(2, {"id": 1}), (3, {"id": 2, "text": "好"})]
    for text, message in (('[{"id": 1},\n {"id" 2}]', r":2: not JSON"), ('[{"id": 1}\n {"id": 2}]', "no comma"),
                          ('[{"id": 1},\n2]', ":2: a JSON int"), ('[{"id": 1},', "not JSON")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            list(read_json_lines(path))
    path.write_text("[]")
    assert list(read_json_lines(path)) == []


def test_another_encoding_is_named_with_the_command_that_converts_it(tmp_path):
    for encoding, name in (("gb18030", "GB18030"), ("utf-16", "UTF-16")):
        (tmp_path / "rows.csv").write_bytes("很好,1\n".encode(encoding))
        with pytest.raises(DataError, match=f"iconv -f {name} -t UTF-8 rows.csv > utf8_rows.csv"):
            list(read_lines(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1', r"rows\.jsonl:2: not JSON \(.* at column 9\); expected one JSON object a line"),
        ("[1, 2]", r"rows\.jsonl:2: a JSON list; expected a JSON object"),
        ('{"other": 1, "x": 2}', r"rows\.jsonl:2: no key 'id' \(keys: 'other', 'x'\); expected the keys id, text"),
        ("{}", r"no key 'id' \(keys: none\)"),
    ],
)
def test_faulty_json_lines_are_named(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    write_lines(path, ['{"id": 1, "text": ""}', line])
    rows = read_json_lines(path, required=["id", "text"])
    next(rows)
    with pytest.raises(DataError, match=message):
        next(rows)


def test_broken_json_files_are_named(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"a": ')
    with pytest.raises(DataError, match=r"state\.json: not JSON .*delete it"):
        read_json(path)
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "absent.json")


# Writing


def test_what_is_written_is_read_back(tmp_path):
    write_lines(tmp_path / "deep" / "er" / "a.txt", iter(["一", "", "b"]))
    assert (tmp_path / "deep/er/a.txt").read_bytes() == "一\n\nb\n".encode()
    write_json(tmp_path / "a.json", {"中": [1, None]})
    assert "中" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"中": [1, None]}
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "a.json"}


def failing_lines():
    yield "new"
    raise RuntimeError("stopped half-way")


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half-way"):
        write_lines(path, failing_lines())
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_failing_first_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "out.txt") as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_readers_see_the_old_file_until_the_block_ends(tmp_path):
    path = tmp_path / "out.txt"
    write_text(path, "old")
    with atomic_path(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["model", "replaced"])
def test_a_folder_takes_the_place_of_a_folder_as_a_whole(tmp_path, name):
    path = tmp_path / name
    for files in (["a", "b"], ["c"]):
        with atomic_path(path) as draft:
            draft.mkdir()
            for file in files:
                (draft / file).touch()
    assert [item.name for item in path.iterdir()] == ["c"] and list(tmp_path.iterdir()) == [path]
    with pytest.raises(RuntimeError), atomic_path(path) as draft:
        draft.mkdir()
        raise RuntimeError
    assert [item.name for item in path.iterdir()] == ["c"] and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    replace, calls = os.replace, []

    def fails_at_the_second(*names):
        calls.append(names)
        return full_disk() if len(calls) == 2 else replace(*names)

    monkeypatch.setattr(os, "replace", fails_at_the_second)
    with pytest.raises(DataError, match="unchanged"), atomic_path(path) as draft:
        draft.mkdir()
    assert [item.name for item in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("owner", "name"), [(tempfile, "mkdtemp"), (Path, "write_text"), (os, "replace")], ids=["before", "during", "after"]
)
def test_a_full_disk_names_file_and_action_and_keeps_the_old_file(tmp_path, monkeypatch, owner, name):
    path = tmp_path / "out.txt"
    write_text(path, "old")
    monkeypatch.setattr(owner, name, full_disk)
    with pytest.raises(DataError, match=r"out\.txt: cannot be written \(No space left.*free space or choose another"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/out\.txt: cannot be written"):
        write_text(tmp_path / "file" / "out.txt", "x")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(DataError, match=r"locked/out\.txt: cannot be written \(Permission denied\)"):
        write_text(folder / "out.txt", "x")
    folder.chmod(0o700)
    assert not list(folder.iterdir())
