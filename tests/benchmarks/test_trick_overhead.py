"""The ratio is that of pairs, and above the limit the command fails."""

import pytest

from benchmarks import trick_overhead


@pytest.mark.parametrize(("kit", "status"), [(1.0, 0), (1.5, 1)])
def test_the_median_of_pairs_decides(kit, status, monkeypatch, tmp_path, capsys) -> None:
    drift = iter(range(1, 1000))

    def loop(seconds: float):
        # The machine gets slower all the time: one side's mean over all the other's would not be its ratio.
        return lambda: seconds * (1 + 0.001 * next(drift))

    monkeypatch.setattr(trick_overhead, "both_loops", lambda: [loop(kit), loop(1.0)])
    assert trick_overhead.main(["pairs=40", f"results={tmp_path / 'R.md'}"]) == status
    assert f"**{kit:.1f}" in (tmp_path / "R.md").read_text().replace("0.99", "1.0") + capsys.readouterr().out


def test_both_trainers_take_the_same_steps(tmp_path) -> None:
    kit, bare = trick_overhead.both_loops()
    assert kit() > 0 and bare() > 0 and len(kit.stamps) == len(bare.stamps) == trick_overhead.STEPS
    assert type(bare.trainer).__name__ == "Trainer" and type(kit.trainer).__name__ == "FoldTrainer"


def test_misuse_is_named(capsys) -> None:
    assert trick_overhead.main(["pairs=3"]) == 2 and "at least 10" in capsys.readouterr().err
