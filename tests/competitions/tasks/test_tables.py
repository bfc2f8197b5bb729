"""Tables by settings: columns found, labels checked, faulty lines named; submissions written and read back."""

import json
from pathlib import Path

import pytest

from common.config import ConfigError
from common.files import DataError
from competitions.tasks.tables import FilesConfig, check_ids, read_labels, read_texts, write_table
from competitions.tasks.tagged_files import check_tokens, flat, read_tagged, read_written, write_tagged


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(path: Path, files: FilesConfig, classes=("0", "1"), several=False) -> list[tuple]:
    return list(read_texts(path, files, ("text",), classes, several).itertuples(index=False, name=None))


def test_csv_by_names_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path):
    path = put(tmp_path / "a.csv", '\ufeffid,正文,标签\nx,"他说：""好"",\n真的",1\n\ny,不好,0\n')
    files = FilesConfig(columns={"id": "id", "text": "正文", "label": "标签"})
    assert rows(path, files) == [("x", '他说："好",\n真的', "1"), ("y", "不好", "0")]


def test_tsv_by_numbers_keeps_quotes_and_numbers_rows(tmp_path: Path):
    path = put(tmp_path / "a.tsv", '"半个引号\t1\n不好\t0\n')
    files = FilesConfig(layout="tsv", header=False, columns={"text": 1, "label": -1})
    assert rows(path, files) == [("0", '"半个引号', "1"), ("1", "不好", "0")]
    # A test file has no labels, and perhaps no column for them.
    assert rows(put(tmp_path / "b.tsv", "不好\n"), files, None) == [("0", "不好")]


def test_json_labels_of_any_kind_are_text_and_some_rows_are_skipped(tmp_path: Path):
    items = [{"t": "甲", "label": 1}, {"t": "乙", "label": "-"}, {"t": "丙", "label": "0"}]
    path = put(tmp_path / "a.json", "\n".join(map(json.dumps, items)))
    files = FilesConfig(layout="json", columns={"text": "t"}, skip=["-"])
    assert rows(path, files) == [("0", "甲", "1"), ("2", "丙", "0")]


def test_several_labels_in_a_cell_or_a_list(tmp_path: Path):
    path = put(tmp_path / "a.csv", "text,label\n甲,0|1\n乙,\n")
    assert rows(path, FilesConfig(), several=True) == [("0", "甲", ["0", "1"]), ("1", "乙", [])]
    path = put(tmp_path / "a.json", '{"text": "甲", "label": [1, "0"]}')
    assert rows(path, FilesConfig(layout="json"), several=True) == [("0", "甲", ["1", "0"])]


@pytest.mark.parametrize(("text", "files", "message"), [
    ("text,lable\n甲,1\n", {}, "a.txt:1: no column 'label'"),
    ("text,label\n甲,2\n", {}, "a.txt:2: has the label '2'"),
    ("text,label\n甲\n", {}, "a.txt:2: has 1 columns"),
    ("text,label\n甲,1\n ,1\n", {}, "a.txt:3: text is ' '"),
    ('text,label\n"甲,1\n', {}, "not CSV"),
    ("甲\t1\n乙\n", {"layout": "tsv", "header": False, "columns": {"text": 1, "label": 2}}, "a.txt:2: has 1 columns"),
    ('{"text": "甲"}', {"layout": "json"}, "no key 'label'"),
    ('{"text": 3, "label": 1}', {"layout": "json"}, "a.txt:1: text is 3"),
])  # fmt: skip
def test_a_faulty_line_is_named(text, files, message, tmp_path: Path):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        rows(put(tmp_path / "a.txt", text), FilesConfig(**files))


def test_an_id_that_the_settings_name_must_be_in_a_test_file_but_not_in_a_training_file(tmp_path: Path):
    path, files = put(tmp_path / "a.csv", "text,label\n甲,1\n"), FilesConfig(columns={"id": "id"})
    assert rows(path, files) == [("0", "甲", "1")]
    with pytest.raises(DataError, match="no column 'id'"):
        rows(path, files, None)


def test_settings_that_cannot_be_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="did you mean 'json'"):
        FilesConfig(layout="jsno")
    with pytest.raises(ConfigError, match=r"files.columns.text is 'text'"):
        rows(put(tmp_path / "a.tsv", "甲\t1\n"), FilesConfig(layout="tsv", header=False))


def test_a_submission_is_read_back_and_its_ids_are_checked(tmp_path: Path):
    write_table(tmp_path / "s.csv", ("id", "label"), [("a", "甲,乙"), ("b", 1)])
    assert read_labels(tmp_path / "s.csv") == [("a", "甲,乙"), ("b", "1")]
    check_ids(tmp_path, ["a", "b"], ["a", "b"])
    for found in (["b", "a"], ["a"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="predict the same test file again"):
            check_ids(tmp_path, found, ["a", "b"])
    with pytest.raises(DataError, match="begins with"):
        read_labels(put(tmp_path / "x.csv", "name,label\n"))


# Texts with entities

TYPES = ("人", "地")


def spans_in(path: Path, files: FilesConfig) -> list[list]:
    return read_tagged(path, files, TYPES, labelled=True)["spans"].tolist()


@pytest.mark.parametrize("tags", ["B-地 I-地 O B-人", "B-地 E-地 O S-人", "B-地 E-地 O S-人"])
def test_conll_in_every_scheme(tags, tmp_path: Path):
    lines = [f"{token} {tag}" for token, tag in zip("北京有我", tags.split(), strict=True)]
    path = put(tmp_path / "a.txt", "\n".join(["", *lines, "", "", "好 O"]))
    table = read_tagged(path, FilesConfig(layout="conll"), TYPES, labelled=True)
    assert table["spans"].tolist() == [[(0, 2, "地"), (3, 4, "人")], []]
    assert table["tokens"].tolist() == [list("北京有我"), ["好"]]


def test_what_is_written_of_conll_is_read_back_whatever_its_columns_and_digits(tmp_path: Path):
    files = FilesConfig(layout="conll", digit_suffix=True, columns={"token": 2, "tag": 3})
    table = read_tagged(put(tmp_path / "a.txt", "x 120 B-地\nx 月0 I-地\n"), files, TYPES, labelled=True)
    assert table["tokens"].tolist() == [["12", "月"]]
    write_tagged(tmp_path / "s", table, table["spans"].tolist(), files)
    again = read_written(tmp_path / "s", files, TYPES)
    check_tokens(tmp_path / "s", again, table)
    assert again["spans"].tolist() == [[(0, 2, "地")]]


def test_white_space_may_be_a_token_of_conll(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("北 B-地\n\u3000 I-地\n  O\n\n \tO\n", encoding="utf-8")
    table = read_tagged(path, FilesConfig(layout="conll"), TYPES, labelled=True)
    assert table["tokens"].tolist() == [["北", "\u3000", " "], [" "]]
    write_tagged(tmp_path / "b.txt", table, table["spans"], FilesConfig(layout="conll"))
    assert read_tagged(tmp_path / "b.txt", FilesConfig(layout="conll"), TYPES, labelled=True).equals(table)


def test_conll_without_tags_with_more_columns_and_with_digits(tmp_path: Path):
    files = FilesConfig(layout="conll", digit_suffix=True, columns={"token": 2, "tag": 3})
    path = put(tmp_path / "a.txt", "x 北0 B-地 y\nx 京1 I-地 y\nx 90 O y\n")
    assert read_tagged(path, files, TYPES, labelled=True)["tokens"].tolist() == [["北", "京", "9"]]
    assert spans_in(path, files) == [[(0, 2, "地")]]
    bare = put(tmp_path / "b.txt", "北\n京\n")
    assert read_tagged(bare, FilesConfig(layout="conll"), TYPES, labelled=False)["spans"].tolist() == [[]]


@pytest.mark.parametrize(("entities", "settings"), [
    ([{"start": 0, "end": 2, "type": "地"}], {}), ([[0, 2, "地"]], {}),
    ([{"s": 0, "e": 1, "t": "地"}], {"entity_keys": ["s", "e", "t"], "inclusive": True}),
    ({"地": {"北京": [[0, 1]]}}, {}),
])  # fmt: skip
def test_json_entities_in_every_form(entities, settings, tmp_path: Path):
    path = put(tmp_path / "a.json", json.dumps({"text": "北京 好", "entities": entities}))
    table = read_tagged(path, FilesConfig(layout="json", **settings), TYPES, labelled=True)
    assert table["spans"].tolist() == [[(0, 2, "地")]] and table["tokens"].tolist() == [list("北京 好")]


def test_of_entities_that_overlap_the_longer_stays():
    assert flat([(0, 2, "人"), (1, 4, "地"), (4, 5, "人"), (1, 4, "人")]) == [(1, 4, "人"), (4, 5, "人")]


@pytest.mark.parametrize(("text", "layout", "message"), [
    ("北 X-地\n", "conll", "a.txt:1: reads '北 X-地'"),
    ("北 B-地\n京\n", "conll", "a.txt:2: reads '京'"),
    ("北 B-物\n", "conll", "a.txt:1: has an entity of the type '物'"),
    ('{"text": "北京", "entities": [[0, 3, "地"]]}', "json", "an entity from 0 to 3"),
    ('{"text": "北京", "entities": [{"start": 0}]}', "json", "cannot read its entities"),
    ('{"text": "北京", "entities": 7}', "json", "cannot read its entities"),
])  # fmt: skip
def test_a_faulty_text_is_named(text, layout, message, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        spans_in(put(tmp_path / "a.txt", text), FilesConfig(layout=layout))


@pytest.mark.parametrize("files", [FilesConfig(layout="conll"), FilesConfig(layout="json", columns={"id": "id"}),
                                   FilesConfig(layout="json", columns={"id": "id"}, inclusive=True)])  # fmt: skip
def test_what_is_written_is_read_back(files, tmp_path: Path):
    path = put(tmp_path / "a.json", '{"id": "x", "text": "北京有我", "entities": [[0, 2, "地"], [3, 4, "人"]]}\n')
    table = read_tagged(path, FilesConfig(layout="json", columns={"id": "id"}), TYPES, labelled=True)
    write_tagged(tmp_path / "s", table, table["spans"].tolist(), files)
    again = read_tagged(tmp_path / "s", files, TYPES, labelled=True)
    assert again["spans"].tolist() == table["spans"].tolist()
    check_tokens(tmp_path / "s", again, table)
    with pytest.raises(DataError, match="predict the same test file again"):
        check_tokens(tmp_path / "s", again.head(0), table)
