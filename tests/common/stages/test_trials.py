"""Many seeds are started; the worst are stopped on the way, and the others go on as if nothing had been."""

import pytest

from common.config import ConfigError
from common.contest import Contest
from common.ensembling.scores import Scores
from common.files import read_json, write_json
from common.run import Run
from common.stages.ensemble import ensemble
from common.stages.train import train
from tests.common.toy import OneFeatureMember

MIDDLES = {1: 0.5, 2: -3.0, 3: 0.45, 4: 3.0}  # of the curves; those of seeds 2 and 4 call every row the same


class Pausing(OneFeatureMember):
    """Fits in two halves; the curve's middle is the seed's."""

    pause_after: float | None = None
    calls: list[str]

    def fit(self, train, held_out, unlabelled, folder):
        half = folder / "checkpoints" / "half.json"
        self.calls.append(f"{self.settings.feature} {self.seed} {'goes on' if half.exists() else 'begins'}")
        self.middle = MIDDLES[self.seed]
        write_json(folder / "member.json", {"middle": self.middle})
        if self.pause_after:
            write_json(half, {})
            found = Scores.of(held_out["id"].tolist(), self.scores(held_out))
            return {"paused": self.judge(held_out, found)["score"]}
        return {}


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What was fitted, in order: feature x0 by members that can pause, x1 by one that cannot."""
    made: list[str] = []

    def build(contest: Contest, name: str, seed: int):
        if name == "b":
            return OneFeatureMember(contest.settings[name], seed)
        member = Pausing(contest.settings[name], seed)
        member.calls, member.judge = made, contest.judge
        return member

    monkeypatch.setattr("tests.common.toy.ToyContest.build_member", build)
    return made


SETTINGS = {"seeds": [1, 2, 3, 4], "trials": {"keep": 2, "after": 0.5}}


def test_the_best_seeds_of_a_member_by_their_mean_over_folds_go_on(toy, calls):
    contest = toy(**SETTINGS)
    train(contest)
    run = Run(contest)
    assert calls == [f"x0 {seed} begins" for seed in (1, 2, 3, 4) for _ in range(3)] + [
        f"x0 {seed} goes on" for seed in (1, 3) for _ in range(3)
    ]
    decision = read_json(run.folder / "trials.json")["members"]
    assert decision["a"]["kept"] == [1, 3] and list(decision) == ["a"], "what cannot pause keeps all of its seeds"
    units = run.units()
    assert [unit.seed for unit in units if unit.member == "a"] == [1, 1, 1, 3, 3, 3]
    assert len(units) == 6 + 12 and all(run.finished(unit) for unit in units)
    halves = {unit.seed for unit in run.every_unit() if (run.unit_folder(unit) / "checkpoints/half.json").exists()}
    assert not halves & {2, 4}, "what was stopped leaves no checkpoint behind"
    assert (run.folder / "expected_best.png").read_bytes()[1:4] == b"PNG"


def test_the_blend_is_made_of_the_seeds_that_went_on(toy, calls):
    contest = toy(**SETTINGS, use=["a"])
    train(contest)
    metrics = ensemble(contest)
    assert {name.split("/")[-1] for name in metrics["units"]} == {"seed-1", "seed-3"}


def test_a_second_command_finds_everything_done(toy, calls):
    contest = toy(**SETTINGS)
    train(contest)
    calls.clear()
    train(contest)
    assert calls == []


def test_the_rule_waits_for_units_that_are_trained_elsewhere(toy, calls):
    contest = toy(**SETTINGS, only="a/fold-0")
    train(contest)
    assert (
        calls == [f"x0 {seed} begins" for seed in (1, 2, 3, 4)] and not (Run(contest).folder / "trials.json").exists()
    )
    train(toy(**SETTINGS, only="a/fold-0"))
    assert len(calls) == 4, "what has paused waits"
    train(toy(**SETTINGS))
    assert calls[4:] == [f"x0 {seed} begins" for seed in (1, 2, 3, 4) for _ in range(2)] + [
        f"x0 {seed} goes on" for seed in (1, 3) for _ in range(3)
    ]


def test_another_rule_brings_back_what_was_stopped(toy, calls):
    train(toy(**SETTINGS))
    contest = toy(seeds=[1, 2, 3, 4], trials={"keep": 0})
    train(contest)
    assert len(Run(contest).units()) == 24 and all(Run(contest).finished(unit) for unit in Run(contest).units())


def test_as_many_seeds_as_are_kept_never_pause(toy, calls):
    train(toy(seeds=[1, 2], trials={"keep": 2}))
    assert calls == ["x0 1 begins"] * 3 + ["x0 2 begins"] * 3


@pytest.mark.parametrize("rule", [{"keep": -1}, {"keep": 1, "after": 0.0}, {"keep": 1, "after": 1.0}])
def test_an_impossible_rule_is_refused(toy, rule):
    with pytest.raises(ConfigError, match="trials"):
        train(toy(seeds=[1, 2], trials=rule))


def test_seeds_that_ended_without_a_stop_cannot_be_compared(toy, calls):
    train(toy(seeds=[1]))
    with pytest.raises(ConfigError, match=r"a/fold-0/seed-1 .*run=NAME"):
        train(toy(**SETTINGS))
    assert calls == ["x0 1 begins"] * 3, "nothing was trained in vain"
