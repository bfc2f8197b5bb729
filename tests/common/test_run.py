"""A run's folder: which units it has, what makes a finished one stale, and who may work on one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.config import ConfigError, read_config, resolved, typed
from common.contest import RunConfig
from common.files import DataError, read_json
from common.run import Run, Unit, emissions_of, table_digest, unique_ids

ROOT = Path(__file__).parents[2]


def test_units_are_every_fold_with_every_seed_of_every_member(toy):
    units = Run(toy(seeds=[7, 8], folds=2)).units()
    assert [unit.name for unit in units] == [
        f"{member}/fold-{fold}/seed-{seed}" for member in "ab" for seed in (7, 8) for fold in (0, 1)
    ]


@pytest.mark.parametrize(
    ("only", "count"),
    [("", 44), ("a", 22), ("a/", 22), ("a/fold-1", 2), ("a/fold-10", 2), ("a/fold-1/", 2), ("b/fold-1/seed-12", 1)],
)
def test_only_takes_whole_names(toy, only, count):
    run = Run(toy(folds=11, seeds=[1, 12]))
    chosen = run.units(only)
    assert len(chosen) == count
    assert all(f"{unit.name}/".startswith(only.rstrip("/") + "/" if only else "") for unit in chosen)


@pytest.mark.parametrize(("only", "hint"), [("a/fold-3/seed-1", "did you mean 'a/fold-2/seed-1'?"), ("c/fold", "fold")])
def test_only_that_names_no_unit_hints_at_one(toy, only, hint):
    with pytest.raises(ConfigError, match=f"only={only} names no unit") as error:
        Run(toy()).units(only)
    assert hint in str(error.value)


def test_use_of_a_member_without_settings_or_of_an_unknown_kind_is_refused(toy):
    with pytest.raises(ConfigError, match=r"use names a member 'aa' that has no settings: did you mean 'a'\?"):
        toy(use=["aa"])
    with pytest.raises(ConfigError, match=r"members\.a\.kind is 'one_featur': did you mean 'one_feature'\?"):
        toy(use=["a"], members={"a": {"kind": "one_featur"}})
    with pytest.raises(ConfigError, match=r"unknown config key 'members\.a\.steepnes': did you mean 'steepness'"):
        toy(use=["a"], members={"a": {"kind": "one_feature", "steepnes": 1}})


def test_a_unit_is_finished_only_under_its_own_settings(toy):
    contest = toy()
    run, unit = Run(contest), Unit("a", 0, 1)
    settings = run.unit_settings(unit, "digest")
    assert run.finished(unit, settings) is None
    run.finish(unit, settings, {"score": 0.5})
    assert run.finished(unit, settings)["score"] == 0.5
    assert run.finished(Unit("a", 1, 1), settings) is None

    steeper = Run(toy(members={"a": {"kind": "one_feature", "steepness": 9}, "b": {"kind": "one_feature"}}))
    with pytest.raises(
        ConfigError, match=r"fold-0/seed-1 was finished under other settings \(member\.steepness: 4\.0 -> 9\.0\)"
    ):
        steeper.finished(unit, steeper.unit_settings(unit, "digest"))
    with pytest.raises(ConfigError, match="data: digest -> other"):
        run.finished(unit, run.unit_settings(unit, "other"))
    more = Run(toy(folds=4))
    with pytest.raises(ConfigError, match=r"folds: 3 -> 4.*run=NAME"):
        more.finished(unit, more.unit_settings(unit, "digest"))


def test_settings_of_other_members_and_of_later_stages_do_not_make_a_unit_stale(toy):
    unit = Unit("a", 0, 1)
    members = {"a": {"kind": "one_feature"}, "b": {"kind": "one_feature", "steepness": 2}}
    other = Run(toy(members=members, seeds=[1, 2], ensemble={"method": "mean"}, use=["b", "a"], workers=2))
    assert other.unit_settings(unit, "x") == Run(toy()).unit_settings(unit, "x")


def test_a_claimed_unit_excludes_a_second_handle_until_it_is_released(toy):
    run, unit = Run(toy()), Unit("a", 0, 1)
    with run.claimed(unit) as first, Run(toy()).claimed(unit) as second, run.claimed(Unit("a", 1, 1)) as neighbour:
        assert (first, second, neighbour) == (True, False, True)
    with pytest.raises(RuntimeError), run.claimed(unit) as again:
        assert again
        raise RuntimeError
    with run.claimed(unit) as again:
        assert again


def test_a_claim_of_another_process_ends_with_it_even_when_it_is_killed(toy):
    run, unit = Run(toy()), Unit("a", 0, 1)
    run.unit_folder(unit).mkdir(parents=True)
    code = """
import fcntl, sys, time
stream = open(sys.argv[1], "w")
fcntl.flock(stream, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""
    lock = run.unit_folder(unit) / ".lock"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "held\n"
            with run.claimed(unit) as ours:
                assert not ours
        finally:
            child.kill()
    with run.claimed(unit) as ours:
        assert ours


def test_settings_and_environment_are_written_complete(toy):
    run = Run(toy(seeds=[3], only="a", workers=1))
    run.write_config()
    run.write_environment()
    settings = resolved(read_config([run.folder / "config.yaml"], []))
    # What one command asked for is no property of the run.
    assert not {"only", "workers", "input", "output"} & {*settings}
    assert settings.pop("contest") == "toy"
    assert typed(RunConfig, settings | {"only": "a", "workers": 1}) == run.config
    facts = read_json(run.folder / "environment.json")
    assert facts["seeds"] == [3] and facts["packages"]["torch"] and facts["python"] == sys.version.split()[0]


class WithEmissions:
    emissions = None

    def scores(self, rows):
        self.emissions = [np.full((2, 3), place, dtype=np.float32) for place in range(len(rows))]
        return [np.ones((2, 3), dtype=np.float32)] * len(rows)


def test_scores_and_emissions_of_a_unit_are_kept(toy):
    run, unit, rows = Run(toy()), Unit("a", 0, 1), pd.DataFrame({"id": ["p", "q"]})
    member = WithEmissions()
    run.save_outputs(unit, "oof", member, rows)
    assert run.scores(unit, "oof").ids == ("p", "q")
    assert run.emissions(unit, "oof").row(1).tolist() == [[1.0] * 3] * 2
    assert run.emissions(unit, "test") is None and emissions_of(object(), rows) is None
    with pytest.raises(DataError, match="run the train stage first"):
        run.scores(unit, "test")


def test_the_digest_changes_with_every_value_and_order_and_split():
    table = pd.DataFrame({"id": ["1", "2"], "spans": [[(0, 1, "a")], []], "x": [0.5, 1.0]})
    same = pd.DataFrame({"id": ["1", "2"], "spans": [[(0, 1, "a")], []], "x": [0.5, 1.0]})
    assert table_digest(table) == table_digest(same)
    others = [
        table.assign(id=["1", "3"]), table.assign(spans=[[(0, 1, "b")], []]), table.iloc[::-1], table.iloc[:1],
        table.assign(x=[0.5, 1.001]),
    ]  # fmt: skip
    digests = [table_digest(item) for item in (table, *others)] + [table_digest(table, table)]
    digests.append(table_digest(table.iloc[:1], table.iloc[1:]))
    assert len(set(digests)) == len(digests)


def test_repeated_ids_are_named():
    rows = pd.DataFrame({"id": ["x", "y", "x", "y"]})
    with pytest.raises(DataError, match=r"train\.jsonl: the id 'x' occurs more than once"):
        unique_ids(rows, "train.jsonl")
    assert unique_ids(rows[:2], "train.jsonl") is not None
