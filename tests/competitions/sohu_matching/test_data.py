"""Sohu's files: what is read from them, and the one error that each fault gives."""

import json
from pathlib import Path

import pytest

from common.files import DataError
from competitions.sohu_matching.data import (
    SUBTASKS,
    read_labelled,
    read_labels,
    read_unlabelled_pairs,
    standard,
    write_labels,
)

SHORT_A, SHORT_B, MIXED_A, MIXED_B, LONG_A, LONG_B = SUBTASKS
LONG = "很长的一段话。" * 40


def lines(path: Path, *items: dict | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def pair(key: str = "labelA", label: object = "1", **more) -> dict:
    return {"source": "猫坐在垫子上", "target": "垫子上有一只猫", key: label} | more


def unlabelled(name: str, source: str = "猫坐在垫子上", target: str = "垫子上有一只猫") -> dict:
    return {"source": source, "target": target, "id": name}


def test_standards():
    assert [standard(task) for task in range(6)] == list("ABABAB")


def test_the_subtasks_that_are_present_are_read(tmp_path):
    lines(tmp_path / SHORT_A / "train.txt", pair(), pair(label="0"))
    lines(tmp_path / SHORT_A / "valid.txt", pair(label=1))
    lines(tmp_path / LONG_B / "train.txt", pair("labelB", "0"))
    rows = read_labelled(tmp_path)
    assert rows["task"].tolist() == [0, 0, 0, 5] and rows["label"].tolist() == [1, 0, 1, 0]
    assert rows["id"].is_unique and list(rows) == ["id", "source", "target", "task", "label"]


def test_test_folders_keep_the_official_order(tmp_path):
    lines(tmp_path / SHORT_B / "test_with_id.txt", unlabelled("xb"))
    lines(tmp_path / SHORT_A / "test_with_id.txt", unlabelled("za"), unlabelled("ya"))
    rows = read_unlabelled_pairs(tmp_path)
    assert rows["id"].tolist() == ["za", "ya", "xb"] and rows["task"].tolist() == [0, 0, 1]


def test_a_single_file_of_mixed_ids_tells_the_subtask_by_letter_and_length(tmp_path):
    file = lines(tmp_path / "test_round2.txt", unlabelled("1a"), unlabelled("2b", LONG), unlabelled("3b", LONG, LONG),
                 unlabelled("4A", target=LONG))  # fmt: skip
    expected = [0, 3, 5, 2]
    assert read_unlabelled_pairs(file)["task"].tolist() == expected
    assert read_unlabelled_pairs(tmp_path)["task"].tolist() == expected


def test_a_file_inside_a_subtask_folder_is_of_that_subtask(tmp_path):
    file = lines(tmp_path / LONG_A / "test_with_id.txt", unlabelled("without-a-letter-9"))
    assert read_unlabelled_pairs(file)["task"].tolist() == [4]


def test_no_test_file_is_an_empty_table_with_the_same_columns(tmp_path):
    lines(tmp_path / SHORT_A / "train.txt", pair())
    rows = read_unlabelled_pairs(tmp_path)
    assert len(rows) == 0 and list(rows) == ["id", "source", "target", "task"]


def test_labels_are_written_and_read_in_order(tmp_path):
    write_labels(tmp_path / "out.csv", ["b", "a"], [1, 0])
    assert (tmp_path / "out.csv").read_bytes() == b"id,label\nb,1\na,0\n"
    assert read_labels(tmp_path / "out.csv") == [("b", 1), ("a", 0)]


# Bad input: (items of 短短匹配A类/train.txt, line, what the message says)
TRAIN = [
    ([pair(), '{"source": "猫'], 2, "not JSON"),
    ([pair(), '["猫", "狗"]'], 2, "JSON list"),
    ([{"source": "猫", "labelA": "1"}], 1, "no key 'target'"),
    ([pair("labelB")], 1, "no key 'labelA'"),
    ([pair(), pair(label="2")], 2, "labelA is '2'"),
    ([pair(label=None)], 1, "labelA is None"),
    ([pair(target=" ")], 1, "target is ' '"),
    ([pair(source=7)], 1, "source is 7"),
]


@pytest.mark.parametrize(("items", "line", "said"), TRAIN)
def test_a_faulty_training_line_is_named(tmp_path, items, line, said):
    file = lines(tmp_path / SHORT_A / "train.txt", *items)
    with pytest.raises(DataError) as error:
        read_labelled(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{file}:{line}: ") and said in message
    assert message.count(";") >= 2 and "expected" in message  # what was expected, and what to do


def test_a_file_that_is_not_utf8_says_how_to_convert_it(tmp_path):
    file = tmp_path / SHORT_A / "train.txt"
    file.parent.mkdir()
    file.write_bytes(json.dumps(pair(), ensure_ascii=False).encode("gb18030"))
    with pytest.raises(DataError, match=r"train.txt:1: not UTF-8.*iconv"):
        read_labelled(tmp_path)


def test_a_folder_without_sohu_files_says_what_belongs_there(tmp_path):
    lines(tmp_path / "train.txt", "1_2_3/o")
    with pytest.raises(DataError, match=f"no labelled Sohu pairs.*{SHORT_A}.*python -m data.demo"):
        read_labelled(tmp_path)


# Bad input: (items of a test file, line, what the message says)
TEST = [
    ([unlabelled("1a"), unlabelled("2a"), unlabelled("1a")], 3, "'1a' was used before.*line 1"),
    ([unlabelled("1a"), pair()], 2, "no key 'id'"),
    ([unlabelled("")], 1, "the id is ''"),
    ([unlabelled("1,a")], 1, "without commas"),
    ([unlabelled("1a", target="")], 1, "target is ''"),
    ([unlabelled("1x")], 1, "cannot tell the standard"),
]


@pytest.mark.parametrize(("items", "line", "said"), TEST)
def test_a_faulty_test_line_is_named(tmp_path, items, line, said):
    file = lines(tmp_path / "test.txt", *items)
    with pytest.raises(DataError, match=said) as error:
        read_unlabelled_pairs(file)
    assert f"test.txt:{line}: " in str(error.value) and "expected" in str(error.value)


def test_an_id_that_two_files_share_is_named(tmp_path):
    lines(tmp_path / SHORT_A / "test_with_id.txt", unlabelled("1a"))
    lines(tmp_path / SHORT_B / "test_with_id.txt", unlabelled("1a"))
    with pytest.raises(DataError, match=f"used before, in {SHORT_A}/test_with_id.txt line 1"):
        read_unlabelled_pairs(tmp_path)


# Bad input: (text of a label file, line, what the message says)
LABELS = [
    ("1_2_3/a  4_5/o\n", 1, "another contest"),
    ("id,label\n1a,1\n1b,2\n", 3, "id,0 or id,1"),
    ("id,label\n1a\n", 2, "id,0 or id,1"),
    ("id,label\n1a,1\n\n1b,0\n", 3, "id,0 or id,1"),
    ("id,label\n1a,1.0\n", 2, "id,0 or id,1"),
]


@pytest.mark.parametrize(("text", "line", "said"), LABELS)
def test_a_faulty_label_line_is_named(tmp_path, text, line, said):
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said) as error:
        read_labels(tmp_path / "labels.csv")
    assert f"labels.csv:{line}: " in str(error.value)


def test_a_path_that_is_not_there_is_no_empty_table(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: no such file or folder"):
        read_unlabelled_pairs(tmp_path / "none.txt")
