"""The speed benchmark says what it does without loading torch; a ratio is the other side's time over ours."""

import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import speed, speed_lengths, speed_measure, speed_members
from benchmarks.speed_measure import Row


def spin(seconds: float):
    def run() -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return run


def test_a_ratio_says_how_many_times_as_long_the_other_side_takes():
    row = speed_measure.compare("ours", "theirs", spin(0.01), spin(0.03), 3, 2)
    assert 2.5 < float(row.ratio.split()[0]) < 3.5 and row.met
    scaled = speed_measure.compare("ours", "theirs", spin(0.01), spin(0.03), 3, 100, scale=10)
    assert 25 < float(scaled.ratio.split()[0]) < 35 and scaled.met is False
    table = speed.table_of([row, scaled, Row("a figure", "", "1", "2", "")], quick=True)
    assert "| ours | theirs |" in table and "1 targets met, 1 missed\n- missed: ours" in table


def test_help_and_mistakes_load_no_library():
    check = "import sys; from benchmarks import speed; speed.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    help_text = subprocess.run([sys.executable, "-c", check, "--help"], capture_output=True, text=True)
    assert help_text.returncode == 0 and "--quick" in help_text.stdout, help_text.stderr
    for words in (["--slow"], ["--quick", "--profile"], ["--scores"], ["datasets=folder"]):
        assert speed.main(words) == 2


@pytest.mark.parametrize("quantiles", [speed_lengths.DATAGRAND, speed_lengths.SOHU_SHORT])
def test_lengths_have_the_quantiles_of_the_contest(quantiles):
    found = speed_lengths.lengths_like(quantiles, 20_000, np.random.default_rng(0))
    for share, expected in zip(speed_lengths.SHARES[1:-3], quantiles[1:-3], strict=True):
        assert abs(np.quantile(found, share) - expected) <= 2 + 0.08 * expected, share


def test_texts_are_as_long_as_asked_and_pairs_come_in_their_mix():
    assert [len(text) for text in speed_lengths.texts_of([3, 0, 40], np.random.default_rng(0))] == [3, 0, 40]
    short, every = speed_lengths.sohu_rows(60), speed_lengths.sohu_rows(60, "all")
    assert short["source"].str.len().max() <= 150 < every["target"].str.len().median()
    lines = speed_lengths.datagrand_rows(60)
    assert lines["spans"].map(len).sum() == 20 and all(stop <= len(tokens) for tokens, spans in
        zip(lines["tokens"], lines["spans"], strict=True) for _, stop, _ in spans)  # fmt: skip


def test_the_members_read_what_was_made_up():
    rows = speed_lengths.sohu_rows(6, "all")
    table, _ = speed_members.matcher(rows, max_length=64).features(rows, labelled=True)
    assert len(table) == 6 and max(table["length"]) == 64
    lines = speed_lengths.datagrand_rows(6)
    table, _ = speed_members.tagger(lines).features(lines, labelled=True)
    assert len(table) == 6 and {label for row in table["labels"] for label in row} > {0}


def test_padding_is_the_share_of_what_is_computed_in_vain():
    assert speed_members.padding_of(np.array([2, 4, 4]), [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 12)
