"""Ragged probabilities keep their rows through every way of picking, joining, averaging and saving them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.ensembling.scores import Scores, average, join
from common.files import DataError


def ragged(lengths: list[int], outputs: int = 3, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.random((length, outputs), dtype=np.float32) for length in lengths]


def names(count: int, prefix: str = "r") -> list[str]:
    return [f"{prefix}{place}" for place in range(count)]


def same(scores: Scores, ids: list[str], rows: list[np.ndarray]) -> None:
    assert scores.ids == tuple(ids) and len(scores) == len(ids)
    assert scores.values.dtype == np.float32
    for place, row in enumerate(rows):
        assert scores.row(place).shape == row.shape and (scores.row(place) == row).all()


shapes = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(shapes)
def test_rows_come_out_as_they_went_in(lengths):
    rows = ragged(lengths)
    scores = Scores.of(names(len(rows)), rows)
    same(scores, names(len(rows)), rows)
    assert np.diff(scores.offsets).tolist() == lengths


def test_single_probabilities_are_one_unit_a_row():
    scores = Scores.of(["x", "y"], np.array([0.25, 0.5]))
    same(scores, ["x", "y"], [np.array([[0.25]], dtype=np.float32), np.array([[0.5]], dtype=np.float32)])


@given(shapes, st.data())
def test_take_and_ordered_pick_rows_in_the_order_asked(lengths, data):
    rows, ids = ragged(lengths), names(len(lengths))
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=15))
    scores = Scores.of(ids, rows)
    wanted = [ids[place] for place in places], [rows[place] for place in places]
    same(scores.take(np.array(places, dtype=int)), *wanted)
    same(scores.ordered(wanted[0]), *wanted)


def test_rows_without_scores_are_counted_and_named():
    with pytest.raises(DataError, match=r"no scores for 2 rows, the first is 'p'.*run train again"):
        Scores.of(["r0"], ragged([2])).ordered(["r0", "p", "q"])


@given(shapes, shapes)
def test_joining_and_ordering_undoes_a_split(first, second):
    rows, ids = ragged(first + second), names(len(first) + len(second))
    parts = [Scores.of(ids[len(first) :], rows[len(first) :]), Scores.of(ids[: len(first)], rows[: len(first)])]
    same(join(parts).ordered(ids), ids, rows)


@given(shapes)
def test_average_is_the_mean_row_by_row(lengths):
    parts = [ragged(lengths, seed=seed) for seed in range(3)]
    found = average([Scores.of(names(len(lengths)), part) for part in parts])
    for place in range(len(lengths)):
        assert np.allclose(found.row(place), (parts[0][place] + parts[1][place] + parts[2][place]) / 3, atol=1e-6)


@given(lengths=shapes, outputs=st.integers(1, 4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_saved_scores_are_loaded_bit_for_bit(tmp_path: Path, lengths, outputs):
    rows, ids = ragged(lengths, outputs), names(len(lengths), "行")
    Scores.of(ids, rows).save(tmp_path / "unit" / "oof.parquet")
    same(Scores.load(tmp_path / "unit" / "oof.parquet"), ids, rows)


def test_the_file_is_plain_parquet(tmp_path):
    path = tmp_path / "oof.parquet"
    Scores.of(["x", "y"], ragged([2, 1])).save(path)
    # Bytes columns are what a pickle would hide in.
    kinds = [str(field.type) for field in pyarrow.parquet.read_schema(path)]
    assert not any("binary" in kind for kind in kinds)
    table = pd.read_parquet(path)
    assert table["id"].tolist() == ["x", "y"] and table["outputs"].tolist() == [3, 3]
    assert [len(flat) for flat in table["scores"]] == [6, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_absent_scores_say_which_stage_makes_them(tmp_path):
    with pytest.raises(DataError, match="run the train stage first"):
        Scores.load(tmp_path / "oof.parquet")


def test_a_row_is_as_certain_as_its_least_certain_unit():
    pairs = Scores.of(["a", "b"], np.array([0.9, 0.3]))
    assert pairs.confidence() == pytest.approx([0.9, 0.7])
    tags = Scores.of(["a", "b", "c"], [np.array([[0.8, 0.2], [0.4, 0.6]]), np.zeros((0, 2)), np.array([[0.1, 0.9]])])
    assert tags.confidence() == pytest.approx([0.6, 1.0, 0.9])
