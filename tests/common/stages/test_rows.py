"""Every stage sees the same rows, checked before any work is done."""

import numpy as np
import pandas as pd
import pytest

from common.files import DataError
from common.stages.rows import read_rows, thinned
from tests.common.toy import toy_rows, write_toy


def test_rows_have_folds_and_a_digest(toy):
    rows = read_rows(toy())
    assert len(rows.train) == len(rows.folds) == 120 and len(rows.test) == 30
    assert rows.digest == read_rows(toy()).digest
    texts = rows.train["text"].str.lower()
    assert all(len(set(rows.folds[texts == text])) == 1 for text in texts)


@pytest.mark.parametrize("settings", [{"folds": 4}, {"fold_seed": 2}, {"max_rows": 50}])
def test_other_rows_or_folds_have_another_digest(toy, settings):
    assert read_rows(toy(**settings)).digest != read_rows(toy()).digest


def test_a_changed_value_in_the_test_file_changes_the_digest(toy, tmp_path):
    contest = toy()
    before = read_rows(contest).digest
    write_toy(tmp_path / "data" / "test.jsonl", toy_rows(30, 3).drop(columns="label"))
    assert read_rows(contest).digest != before


@pytest.mark.parametrize("name", ["train", "test"])
def test_repeated_ids_stop_a_run(toy, tmp_path, name):
    table = toy_rows(40, 1)
    write_toy(tmp_path / "data" / f"{name}.jsonl", pd.concat([table, table[:1]]))
    with pytest.raises(DataError, match="data: the id '1-0' occurs more than once"):
        read_rows(toy())


def test_too_many_folds_say_what_to_do(toy):
    with pytest.raises(DataError, match=r"data: cannot cut \d+ groups of rows into 119 folds.*lower folds="):
        read_rows(toy(folds=119))


@pytest.mark.parametrize(("rows", "most"), [(10, 3), (1000, 7), (5, 5), (5, 4), (3, 1), (10, 0), (10, 99)])
def test_thinned_rows_are_spread_over_the_file(rows, most):
    kept = thinned(pd.DataFrame({"x": np.arange(rows)}, index=np.arange(rows)[::-1]), most)
    assert len(kept) == (min(rows, most) if most else rows) and kept.index.tolist() == list(range(len(kept)))
    assert kept["x"].is_unique and kept["x"].is_monotonic_increasing and kept["x"].iloc[0] == 0
    if 1 < most < rows:
        assert kept["x"].iloc[-1] == rows - 1
        assert kept["x"].diff().max() - kept["x"].diff().min() <= 1


def test_a_column_that_a_reader_left_out_is_named(toy):
    contest = toy()
    contest.columns = ("id", "text", "task")
    with pytest.raises(DataError, match=r"have no column 'task'; expected the columns id, text, task; add it in read_"):
        read_rows(contest)
