"""Lines without the entities of one type: which lines, which type, and what is left of them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitions.datagrand_extraction.augmentation import SCHEMES, drop_one_type, without

TOKENS = ["9", "1", "2", "9", "3", "4", "5", "9", "1", "2"]
SPANS = [(1, 3, "a"), (4, 7, "b"), (8, 10, "a")]


def table(*rows: tuple[list[str], list[tuple[int, int, str]]]) -> pd.DataFrame:
    return pd.DataFrame([(f"{n}", *row) for n, row in enumerate(rows, 1)], columns=["id", "tokens", "spans"])


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_type_is_cut_out_and_the_rest_moves_up() -> None:
    assert without(TOKENS, SPANS, "a") == (["9", "9", "3", "4", "5", "9"], [(2, 5, "b")])
    assert without(TOKENS, SPANS, "b") == (["9", "1", "2", "9", "9", "1", "2"], [(1, 3, "a"), (5, 7, "a")])
    assert without(TOKENS, SPANS, "c") == (TOKENS, SPANS)


def test_neighbouring_entities_stay_two() -> None:
    assert without(["1", "2", "3"], [(0, 1, "a"), (1, 2, "b"), (2, 3, "a")], "b") == (
        ["1", "3"],
        [(0, 1, "a"), (1, 2, "a")],
    )


def test_all_types_gives_a_line_for_each_type() -> None:
    rows = drop_one_type(table((TOKENS, SPANS), (["9"], [])), "all_types", random())
    assert rows["id"].tolist() == ["1", "2", "1-a", "1-b"]
    assert rows["tokens"].tolist()[2:] == [without(TOKENS, SPANS, kind)[0] for kind in "ab"]
    assert rows["spans"].tolist()[2:] == [without(TOKENS, SPANS, kind)[1] for kind in "ab"]


def test_random_type_gives_one_line_for_each_line_with_two_types() -> None:
    lines = table(*[(TOKENS, SPANS)] * 40, (["1", "2"], [(0, 2, "a")]), (["9"], []))
    added = drop_one_type(lines, "random_type", random()).iloc[42:]
    assert len(added) == 40
    dropped = {name.rpartition("-")[2] for name in added["id"]}
    assert dropped == {"a", "b"}


def test_one_line_each_gives_a_line_for_one_line_in_three() -> None:
    lines = table(*[(TOKENS, SPANS)] * 300)
    assert 70 <= len(drop_one_type(lines, "one_line_each", random())) - 300 <= 130


def test_none_changes_nothing() -> None:
    lines = table((TOKENS, SPANS))
    assert drop_one_type(lines, "none", random()) is lines


@pytest.mark.parametrize("scheme", SCHEMES)
@given(
    lines=st.lists(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abco")), min_size=1, max_size=8), min_size=1, max_size=6
    )
)
def test_every_scheme_keeps_entities_whole(scheme: str, lines: list) -> None:
    """Old lines come first and unchanged; a new one has no entity of its dropped type, and the others as they were."""
    rows = []
    for line in lines:
        tokens, spans = [], []
        for length, kind in line:
            if kind != "o":
                spans.append((len(tokens), len(tokens) + length, kind))
            tokens = [
                *tokens,
                *(f"{len(tokens) + place}" for place in range(length)),
            ]  # every token says where it stood
        rows.append((tokens, spans))
    before = table(*rows)
    after = drop_one_type(before, scheme, random())
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    assert after["id"].is_unique
    for row in after.iloc[len(before) :].itertuples():
        name, _, dropped = row.id.rpartition("-")
        old_tokens, old_spans = rows[int(name) - 1]
        assert dropped in {kind for *_, kind in old_spans} and len({kind for *_, kind in old_spans}) > 1
        kept = [(old_tokens[start:end], kind) for start, end, kind in old_spans if kind != dropped]
        assert [(row.tokens[start:end], kind) for start, end, kind in row.spans] == kept and kept
        gone = {token for start, end, kind in old_spans if kind == dropped for token in old_tokens[start:end]}
        assert row.tokens == [token for token in old_tokens if token not in gone]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_gives_the_same_lines(scheme: str) -> None:
    lines = table(*[(TOKENS, SPANS)] * 9)
    pd.testing.assert_frame_equal(drop_one_type(lines, scheme, random()), drop_one_type(lines, scheme, random()))
