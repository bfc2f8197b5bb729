"""DataGrand's format: what is written is read back, and a faulty file is named with its line and what to do."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import DataError
from competitions.datagrand_extraction.data import (
    TYPES,
    Corpus,
    parse_tagged,
    read_tagged,
    read_untagged,
    tagged_line,
    write_tagged,
)

NUMBERS = st.integers(0, 30_000).map(str)
# A line as pieces of (tokens, type or "o"), no two pieces outside of entities side by side.
PIECES = st.lists(
    st.tuples(st.lists(NUMBERS, min_size=1, max_size=4), st.sampled_from([*TYPES, "o"])), min_size=1, max_size=8
)
LINES = PIECES.filter(lambda pieces: all(a[1] != "o" or b[1] != "o" for a, b in itertools.pairwise(pieces)))


def assembled(pieces: list[tuple[list[str], str]]) -> tuple[list[str], list[tuple[int, int, str]]]:
    tokens, spans = [], []
    for own, kind in pieces:
        if kind != "o":
            spans.append((len(tokens), len(tokens) + len(own), kind))
        tokens = tokens + own
    return tokens, spans


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_line_by_hand() -> None:
    tokens, spans = parse_tagged("7_8_9/o  1_2/a  3/c  4/c  5/o", "train.txt", 1)
    assert tokens == ["7", "8", "9", "1", "2", "3", "4", "5"]
    assert spans == [(3, 5, "a"), (5, 6, "c"), (6, 7, "c")]
    assert tagged_line(tokens, spans) == "7_8_9/o  1_2/a  3/c  4/c  5/o"


@given(LINES)
def test_what_is_written_is_read_back(pieces: list) -> None:
    """Neighbouring entities of one type stay two."""
    tokens, spans = assembled(pieces)
    line = tagged_line(tokens, spans)
    assert parse_tagged(line, "train.txt", 1) == (tokens, spans)
    assert line == "  ".join("_".join(own) + f"/{kind}" for own, kind in pieces)


@given(LINES)
def test_the_order_of_spans_does_not_matter(pieces: list) -> None:
    tokens, spans = assembled(pieces)
    assert tagged_line(tokens, spans[::-1]) == tagged_line(tokens, spans)


def test_files_keep_their_order_and_number_their_lines(tmp_path: Path) -> None:
    rows, spans = [["5", "6"], ["7"], ["5", "6"]], [[(0, 2, "b")], [], [(1, 2, "a")]]
    write_tagged(tmp_path / "train.txt", rows, spans)
    table = read_tagged(tmp_path / "train.txt")
    assert (table["id"].tolist(), table["tokens"].tolist(), table["spans"].tolist()) == (["1", "2", "3"], rows, spans)
    plain = read_untagged(write(tmp_path / "test.txt", "5_6", "7"))
    assert (plain["tokens"].tolist(), plain["spans"].tolist()) == ([["5", "6"], ["7"]], [[], []])


def test_windows_line_ends_a_byte_order_mark_and_blanks_at_the_end_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf1_2/a  3/o\r\n4/o  \r\n")
    table = read_tagged(tmp_path / "train.txt")
    assert table["tokens"].tolist() == [["1", "2", "3"], ["4"]] and table["spans"][0] == [(0, 2, "a")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1_2/a 3/o", "two spaces between segments"),
        ("1_2/a\t3/o", "numbers joined by|two spaces between segments"),
        ("1_2/a   3/o", "numbers joined by|two spaces between segments"),
        ("1_2", "id_id/TAG with a TAG of a, b, c or o"),
        ("1_2/a  3", "id_id/TAG with a TAG of a, b, c or o"),
        ("1_2/d", "id_id/TAG with a TAG of a, b, c or o"),
        ("1_2/", "id_id/TAG with a TAG of a, b, c or o"),
        ("1_x/a", "numbers joined by"),
        ("1__2/a", "numbers joined by"),
        ("/a", "numbers joined by"),
        ("-1/a", "numbers joined by"),
        ("１_２/a", "numbers joined by"),
        ("", "at least one token"),
        ("   ", "at least one token"),
        ('{"source": "甲", "target": "乙", "labelA": "1"}', "id_id/TAG with a TAG of a, b, c or o"),
    ],
)
def test_a_faulty_labelled_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    path = write(tmp_path / "train.txt", "1_2/a  3/o", line, "4/o")
    with pytest.raises(DataError, match=rf"train\.txt:2: .+; expected .*({expected}).*; .+"):
        read_tagged(path)


@pytest.mark.parametrize(
    "line", ["1 2", "1_2/o", "1_2\t3", "甲", "", '{"id": "1", "source": "甲", "target": "乙"}', "1_"]
)
def test_a_faulty_test_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "test.txt", "1_2", line)
    with pytest.raises(DataError, match=r"test\.txt:2: .+; expected .+; .+"):
        read_untagged(path)


@pytest.mark.parametrize("read", [read_tagged, read_untagged])
def test_a_file_that_is_empty_absent_a_folder_or_in_another_encoding_is_named(tmp_path: Path, read) -> None:
    with pytest.raises(DataError, match=r"empty\.txt: is empty; expected .+; .+"):
        read(write(tmp_path / "empty.txt"))
    with pytest.raises(DataError, match=r"none\.txt: no such file or folder; expected .+; .+"):
        read(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"is a folder; expected .+; .+"):
        read(tmp_path)
    (tmp_path / "gb.txt").write_bytes("1_2/a\n公司/a\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"gb\.txt:(1|2): ") as caught:
        read(tmp_path / "gb.txt")
    assert "iconv" in str(caught.value) or read is read_untagged


def test_a_corpus_is_read_anew_each_time_and_skips_empty_lines_and_absent_files(tmp_path: Path) -> None:
    corpus = Corpus([write(tmp_path / "corpus.txt", "1_2", "", "3"), tmp_path / "absent.txt"])
    assert list(corpus) == list(corpus) == [["1", "2"], ["3"]]
    with pytest.raises(DataError, match=r"bad\.txt:2: the token 'x'"):
        list(Corpus([write(tmp_path / "bad.txt", "1", "2_x")]))
