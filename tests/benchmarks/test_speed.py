"""The speed benchmark says what it does without loading torch; a ratio is the other side's time over ours."""

import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import speed, speed_lengths, speed_measure, speed_members, speed_packing, speed_profile, speed_scores
from benchmarks.speed_crf import SMALL
from benchmarks.speed_measure import Row
from models.encoders import encoder_from_config


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


def test_rows_that_are_measured_again_take_the_place_of_their_old_selves():
    rows = [Row("a", "x", "1", "2", "2.0", "≥ 1", True), Row("a", "y", "1", "2", "", "", None, "why"),
            Row("b", "x", "1", "1", "1.0", "≥ 5", False)]  # fmt: skip
    text = speed.table_of(rows, quick=False)
    assert speed.in_place([], text) == rows
    better = Row("b", "x", "1", "6", "6.0", "≥ 5", True)
    assert speed.in_place([better, Row("c", "", "", "", "")], text) == [*rows[:2], better, Row("c", "", "", "", "")]
    again = speed.table_of(speed.in_place([better], text), False, ["text"])
    assert "2 targets met, 0 missed" in again and "only=text`" in again


def test_help_and_mistakes_load_no_library():
    check = "import sys; from benchmarks import speed; speed.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    help_text = subprocess.run([sys.executable, "-c", check, "--help"], capture_output=True, text=True)
    assert help_text.returncode == 0 and "--quick" in help_text.stdout, help_text.stderr
    for words in (["--slow"], ["--quick", "--profile"], ["--scores"], ["datasets=folder"], ["only=texts"],
                  ["--quick", "only=text"], ["rows=3"]):  # fmt: skip
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


def test_packed_rows_give_what_rows_of_their_own_give():
    random = np.random.default_rng(0)
    texts = [torch.from_numpy(random.integers(5, 50, length)) for length in [3, 90, 40, 7, 128, 60, 200, 1]]
    encoder = encoder_from_config({**SMALL, "hidden_size": 16, "intermediate_size": 16, "vocab_size": 50})
    alike, packed = speed_packing.batches_alike(texts), speed_packing.batches_packed(texts)
    assert sum(int(batch["attention_mask"].sum()) for batch in alike) == sum(map(len, texts))
    assert speed_packing.difference(encoder, alike, packed) < 1e-5
    for batch in packed:  # were the other texts of a row seen, it would not be so
        batch["attention_mask"][:] = True
    assert speed_packing.difference(encoder, alike, packed) > 1e-3


def test_a_profile_tells_the_operations_of_both_ways(monkeypatch):
    monkeypatch.setattr(speed_profile, "STEPS", {"training": 1, "prediction": 1})
    rows = speed_lengths.sohu_rows(40)
    member = speed_members.matcher(rows, max_length=64)
    table, _ = member.features(rows, labelled=True)
    before, after = (speed_profile.profiled(member, table, "training", own) for own in (False, True))
    assert "aten::bernoulli_" in before and "aten::bernoulli_" not in after
    assert "aten::bernoulli_" not in speed_profile.profiled(member, table, "prediction", False)
    batches = speed_profile.batches_of(np.asarray(table["length"]), "prediction", True)
    assert sorted(np.concatenate(batches)) == sorted(speed_profile.batches_of(np.arange(40), "prediction", False)[0])


def test_what_changes_scores_is_told_with_its_spread(monkeypatch, tmp_path):
    found = iter([0.50, 0.52, 0.54, 0.40, 0.40, 0.40, 0.52, 0.7, 0.52, 0.7, 0.53, 0.7, 0.52, 0.52, 0.52])
    monkeypatch.setattr(speed_scores, "judged", lambda *_: next(found))
    monkeypatch.setattr("competitions.launch.configured", lambda *_: FakeContest())
    rows = {row.what.partition(": ")[2]: row for row in speed_scores.training_ways(tmp_path, lambda _: None)}
    assert rows["random order, fast dropout"].met is False and rows["batch_tokens, fast dropout"].met
    assert rows["random order, torch's dropout"].ours == "0.5200 ± 0.0200"
    assert rows["the same models, predict_precision=bf16"].ratio == "+0.1767"


class FakeContest:
    """A contest whose members learn nothing."""

    def read_train(self):
        return speed_lengths.datagrand_rows(10)

    def build_member(self, name, seed):
        return SimpleNamespace(fit=lambda *_: None, training=SimpleNamespace())
