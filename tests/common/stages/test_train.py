"""Units are fitted once, on other folds than they score, and never mixed with what other settings left."""

import numpy as np
import pytest

from common.config import ConfigError
from common.files import read_json, write_json
from common.run import Run, Unit
from common.stages.rows import read_rows
from common.stages.train import time_left, train, worker_count
from tests.common.toy import OneFeatureMember, toy_rows, write_toy


@pytest.fixture
def fits(monkeypatch) -> list[tuple[str, int]]:
    """What was fitted, as (feature, seed), in order."""
    calls, fit = [], OneFeatureMember.fit

    def spy(self, *arguments):
        calls.append((self.settings.feature, self.seed))
        return fit(self, *arguments)

    monkeypatch.setattr(OneFeatureMember, "fit", spy)
    return calls


def test_each_unit_is_fitted_on_the_other_folds_and_scores_its_own(toy, fits):
    contest = toy(seeds=[1, 2])
    train(contest)
    run, rows = Run(contest), read_rows(contest)
    assert sorted(fits) == [(feature, seed) for feature in ("x0", "x1") for seed in (1, 2) for _ in range(3)]
    for unit in run.units():
        facts = read_json(run.unit_folder(unit) / "unit.json")
        fitted_on = read_json(run.unit_folder(unit) / "member.json")["fitted_on"]
        own = rows.train["id"][rows.folds == unit.fold].tolist()
        assert fitted_on == rows.train["id"][rows.folds != unit.fold].tolist() and facts["rows"] == len(fitted_on)
        assert facts["held_out"] == own and run.scores(unit, "oof").ids == tuple(own)
        assert run.scores(unit, "test").ids == tuple(rows.test["id"])
        held_out = rows.train[rows.folds == unit.fold]
        predictions = contest.decode(held_out, run.scores(unit, "oof"), {})
        assert facts["score"] == contest.score(held_out, contest.gold(held_out), predictions)["score"]


def test_a_member_does_not_see_what_shares_a_text_with_its_held_out_rows(toy):
    contest = toy()
    train(contest)
    table = read_rows(contest).train.set_index("id")
    for unit in Run(contest).units():
        folder = Run(contest).unit_folder(unit)
        seen = set(table["text"][read_json(folder / "member.json")["fitted_on"]].str.lower())
        held_out = set(table["text"][read_json(folder / "unit.json")["held_out"]].str.lower())
        assert not seen & held_out


def test_finished_units_are_kept_and_missing_ones_are_fitted(toy, fits):
    contest = toy()
    train(contest)
    run, fits[:] = Run(contest), []
    train(contest)
    assert fits == []
    (run.unit_folder(Unit("b", 1, 1)) / "unit.json").unlink()
    train(contest)
    assert fits == [("x1", 1)]


def test_only_fits_its_part_and_the_rest_follows(toy, fits):
    train(toy(only="b/fold-1"))
    assert fits == [("x1", 1)]
    train(toy())
    assert len(fits) == 6


def test_another_member_or_seed_adds_units_and_keeps_the_others(toy, fits):
    train(toy(use=["a"]))
    train(toy(use=["a", "b"], seeds=[1]))
    assert fits == [("x0", 1)] * 3 + [("x1", 1)] * 3
    train(toy(use=["a"], seeds=[1, 5]))
    assert fits[6:] == [("x0", 5)] * 3


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"folds": 4}, "folds: 3 -> 4"),
        ({"members": {"a": {"kind": "one_feature", "steepness": 2}}, "use": ["a"]}, r"member\.steepness: 4\.0 -> 2\.0"),
    ],
)
def test_other_settings_do_not_mix_with_finished_units(toy, fits, settings, named):
    train(toy())
    count = len(fits)
    with pytest.raises(ConfigError, match=f"finished under other settings.*{named}"):
        train(toy(**settings))
    assert len(fits) == count


def test_other_data_does_not_mix_with_finished_units(toy, tmp_path):
    train(toy())
    write_toy(tmp_path / "data" / "train.jsonl", toy_rows(120, 9))
    with pytest.raises(ConfigError, match=r"finished under other settings.*data: "):
        train(toy())


def test_what_an_interrupted_fit_left_is_kept_under_the_same_settings_and_dropped_under_others(toy):
    contest = toy(use=["a"])
    run, unit, rows = Run(contest), Unit("a", 0, 1), read_rows(contest)
    folder = run.unit_folder(unit)
    for settings, survives in ((run.unit_settings(unit, rows.digest), True), ({"folds": 99}, False)):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "half").touch()
        (folder / "unit.json").unlink(missing_ok=True)
        write_json(folder / "settings.json", settings)
        train(contest)
        assert (folder / "checkpoints" / "half").exists() == survives
        assert not (folder / "settings.json").exists() and (folder / "unit.json").exists()


def test_a_unit_that_fails_is_not_finished_and_the_ones_before_it_are(toy, monkeypatch):
    contest, fit = toy(use=["a"]), OneFeatureMember.fit
    calls = []

    def fails_at_the_second(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments)

    monkeypatch.setattr(OneFeatureMember, "fit", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(contest)
    run = Run(contest)
    assert [run.finished(unit) is not None for unit in run.units()] == [True, False, False]
    train(contest)
    assert len(calls) == 4 and all(run.finished(unit) for unit in run.units())


def test_a_unit_that_another_process_trains_is_left_to_it(toy, fits):
    contest = toy(use=["a"])
    with Run(toy()).claimed(Unit("a", 1, 1)):
        train(contest)
    assert len(fits) == 2 and Run(contest).finished(Unit("a", 1, 1)) is None


def test_a_run_repeated_from_nothing_gives_the_same_scores(toy, tmp_path):
    for folder in ("one", "two"):
        train(toy(output_dir=str(tmp_path / folder)))
    for unit in Run(toy()).units():
        first, second = (Run(toy(output_dir=str(tmp_path / folder))).scores(unit, "test") for folder in ("one", "two"))
        assert np.array_equal(first.values, second.values)


def test_workers_are_as_asked(monkeypatch):
    assert worker_count(3) == 3
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert worker_count(0) == 1


def test_what_is_left_is_told_from_units_of_the_same_member() -> None:
    spent = {"slow": [100.0, 140.0], "quick": [10.0]}
    assert time_left(spent, {"slow": 1, "quick": 4, "unknown": 2, "done": 0}, 2) == pytest.approx(
        (120 + 4 * 10 + 2 * 250 / 3) / 2
    )
