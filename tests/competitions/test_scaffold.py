"""python -m competitions new: every task's folder runs, nothing else changes; and what a file tells."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from competitions.__main__ import main
from competitions.scaffold import new as scaffold
from competitions.scaffold.inspection import inspect
from competitions.scaffold.look import rounded_length
from tests.competitions.conftest import ROOT, single_threaded

SCRIPT = """
from competitions.scaffold.new import TASKS, new
for task in TASKS:
    new(["try_" + task, "--task", task])
new(["my_contest", "--task", "classification"])  # README's own name
"""


def test_every_task_becomes_a_folder_whose_test_passes(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for room in ("common", "models", "competitions"):
        shutil.copytree(ROOT / room, kit / room, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    shutil.copy(ROOT / "pyproject.toml", kit)
    before = contents(kit)
    environment = single_threaded() | {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=kit, env=environment, check=True, capture_output=True)
    own = {path for path in contents(kit) if path.startswith(("competitions/try_", "competitions/my_contest"))}
    assert {path: text for path, text in contents(kit).items() if path not in own} == before
    names = [*(f"try_{task}" for task in scaffold.TASKS), "my_contest"]
    assert {Path(path).parts[1] for path in own} == set(names)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider",
               *(f"competitions/{name}" for name in names)]  # fmt: skip
    done = subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and f"{len(names)} passed" in done.stdout, done.stdout + done.stderr
    lint = subprocess.run([sys.executable, "-m", "ruff", "check", "competitions"], cwd=kit, capture_output=True)
    assert lint.returncode == 0, lint.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Looking at files


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


TEXTS = ["这家店的面很好吃", "再也不会来了", "服务员态度不错", "等了一个小时才上菜"]


@pytest.mark.parametrize(("name", "lines", "files"), [
    ("a.tsv", ["label\ttext_a", *(f"{n % 2}\t{text}" for n, text in enumerate(TEXTS))],
     {"layout": "tsv", "header": True, "columns": {"text": "text_a", "label": "label"}}),
    ("a.txt", [f"{text}\t{n % 2}" for n, text in enumerate(TEXTS)],
     {"layout": "tsv", "header": False, "columns": {"text": 1, "label": 2}}),
    ("a.csv", ["id,content,kind", *(f'x{n},"{text}，""真的"",",{n % 2}' for n, text in enumerate(TEXTS))],
     {"layout": "csv", "header": True, "columns": {"id": "id", "text": "content", "label": "kind"}}),
    ("a.json", [json.dumps({"idx": n, "sentence": text, "label": n % 2}) for n, text in enumerate(TEXTS)],
     {"layout": "json", "header": True, "columns": {"id": "idx", "text": "sentence", "label": "label"}}),
])  # fmt: skip
def test_layout_header_columns_and_labels_of_texts(name, lines, files, tmp_path: Path) -> None:
    look = inspect(written(tmp_path / name, *lines), "classification")
    assert look.files == files and look.labels == ["0", "1"] and look.max_length == 32


def test_pairs_keep_the_order_of_the_file_and_a_label_without_majority_is_skipped(tmp_path: Path) -> None:
    lines = [json.dumps({"sentence1": "短", "sentence2": text, "label": label, "genre": "n"})
             for text, label in zip(TEXTS, ["-", "是", "否", "是"], strict=True)]  # fmt: skip
    look = inspect(written(tmp_path / "train.json", *lines), "nli")
    assert look.files["columns"] == {"text": "sentence1", "text_b": "sentence2", "label": "label"}
    assert look.files["skip"] == ["-"] and look.labels == ["否", "是"]
    pairs = written(tmp_path / "dev.tsv", *(f"{text}\t{text[::-1]}\t{n % 2}" for n, text in enumerate(TEXTS)))
    assert inspect(pairs, "matching").files["columns"] == {"source": 1, "target": 2, "label": 3}


@pytest.mark.parametrize("lines", [
    ["评论内容,情感倾向", *(f"{text},{'好坏'[n % 2]}" for n, text in enumerate(TEXTS * 3))],
    [",review,stars", *(f"{n},{text},{n % 2}" for n, text in enumerate(TEXTS * 3))],
    ["时间,评论内容,评分", *(f"2020-01-0{n % 5 + 1},{text},{n % 2}" for n, text in enumerate(TEXTS * 3))],
])  # fmt: skip
def test_a_header_of_any_words_stands_above_values_that_repeat_or_are_numbers(lines, tmp_path: Path) -> None:
    look = inspect(written(tmp_path / "a.csv", *lines), "classification")
    assert look.files["header"] is True and len(look.labels) == 2 and look.example.startswith(TEXTS[0])


def test_a_json_array_is_read_as_it_is(tmp_path: Path) -> None:
    rows = [{"text": text, "label": n % 2} for n, text in enumerate(TEXTS)]
    path = written(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False, indent=1))
    assert inspect(path, "classification").labels == ["0", "1"]
    entity = {"start_idx": 2, "end_idx": 3, "type": "地点", "entity": "北京"}
    look = inspect(written(tmp_path / "b.json", json.dumps([{"text": "我在北京", "entities": [entity]}])), "span")
    assert look.files["inclusive"] is True and look.example == "北京 is 地点"


@pytest.mark.parametrize(("train", "test"), [
    ("weiboNER_2nd_conll.train", "weiboNER_2nd_conll.test"), ("train.txt", "test_public.txt"), ("train.csv", "a.csv"),
])  # fmt: skip
def test_the_test_file_beside_it_is_found_by_its_name(train: str, test: str, tmp_path: Path) -> None:
    for name in (train, test):
        written(tmp_path / name, "")
    assert scaffold._test_beside(tmp_path / train) == ("" if test == "a.csv" else test)


def test_several_labels_of_a_cell_and_their_separator(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,labels", *(f'{text},"{own}"' for text, own in zip(
        TEXTS, ["甲,乙", "乙,丙", "甲,丙", "丙"], strict=True)))  # fmt: skip
    look = inspect(path, "multilabel")
    assert look.files["label_separator"] == "," and look.labels == ["丙", "乙", "甲"]


def test_conll_and_the_digits_of_weibo(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "我0\tO", "在0\tO", "北0\tB-GPE.NAM", "京1\tI-GPE.NAM", "", "好0\tO")
    look = inspect(path, "tagging")
    assert look.files["digit_suffix"] is True and look.labels == ["GPE.NAM"]
    path = written(tmp_path / "b.txt", "北 B-LOC", "京 E-LOC", "\u3000 O", "", "好 O")
    assert inspect(path, "tagging").files["digit_suffix"] is False


def test_entities_of_json_lines_and_whether_their_ends_are_inclusive(tmp_path: Path) -> None:
    items = [{"text": "我在北京", "spans": [{"begin": 2, "stop_end": end, "category": "地点", "word": "北京"}]}
             for end in (3, 4)]  # fmt: skip
    for item, inclusive in zip(items, (True, False), strict=True):
        look = inspect(written(tmp_path / "a.json", json.dumps(item)), "span")
        assert look.files["entity_keys"] == ["begin", "stop_end", "category"]
        assert look.files["inclusive"] is inclusive and look.labels == ["地点"]
    grouped = {"text": "我在北京", "label": {"地点": {"北京": [[2, 3]]}}}
    look = inspect(written(tmp_path / "a.json", json.dumps(grouped)), "span")
    assert look.files["columns"] == {"text": "text", "entities": "label"} and look.labels == ["地点"]


def test_questions_and_whether_some_have_no_answer(tmp_path: Path) -> None:
    asked = [{"id": str(n), "question": "哪里？", "answers": [{"text": "北湖", "answer_start": 1}][:n]} for n in (0, 1)]
    text = json.dumps({"data": [{"paragraphs": [{"context": "在北湖" * 30, "qas": asked}]}]})
    look = inspect(written(tmp_path / "a.json", text), "reading")
    assert (look.longest, look.unanswerable, look.max_length) == (10, True, 96)


def test_lengths_are_what_nearly_all_texts_need() -> None:
    assert [rounded_length([own]) for own in (5, 100, 5000)] == [32, 112, 512]
    assert rounded_length([*[50] * 200, 5000]) == 64


# Mistakes


@pytest.mark.parametrize(("words", "message"), [
    (["--task", "nli"], "expected one name, got none"),
    (["a", "b", "--task", "nli"], "expected one name, got a b"),
    (["Weibo", "--task", "nli"], "cannot be a Python package"),
    (["../up", "--task", "nli"], "cannot be a Python package"),
    (["class", "--task", "nli"], "cannot be a Python package"),
    (["sohu_matching", "--task", "nli"], "competitions/sohu_matching is taken"),
    (["tasks", "--task", "nli"], "competitions/tasks is taken"),
    (["launch", "--task", "nli"], "competitions/launch is taken"),
    (["mine", "--task", "claasification"], "did you mean 'classification'?"),
    (["mine"], "--task is ''"),
    (["mine", "--tsk", "nli"], "unknown option --tsk: did you mean '--task'?"),
    (["mine", "--task", "nli", "--from"], "--from names no file"),
    (["mine", "--task", "nli", "--from", "no/such/file.csv"], "no/such/file.csv: no such file"),
    (["mine", "--task", "nli", "--from", "tests"], "tests: is a folder"),
])  # fmt: skip
def test_a_mistake_is_named_and_nothing_is_written(words, message, capsys, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["new", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and len(said.splitlines()) == 1
    assert not (ROOT / "competitions" / "mine").exists()


@pytest.mark.parametrize(("task", "text", "message"), [
    ("classification", "", "is empty"),
    ("classification", "\n \n", "is empty"),
    ("classification", "label,text\n", "has a header and no rows"),
    ("classification", "只有一列\n没有标签\n", "has one column"),
    ("classification", "好,1\n坏,0,多\n不,1\n", "row 2 has 3 columns"),
    ("classification", 'text,label\n"没有右引号,1\n', "is neither CSV"),
    ("classification", "text,label\n很好,1\n不错,1\n", "is always '1'"),
    ("classification", '[{"text": "好", "label": 1}\n{"text"', "not JSON (no comma"),
    ("multilabel", "text,体育,财经\n很好吃,1,0\n不好吃,0,1\n", "a column of 0 and 1 for each label (体育, 财经)"),
    ("classification", '{"text": "好", "label": 1}\n{"text": \n', ":2: not JSON"),
    ("classification", '{"text": "好", "label": ["甲"]}\n{"text": "坏", "label": []}\n', "use --task multilabel"),
    ("matching", "甲\t乙\t是\n丙\t丁\t否\n", "has the labels"),
    ("nli", "text,label\n很好吃,1\n不好吃,0\n", "has 1 columns of text"),
    ("tagging", "这是一句话\n这是又一句\n", "neither CoNLL nor JSON"),
    ("tagging", "这 O\n是 O\n\n好 O\n", "has no entity"),
    ("tagging", "北 B-LOC\n京 I-LOC\n", "has no blank line between sentences"),
    ("reading", '{"data": []}', "has no answers"),
    ("reading", '{"text": "不是问答"}', "is JSON lines"),
    ("reading", '[{"data": []}]', "is not SQuAD's JSON"),
    ("span", '{"text": "没有实体的键"}\n', "expected a text and a list of entities"),
])  # fmt: skip
def test_an_odd_file_is_one_error_that_names_it(task, text, message, tmp_path: Path, capsys) -> None:
    path = tmp_path / "train.txt"
    path.write_text(text, encoding="utf-8")
    assert main(["new", "mine", "--task", task, "--from", str(path)]) == 2
    said = capsys.readouterr().err
    assert message in said and str(path) in said and "Traceback" not in said
    assert not (ROOT / "competitions" / "mine").exists()


def test_a_file_in_another_encoding_says_how_to_convert_it(tmp_path: Path, capsys) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes("text,label\n很好,1\n".encode("gb18030"))
    assert main(["new", "mine", "--task", "classification", "--from", str(path)]) == 2
    assert "iconv -f GB18030" in capsys.readouterr().err
