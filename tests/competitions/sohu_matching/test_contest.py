"""The Sohu contest: its metric, what it reads of labels and submissions, and what a fold is trained on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.config import ConfigError
from common.files import DataError
from competitions.launch import configured
from competitions.sohu_matching.contest import SohuConfig, SohuMatching
from competitions.sohu_matching.data import SUBTASKS

SHORT_A, SHORT_B, MIXED_A, *_ = SUBTASKS


def contest(folder: Path, **settings) -> SohuMatching:
    return SohuMatching(SohuConfig(data_dir=str(folder), **settings))


def write(path: Path, *items: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


def labels(path: Path, *rows: str, header: str = "id,label") -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subtasks of A and one of B, each with a few pairs."""
    for number, name in enumerate((SHORT_A, SHORT_B, MIXED_A)):
        key = f"label{name[-2]}"
        pairs = [{"source": f"猫{number}{n}", "target": f"狗{number}{n}", key: str(n % 2)} for n in range(6)]
        write(tmp_path / "data" / name / "train.txt", *pairs)
        test = [
            {"source": f"鱼{number}{n}", "target": f"鸟{number}{n}", "id": f"{number}{n}{'ab'[number % 2]}"}
            for n in range(2)
        ]
        write(tmp_path / "data" / name / "test_with_id.txt", *test)
    return tmp_path / "data"


# Metric


def test_the_score_is_the_mean_of_f1_on_a_and_on_b(folder):
    rows = pd.DataFrame({"id": list("abcdefg"), "task": [0, 0, 2, 2, 1, 1, 1]})
    found = contest(folder).score(rows, [1, 0, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 0, 0])
    assert found == {
        "score": pytest.approx((4 / 6 + 2 / 3) / 2),  # A: 2 right of 3 found and 3 wanted; B: 1 right of 1 and 2
        "f1 A": pytest.approx(4 / 6),
        "f1 B": pytest.approx(2 / 3),
        f"f1 {SHORT_A}": pytest.approx(2 / 3),
        f"f1 {SHORT_B}": pytest.approx(2 / 3),
        f"f1 {MIXED_A}": pytest.approx(2 / 3),
    }


def test_only_the_standards_that_are_present_count(folder):
    rows = pd.DataFrame({"id": ["a", "b"], "task": [0, 0]})
    found = contest(folder).score(rows, [1, 0], [1, 1])
    assert found["score"] == found["f1 A"] == pytest.approx(2 / 3) and "f1 B" not in found


def test_gold_labels_find_their_subtask_by_id_in_the_test_files(folder, tmp_path):
    gold = labels(tmp_path / "gold.csv", "20a,1", "10b,0")
    rows, found = contest(folder).read_predictions(gold)
    assert rows["task"].tolist() == [2, 1] and rows["standard"].tolist() == ["A", "B"] and found == [1, 0]
    # A gold file beside the test folders needs no data_dir.
    rows, _ = contest(tmp_path / "elsewhere").read_predictions(labels(folder / "gold.csv", "20a,1"))
    assert rows["task"].tolist() == [2]


def test_without_test_files_the_letter_of_the_id_tells_the_standard_alone(tmp_path):
    own = contest(tmp_path / "elsewhere")
    rows, gold = own.read_predictions(labels(tmp_path / "gold.csv", "1a,1", "2a,0", "3b,1"))
    assert rows["task"].tolist() == [-1, -1, -1]
    assert own.score(rows, gold, [1, 1, 1]) == {
        "score": pytest.approx(5 / 6),
        "f1 A": pytest.approx(2 / 3),
        "f1 B": 1.0,
    }
    with pytest.raises(DataError, match=r"gold.csv:3: cannot tell the standard of the id '9'.*data_dir"):
        own.read_predictions(labels(tmp_path / "gold.csv", "1a,1", "9,0"))


# Submission


def test_a_submission_is_what_check_accepts(folder, tmp_path):
    own = contest(folder)
    test = own.read_test()
    own.write_submission(tmp_path / "out.csv", test, [1, 0, 1, 0, 1, 0])
    own.check_submission(tmp_path / "out.csv", test)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[:3] == ["id,label", "00a,1", "01a,0"]


RIGHT = ["00a,1", "01a,0", "10b,1", "11b,0", "20a,1", "21a,0"]
FAULTS = [
    ("order", [RIGHT[1], RIGHT[0], *RIGHT[2:]], "id,label", "out.csv:2: has the id '01a'.*expected '00a'"),
    ("a missing id in the middle", [*RIGHT[:2], *RIGHT[3:]], "id,label", "out.csv:4: has the id '11b'.*expected '10b'"),
    ("a missing id at the end", RIGHT[:5], "id,label", "has 5 labels, the first missing id is '21a'.*expected 6"),
    ("a repeated id", [RIGHT[0], *RIGHT], "id,label", "out.csv:3: has the id '00a'"),
    ("a line too many", [*RIGHT, "99a,1"], "id,label", "out.csv:8: has 7 labels"),
    ("a label", [*RIGHT[:3], "11b,yes", *RIGHT[4:]], "id,label", "out.csv:5: .*expected id,0 or id,1"),
    ("the header", RIGHT[1:], RIGHT[0], "out.csv:1: .*another contest"),
    ("no header", RIGHT, "label,id", "out.csv:1: .*expected the header"),
    ("an empty file", [], "id,label", "has 0 labels, the first missing id is '00a'"),
]


@pytest.mark.parametrize(
    ("rows", "header", "said"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_the_first_fault_of_a_submission_is_named(folder, tmp_path, rows, header, said):
    own = contest(folder)
    with pytest.raises(DataError, match=said):
        own.check_submission(labels(tmp_path / "out.csv", *rows, header=header), own.read_test())


def test_a_submission_in_another_encoding_is_named(folder, tmp_path):
    own = contest(folder)
    (tmp_path / "out.csv").write_bytes("id,label\n鼠标a,1\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"out.csv:2: not UTF-8"):
        own.check_submission(tmp_path / "out.csv", own.read_test())


# Data


def test_a_missing_folder_says_what_belongs_there_and_how_to_have_a_demo(tmp_path):
    own = contest(tmp_path / "none")
    for read in (own.read_train, own.read_test):
        with pytest.raises(DataError) as error:
            read()
        assert SHORT_A in str(error.value) and "python -m data.demo" in str(error.value)
        assert "data_dir=data/demo/sohu2021" in str(error.value)


def test_unlabelled_text_is_that_of_the_test_pairs_and_none_of_the_labelled(folder):
    texts = set(contest(folder).unlabelled())
    assert {"鱼00", "鸟21"} <= texts and not any("猫" in text or "狗" in text for text in texts)


def test_a_fold_is_augmented_by_its_own_rows_alone(folder):
    own = contest(folder, augmentation=["swap", "implied"], folds=2)
    train = own.read_train()
    folds = own.folds(train)
    inside, outside = train[folds == 0], train[folds == 1].reset_index(drop=True)
    more = own.augment(outside)
    assert len(more) > 2 * len(outside)
    assert not {*more["source"], *more["target"]} & {*inside["source"], *inside["target"]}


def test_a_misspelt_rule_names_the_right_one(folder):
    with pytest.raises(ConfigError, match="augmentation names 'swop': did you mean 'swap'"):
        contest(folder, augmentation=["swop"])


@pytest.mark.parametrize("config", [[], ["demo.yaml"]])
def test_the_shipped_configs_are_complete(config):
    files = [Path("competitions/sohu_matching/config") / name for name in config]
    own = configured("sohu_matching", files, ["encoder=some/encoder"])
    assert list(own.settings) == ["conditional_norm", "recurrent_norm", "lexical"]
    assert own.settings["conditional_norm"].encoder == "some/encoder"
    assert own.config.data_dir.endswith("data/demo/sohu2021" if config else "data/raw/sohu_matching")


def test_one_subtask_without_test_files_trains_and_says_that_there_is_nothing_to_submit(tmp_path):
    from common.stages.ensemble import ensemble
    from common.stages.outputs import check
    from common.stages.train import train

    random = np.random.default_rng(0)
    pairs = []
    for number in range(40):
        text = "".join(random.choice(list("天地人山水火木金土日月星风雨"), 10))
        other = text[3:] + "之" if number % 2 else "".join(random.choice(list("东南西北春夏秋冬梅兰竹菊"), 8))
        pairs.append({"source": text, "target": other, "labelA": str(number % 2)})
    write(tmp_path / "data" / SHORT_A / "train.txt", *pairs)
    words = [f"data_dir={tmp_path}/data", f"output_dir={tmp_path}/run", "use=[lexical]", "folds=2", "workers=1"]
    own = configured("sohu_matching", [], [*words, "members.lexical.rounds=2", "members.lexical.bags=1"])
    train(own)
    metrics = ensemble(own)
    assert metrics["score"] > 0.8 and metrics["submission"] == ""
    assert not (tmp_path / "run" / "submission.csv").exists()
    check(own)  # nothing to check is not an error
    with pytest.raises(DataError, match="no test rows"):
        own.config.submission = str(tmp_path / "data")
        check(own)
