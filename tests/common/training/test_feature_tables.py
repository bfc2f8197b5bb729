"""A feature table from the cache is the one that would have been made, and is made again when anything changes."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from common import cache
from common.training import feature_tables
from common.training.feature_tables import feature_table


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_tables, "PIECE", 3)
    cache.use(own := cache.DiskCache(tmp_path))
    yield own
    cache.use(None)


def windows(rows: pd.DataFrame, labelled: bool) -> tuple[Dataset, np.ndarray]:
    """Two features of a long row, one of a short one; labels are lists that may be empty."""
    owners = np.array([(row, part) for row, text in enumerate(rows["text"]) for part in range(1 + (len(text) > 2))])
    texts = rows["text"].tolist()
    columns = {"input_ids": [[ord(letter) + part for letter in texts[row]] for row, part in owners.tolist()]}
    columns["length"] = [len(ids) for ids in columns["input_ids"]]
    if labelled:
        columns["labels"] = [rows["labels"].tolist()[row] for row, _ in owners.tolist()]
    return Dataset.from_dict(columns), owners


def table(first: list[list[int]] | None = None) -> pd.DataFrame:
    texts = ["a", "bcd", "ef", "ghi", "j", "klm", "n"]
    return pd.DataFrame({"id": list("1234567"), "text": texts, "labels": first or [[number] for number in range(7)]})


@pytest.mark.parametrize("labels", [None, [[], [], [], [1], [], [2, 3], []]])
def test_pieces_on_disk_are_the_table_at_once(kept, labels):
    rows = table(labels)
    plain, owners = windows(rows, True)
    for _ in range(2):
        found, own = feature_table(rows, True, windows, "settings")
        assert found.to_dict() == plain.to_dict() and np.array_equal(own, owners)
        assert found.select([8, 0, 3])["input_ids"] == plain.select([8, 0, 3])["input_ids"]
    assert (kept.hits, kept.misses) == (1, 1)
    assert all(file["filename"].endswith("features.arrow") for file in found.cache_files), "mapped, not read"


def test_rows_settings_and_labels_are_tables_of_their_own(kept):
    feature_table(table(), True, windows, "settings")
    feature_table(table(), False, windows, "settings")
    feature_table(table(), True, windows, "other settings")
    feature_table(table().iloc[::-1].reset_index(drop=True), True, windows, "settings")
    assert (kept.hits, kept.misses) == (0, 4)


def test_what_has_no_settings_and_what_is_empty_is_not_kept(kept):
    assert len(feature_table(table(), True, windows, None)[0]) == 10
    feature_table(table(), True, lambda rows, labelled: (Dataset.from_dict({}), np.zeros(0)), None)
    assert (kept.hits, kept.misses) == (0, 0)


def test_columns_of_arrays_are_what_datasets_makes_of_them():
    columns = {
        "input_ids": [np.array([1, 2, 3]), np.zeros(0, np.int64), np.array([4])],
        "labels": [np.array([[1, 0]]), np.array([[0, 1], [1, 1]]), np.zeros((0, 2), np.int64)],
        "types": [[1], [2, 3], []],
        "task": np.arange(3),
        "length": [3, 0, 1],
    }
    found, expected = feature_tables.table_of(columns), Dataset.from_dict(columns)
    assert found.to_dict() == expected.to_dict() and found.features == expected.features
    assert len(feature_tables.table_of({"input_ids": [], "length": []})) == 0
