"""Files that a person has to mend stop a run before it trains, and harm nothing that stands in its folder."""

import pytest

from common.config import ConfigError
from common.files import DataError
from tests.competitions.conftest import Datagrand


def spoil(kit: Datagrand, name: str, line: int, text: str | bytes) -> None:
    path = kit.data / name
    lines = path.read_bytes().splitlines()
    lines[line - 1] = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(b"\n".join(lines) + b"\n")


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("train.txt", 3, "11_12/a 40_41/o", r"train.txt:3: .*two spaces"),
        ("train.txt", 5, "", r"train.txt:5: the line is empty.*delete the line"),
        ("train.txt", 9, "11_12/a  40_41", r"train.txt:9: .*has no tag.*DataGrand 2019"),
        ("train.txt", 9, "11_12/a  40_41/q", r"train.txt:9: the segment '40_41/q' has an unknown tag 'q'"),
        ("train.txt", 2, "公司/a".encode("gb18030"), r"train.txt:2: not UTF-8.*iconv"),
        ("test.txt", 4, "40_41/o", r"test.txt:4: the token '41/o' is not a number"),
        ("test.txt", 12, "", r"test.txt:12: the line is empty"),
    ],
)
@pytest.mark.parametrize("stage", ["prepare", "train"])
def test_bad_files_stop_a_run_before_it_trains_and_harm_nothing(
    own_files: Datagrand, stage: str, name: str, line: int, text: str | bytes, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spoil(own_files, name, line, text)
    (own_files.output / "sparse_crf" / "fold-0" / "seed-1").mkdir(parents=True)
    (own_files.output / "sparse_crf" / "fold-0" / "seed-1" / "unit.json").write_text("{}")
    (own_files.output / "submission.txt").write_text("an earlier result")
    before = own_files.contents()
    monkeypatch.setattr("common.stages.train.train_unit", lambda *_: pytest.fail("a unit was trained"))
    with pytest.raises(DataError, match=message):
        own_files.run(stage)
    assert own_files.contents() == before


@pytest.mark.parametrize("missing", ["train.txt", "test.txt"])
def test_a_missing_file_names_itself_and_what_to_do(own_files: Datagrand, missing: str) -> None:
    (own_files.data / missing).unlink()
    with pytest.raises(DataError, match=rf"{missing}: no such file.*expected DataGrand 2019's {missing}.*data\.demo"):
        own_files.run("train")


def test_fewer_lines_than_folds_are_refused(own_files: Datagrand) -> None:
    (own_files.data / "train.txt").write_text("11_12/a\n11_12/a\n")
    with pytest.raises(DataError, match=r"cannot cut 1 groups of rows into 2 folds.*lower folds="):
        own_files.run("train")


def test_a_run_where_nothing_can_be_written_says_so(datagrand: Datagrand) -> None:
    datagrand.output.parent.mkdir(exist_ok=True)
    datagrand.output.write_text("a file stands here")
    with pytest.raises((DataError, ConfigError), match=r"cannot be written|is a file"):
        datagrand.run("prepare")
    assert datagrand.output.read_text() == "a file stands here"
