"""Settings are tried on held-out folds, bad trials end early, and a search goes on where it was cut off."""

import json
from pathlib import Path

import pytest

from common.config import ConfigError
from common.files import read_json
from common.stages.search import USUAL, search
from tests.common.toy import OneFeatureMember, ToyContest

RANGES = {"feature": ["x0", "x1"], "steepness": {"low": 1.0, "high": 8.0, "log": True}}


@pytest.fixture
def fits(monkeypatch) -> list[tuple[str, float]]:
    """What was tried; the score is made up: 0.1 a unit of steepness, 0.05 more for x1, told at two epochs."""
    calls: list[tuple[str, float]] = []

    class Member(OneFeatureMember):
        def fit(self, train, held_out, unlabelled, folder):
            own = self.settings
            calls.append((own.feature, own.steepness))
            super().fit(train, held_out, unlabelled, folder)
            for _ in range(3):
                self.judge(held_out, None)
            return {}

    def build(contest, name, seed):
        member = Member(contest.settings[name], seed)
        member.judge = lambda rows, scores: judge(contest, rows, scores)
        return member

    def judge(contest, rows, scores):
        own = contest.settings[contest.config.use[0]]
        return {"score": 0.1 * own.steepness + 0.05 * (own.feature == "x1")}

    monkeypatch.setattr(ToyContest, "build_member", build)
    monkeypatch.setattr(ToyContest, "judge", judge)
    return calls


def tried(folder: Path) -> list[dict]:
    return read_json(folder / "run/search/a.json")["trials"]


def test_a_grid_is_tried_point_by_point(toy, fits, tmp_path):
    grid = {"feature": ["x0", "x1"], "steepness": [2.0, 4.0, 6.0]}
    found = search(toy(search={"member": "a", "ranges": grid, "trials": 6, "prune": False}))
    assert found["settings"] == {"feature": "x1", "steepness": 6.0} and found["score"] == pytest.approx(0.65)


def test_the_usual_grid_has_eighteen_points(toy, fits, monkeypatch, tmp_path):
    monkeypatch.setattr("common.stages.search.USUAL", {"feature": ["x0", "x1"], "steepness": [2.0, 4.0, 6.0]})
    search(toy(search={"member": "a", "prune": False}))
    assert sorted(fits) == sorted((feature, value) for feature in ("x0", "x1") for value in (2.0, 4.0, 6.0))
    search(toy(search={"member": "a", "prune": False}))
    assert len(fits) == 6, "and once each"
    assert [len(values) for values in USUAL.values()] == [2, 3, 3]


def test_a_search_that_was_cut_off_tries_what_one_without_a_break_would_have(toy, fits, tmp_path, monkeypatch):
    settings = {"search": {"member": "a", "ranges": RANGES, "trials": 8, "prune": False, "folds": [0, 2]}}
    search(toy(**settings))
    whole, images = list(fits), (tmp_path / "run/search/a.png").read_bytes()
    assert len(whole) == 16 and images[1:4] == b"PNG"
    assert search(toy(**settings))["score"] == max(item["score"] for item in tried(tmp_path)) and len(fits) == 16

    fits.clear()
    monkeypatch.setattr("tests.common.toy.OneFeatureMember.fit", stop_at(7, OneFeatureMember.fit))
    with pytest.raises(KeyboardInterrupt):
        search(toy(**settings, output_dir=str(tmp_path / "cut")))
    again = list(fits)
    search(toy(**settings, output_dir=str(tmp_path / "cut")))
    assert again == whole[:7] and fits[7:] == whole[6:], "the trial that was running is tried again, whole"
    importances = json.loads((tmp_path / "cut/search/a.json").read_text())["importances"]
    assert importances["steepness"] > importances["feature"] and sum(importances.values()) == pytest.approx(1)


def stop_at(count: int, fit):
    """A fit that is interrupted once, at that call."""
    calls = []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return fit(self, *arguments)

    return stopping


def test_a_trial_that_falls_behind_ends_early(toy, fits, tmp_path):
    ranges = {"steepness": [8.0, 7.0, 6.0, 1.0]}
    contest = toy(search={"member": "a", "ranges": ranges, "trials": 16, "folds": [0, 1]})
    found = search(contest)
    states = {item["state"] for item in tried(tmp_path)}
    assert states == {"COMPLETE", "PRUNED"} and found["score"] == pytest.approx(0.8)
    assert all(item["score"] is None for item in tried(tmp_path) if item["state"] == "PRUNED")


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"member": "c"}, "search.member"), ({"space": "fre"}, "'free'"), ({"ranges": {"steepnes": [1.0]}}, "'steepness'"),
     ({"ranges": {"steepness": 3}}, "list of choices"), ({"ranges": RANGES, "folds": [3]}, "0 to 2"),
     ({"ranges": RANGES, "folds": []}, "0 to 2")],
)  # fmt: skip
def test_misuse_is_named(toy, settings, says):
    with pytest.raises(ConfigError, match=says):
        search(toy(search=settings))


def test_another_space_in_the_same_folder_is_refused(toy, fits):
    search(toy(search={"member": "a", "ranges": RANGES, "trials": 1}))
    with pytest.raises(ConfigError, match="under other settings"):
        search(toy(search={"member": "a", "ranges": {"steepness": [1.0]}, "trials": 2}))
