"""Augmentation: what the standards imply, never against what is labelled."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from competitions.sohu_matching.augmentation import augmented

COLUMNS = ["id", "source", "target", "task", "label"]


def table(*rows: tuple[str, str, int, int]) -> pd.DataFrame:
    frame = pd.DataFrame([(f"r{n}", *row) for n, row in enumerate(rows)], columns=COLUMNS)
    return frame.astype({"task": "int64", "label": "int64"})


def added(rows: pd.DataFrame, *rules: str) -> set[tuple]:
    return set(augmented(rows, list(rules))[len(rows) :][COLUMNS[1:]].itertuples(index=False, name=None))


# So that both standards of the first length class have rows of their own.
BOTH = (("甲", "乙", 0, 1), ("丙", "丁", 1, 0))


def test_the_same_event_is_of_the_same_topic():
    assert added(table(*BOTH, ("一", "二", 1, 1)), "implied") == {("一", "二", 0, 1)}


def test_what_is_of_another_topic_is_another_event():
    assert added(table(*BOTH, ("一", "二", 0, 0)), "implied") == {("一", "二", 1, 0)}


def test_the_other_two_cases_imply_nothing():
    assert added(table(*BOTH, ("一", "二", 0, 1), ("三", "四", 1, 0)), "implied") == set()


def test_the_length_class_stays():
    rows = table(("一", "二", 3, 1), ("三", "四", 4, 0), ("五", "六", 2, 1), ("七", "八", 5, 0))
    assert added(rows, "implied") == {("一", "二", 2, 1), ("三", "四", 5, 0)}


def test_a_pair_that_is_labelled_in_either_order_is_left_alone():
    assert added(table(*BOTH, ("一", "二", 1, 1), ("二", "一", 0, 0)), "implied") == set()


def test_a_subtask_without_rows_of_its_own_gets_none():
    # Rows of one label alone teach nothing, and nothing is predicted for that subtask.
    assert added(table(("一", "二", 0, 0), ("三", "四", 0, 1)), "implied") == set()


def test_swapping_turns_every_pair_round_unless_it_is_there():
    rows = table(("一", "二", 0, 1), ("三", "四", 1, 0), ("四", "三", 1, 1), ("五", "五", 0, 1))
    assert added(rows, "swap") == {("二", "一", 0, 1)}


def test_what_is_implied_is_swapped_too_in_whatever_order_the_rules_stand():
    rows = table(*BOTH, ("一", "二", 1, 1))
    assert ("二", "一", 0, 1) in added(rows, "swap", "implied")
    assert added(rows, "swap", "implied") == added(rows, "implied", "swap")


def test_no_rule_changes_nothing():
    rows = table(*BOTH)
    pd.testing.assert_frame_equal(augmented(rows, []), rows)


text = st.sampled_from("一二三四")
row = st.tuples(text, text, st.integers(0, 5), st.integers(0, 1))


@settings(max_examples=150)
@given(st.lists(row, min_size=1, max_size=12, unique_by=lambda r: (frozenset(r[:2]), r[2])))
def test_rows_stay_unique_and_without_contradiction(given_rows):
    rows = table(*given_rows)
    more = augmented(rows, ["swap", "implied"])
    pd.testing.assert_frame_equal(more.head(len(rows)), rows)
    assert more["id"].is_unique and (more.dtypes == rows.dtypes).all()
    labels: dict[tuple, set[int]] = {}
    for source, target, task, label in more[COLUMNS[1:]].itertuples(index=False, name=None):
        labels.setdefault((*sorted((source, target)), task), set()).add(label)
    assert all(len(found) == 1 for found in labels.values())
    # Only texts of the rows themselves: nothing of a held-out fold can come in.
    assert {*more["source"], *more["target"]} == {*rows["source"], *rows["target"]}
