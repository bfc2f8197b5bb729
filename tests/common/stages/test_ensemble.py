"""Blends and thresholds never see the rows they are judged on, and the submission is what the parts say."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from common.config import ConfigError
from common.ensembling.blending import HillClimbing, Mean, RankMean
from common.ensembling.calibration import Isotonic
from common.ensembling.scores import Scores, average
from common.ensembling.thresholds import best_threshold
from common.files import read_json, write_lines
from common.run import Run, Unit
from common.stages.ensemble import Extended, cross_fitted, ensemble
from common.stages.outputs import check
from common.stages.rows import Rows, read_rows
from common.stages.train import train
from tests.common.toy import ToyContest


@dataclass
class SpyBlend(Mean):
    """Notes which rows it was fitted on and which it was applied to."""

    name = "spy"

    def __post_init__(self):
        self.seen, self.events = None, []

    def fit(self, parts, targets, objective):
        assert all(part.ids == parts[0].ids for part in parts)
        self.seen = frozenset(parts[0].ids)
        self.events.append(("fit", self.seen, targets.tolist()))
        objective(parts[0])

    def apply(self, parts):
        self.events.append(("apply", self.seen, parts[0].ids))
        return super().apply(parts)


class SpyContest(ToyContest):
    """Notes which rows decisions and objectives are fitted on, and hands that on in the decision."""

    def __init__(self, config):
        super().__init__(config)
        self.decoded, self.asked = [], []

    def fit_decision(self, rows, scores):
        assert tuple(rows["id"]) == scores.ids
        return super().fit_decision(rows, scores) | {"fitted_on": frozenset(scores.ids)}

    def decode(self, rows, scores, decision):
        assert tuple(rows["id"]) == scores.ids
        self.decoded.append((scores.ids, decision.get("fitted_on")))
        return super().decode(rows, scores, decision)

    def objective(self, rows, scores):
        assert tuple(rows["id"]) == scores.ids
        self.asked.append(frozenset(scores.ids))
        return 0.0


def members(rows: Rows, seed: int = 0) -> list[Scores]:
    random = np.random.default_rng(seed)
    noise = [random.normal(0, 0.8, len(rows.train)) for _ in range(2)]
    labels = rows.train["label"].to_numpy()
    return [Scores.of(rows.train["id"].tolist(), 1 / (1 + np.exp(1 - 2 * labels + item))) for item in noise]


def test_neither_blend_nor_decision_sees_the_fold_it_is_applied_to(toy):
    contest = SpyContest(toy().config)
    rows = read_rows(contest)
    blend, label = SpyBlend(), dict(zip(rows.train["id"], rows.train["label"], strict=True))
    cross_fitted(contest, rows, members(rows), blend)

    fold_ids = [frozenset(rows.train["id"][rows.folds == fold]) for fold in range(3)]
    everything = frozenset(rows.train["id"])
    fits = [event for event in blend.events if event[0] == "fit"]
    assert [seen for _, seen, _ in fits] == [everything - own for own in fold_ids]
    for _, seen, targets in fits:
        assert targets == [label[name] for name in rows.train["id"] if name in seen]
    # Applied first to what it was fitted on (for the decision), then to the fold itself.
    applied = [(seen, frozenset(ids)) for kind, seen, ids in blend.events if kind == "apply"]
    for fold, own in enumerate(fold_ids):
        assert applied[2 * fold : 2 * fold + 2] == [(everything - own, everything - own), (everything - own, own)]
    assert contest.asked == [everything - own for own in fold_ids]
    assert [frozenset(ids) for ids, _ in contest.decoded] == fold_ids
    for ids, fitted_on in contest.decoded:
        assert fitted_on is not None and not fitted_on & {*ids}


def test_labels_of_a_fold_do_not_reach_its_own_predictions(toy):
    contest, caught = toy(), []
    rows = read_rows(contest)
    score = contest.score
    contest.score = lambda table, gold, predictions: caught.append(predictions) or score(table, gold, predictions)
    blends = contest.blends() | {"isotonic_hill_climbing": Isotonic(HillClimbing())}
    blends["boosted_stacking"].learning_rate = 0.3  # so that it would learn a fold's labels by heart if it saw them
    assert {"stacking", "boosted_stacking", "power_mean", "best_subset", "temperature_mean", "isotonic_mean"} <= {
        *blends
    }
    for blend in blends.values():
        parts = Extended(contest, rows.train)(members(rows), blend)
        cross_fitted(contest, rows, parts, blend)
        before = caught[-1]
        changed = rows.train.copy()
        inside = rows.folds == 1
        changed.loc[inside, "label"] = 1 - changed.loc[inside, "label"]
        cross_fitted(contest, Rows(changed, rows.folds, rows.test, ""), parts, blend)
        after = caught[-1]
        assert np.array_equal(np.array(before)[inside], np.array(after)[inside])
        # Nor do the scores of a fold's rows reach another row of it: the last one's prediction is its own.
        alone = np.flatnonzero(inside)[:-1]
        spoilt = [part.with_values(spoil(part.values, alone)) for part in parts]
        cross_fitted(contest, rows, spoilt, blend)
        last = np.flatnonzero(inside)[-1]
        assert caught[-1][last] == before[last]


def spoil(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[places] = 1 - values[places]
    return values


def test_cross_fitting_is_a_loop_over_folds(toy):
    contest = toy()
    rows = read_rows(contest)
    parts = members(rows)
    mean = (parts[0].values[:, 0] + parts[1].values[:, 0]) / 2
    labels, predictions = rows.train["label"].to_numpy(), np.zeros(len(mean), dtype=int)
    for fold in range(3):
        threshold, _ = best_threshold(mean[rows.folds != fold], labels[rows.folds != fold])
        predictions[rows.folds == fold] = mean[rows.folds == fold] >= threshold
    assert cross_fitted(contest, rows, parts, Mean()) == contest.score(
        rows.train, labels.tolist(), predictions.tolist()
    )


class RaggedContest(ToyContest):
    """Each row has as many units as its text has letters; a unit's target is its row's label."""

    def targets(self, rows):
        return np.repeat(rows["label"].to_numpy(), rows["text"].map(len))

    def fit_decision(self, rows, scores):
        return {}

    def decode(self, rows, scores, decision):
        return [int(scores.row(place).mean() >= 0.5) for place in range(len(scores))]


def test_targets_of_ragged_rows_stay_with_their_units(toy):
    contest = RaggedContest(toy().config)
    rows = read_rows(contest)
    # A unit's score is its target, so a shifted target would show.
    parts = [Scores.of(rows.train["id"], [np.full((len(row.text), 1), row.label) for row in rows.train.itertuples()])]

    class Check(Mean):
        def fit(self, parts, targets, objective):
            assert np.array_equal(parts[0].values[:, 0], targets)

    assert cross_fitted(contest, rows, parts, Check())["score"] == 1.0


@pytest.fixture
def trained(toy):
    train(toy(seeds=[1, 2]))
    return lambda **settings: toy(seeds=[1, 2], **settings)


def test_the_ensemble_is_what_its_parts_say(trained):
    contest = trained(ensemble={"method": "mean"})
    metrics = ensemble(contest)
    run, rows = Run(contest), read_rows(contest)
    oof = Scores.load(run.folder / "oof.parquet")
    assert oof.ids == tuple(rows.train["id"])
    for place, (name, fold) in enumerate(zip(rows.train["id"], rows.folds.tolist(), strict=True)):
        units = [run.scores(Unit(member, fold, seed), "oof") for member in "ab" for seed in (1, 2)]
        assert oof.row(place)[0, 0] == pytest.approx(np.mean([unit.ordered([name]).values for unit in units]))
    test = average([run.scores(unit, "test") for unit in run.units()])
    assert np.allclose(Scores.load(run.folder / "test.parquet").values, test.values, atol=1e-6)

    recipe = read_json(run.folder / "ensemble.json")
    threshold, f1 = best_threshold(oof.values[:, 0], rows.train["label"].to_numpy())
    assert recipe == {"members": ["a", "b"], "blend": {"name": "mean"}, "decision": {"threshold": threshold}}
    assert metrics["searched"]["score"] == pytest.approx(f1)
    expected = [f"{name}\t{int(value >= threshold)}" for name, value in zip(test.ids, test.values[:, 0], strict=True)]
    assert (run.folder / "submission.tsv").read_text(encoding="utf-8").splitlines() == expected
    check(contest)

    assert set(metrics["results"]) == {"a", "b", *contest.blends()} and len(metrics["units"]) == 12
    best_member = max(metrics["results"][name]["score"] for name in "ab")
    assert metrics["gain_over_best_member"] == pytest.approx(metrics["score"] - best_member)
    assert read_json(run.folder / "metrics.json") == json.loads(json.dumps(metrics))
    assert "mean" in (run.folder / "report.html").read_text(encoding="utf-8")


class FittedRanks(RankMean):
    """Scores higher than the mean on the toy, and says of itself that a model is fitted."""

    complexity = 2


def test_best_takes_a_fitted_model_only_for_a_gain_beyond_chance(trained):
    def judged(**settings):
        contest = trained(ensemble=settings)
        contest.blends = lambda: {"mean": Mean(), "rank_mean": FittedRanks()}
        return ensemble(contest)

    metrics = judged()
    scores = {name: result["score"] for name, result in metrics["results"].items()}
    # 120 rows do not tell the two apart.
    assert max(scores, key=scores.get) == "rank_mean" and metrics["chosen"] == "mean"
    assert metrics["score"] == scores["mean"]
    without = judged(resamples=0)
    assert without["chosen"] == "rank_mean" and not any("low" in gain for gain in without["gains"].values())


def test_gains_and_their_intervals_are_over_the_best_member(trained):
    metrics = ensemble(trained())
    results, gains = metrics["results"], metrics["gains"]
    best = max("ab", key=lambda name: results[name]["score"])
    assert list(gains) == list(results)
    for name, own in gains.items():
        assert own["gain"] == pytest.approx(results[name]["score"] - results[best]["score"])
        assert own["low"] <= own["gain"] <= own["high"]
    assert gains[best] == {"gain": 0, "low": 0, "high": 0}
    assert ensemble(trained())["gains"] == gains


def test_a_metric_that_is_not_made_of_counts_has_gains_without_an_interval(trained):
    contest = trained()
    contest.counts = lambda rows, gold, predictions: None
    metrics = ensemble(contest)
    assert metrics["score"] == max(result["score"] for result in metrics["results"].values())
    assert metrics["gains"]["mean"].keys() == {"gain"}


def test_counts_that_are_not_those_of_the_score_are_refused(trained):
    contest = trained()
    contest.counts = lambda rows, gold, predictions: np.ones((len(rows), 1, 3))
    with pytest.raises(ValueError, match=r"ToyContest\.counts does not add up to its score"):
        ensemble(contest)


def test_only_the_blends_asked_for_are_tried_and_slow_ones_not_unless_asked_for(trained):
    def tried(**settings) -> set[str]:
        contest = trained(ensemble=settings)
        contest.slow_blends = ("stacking", "boosted_stacking")
        return {*ensemble(contest)["results"]} - {"a", "b"}

    assert tried() == {*trained().blends()} - {"stacking", "boosted_stacking"}
    assert tried(blends=["mean", "stacking"]) == {"mean", "stacking"}
    assert tried(blends=["mean"], method="stacking") == {"mean", "stacking"}
    with pytest.raises(ConfigError, match=r"ensemble\.blends names 'man': did you mean 'mean'\?"):
        tried(blends=["man"])


def test_a_tie_goes_to_a_member_before_a_blend(toy):
    contest = toy(members={name: {"kind": "one_feature"} for name in "ab"})
    train(contest)
    assert ensemble(contest)["chosen"] == "a"


@pytest.mark.parametrize(
    "method", ["a", "b", "hill_climbing", "stacking", "rank_mean", "best_subset", "boosted_stacking"]
)
def test_a_named_method_is_used_and_running_again_writes_the_same(trained, method):
    contest = trained(ensemble={"method": method})
    folder = Run(contest).folder
    assert ensemble(contest)["chosen"] == method
    files = ["ensemble.json", "metrics.json", "submission.tsv"]
    before = [(folder / name).read_bytes() for name in files]
    ensemble(trained(ensemble={"method": method}))
    assert [(folder / name).read_bytes() for name in files] == before
    assert read_json(folder / "ensemble.json")["members"] == ([method] if len(method) == 1 else ["a", "b"])


def test_a_single_member_is_its_own_ensemble(trained):
    metrics = ensemble(trained(ensemble={"method": "stacking", "members": ["b"]}))
    assert metrics["chosen"] == "b" and set(metrics["results"]) == {"b"} and metrics["gain_over_best_member"] == 0


def test_unknown_names_are_refused_with_the_nearest(trained):
    with pytest.raises(ConfigError, match=r"ensemble\.method is 'stackin': did you mean 'stacking'\?"):
        ensemble(trained(ensemble={"method": "stackin"}))
    with pytest.raises(ConfigError, match=r"ensemble\.members names 'c'"):
        ensemble(trained(ensemble={"members": ["c"]}))


def test_missing_units_are_counted_and_named(toy):
    train(toy(only="a"))
    with pytest.raises(
        ConfigError, match=r"3 units are not finished, the first is b/fold-0/seed-1: run the train stage"
    ):
        ensemble(toy())
    assert ensemble(toy(ensemble={"members": ["a"]}))["chosen"] == "a"


def test_units_of_other_data_are_refused(trained, tmp_path):
    path = tmp_path / "data" / "train.jsonl"
    write_lines(path, path.read_text(encoding="utf-8").splitlines()[:-1])
    with pytest.raises(ConfigError, match="finished under other settings"):
        ensemble(trained())
