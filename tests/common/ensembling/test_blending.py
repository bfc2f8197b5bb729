"""Every blend against the same thing done by hand, and the same again after a trip through JSON."""

import json
from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from common.ensembling.blending import BLENDS, HillClimbing, Mean, RankMean, Stacking, kinds_of, restore
from common.ensembling.boosting import BoostedStacking
from common.ensembling.calibration import Isotonic, Temperature
from common.ensembling.power_mean import PowerMean
from common.ensembling.scores import Scores
from common.ensembling.subset import BestSubset

EVERY = {
    **BLENDS, "power_mean": PowerMean, "best_subset": BestSubset, "temperature": Temperature, "isotonic": Isotonic,
    "isotonic_hill_climbing": lambda: Isotonic(HillClimbing()), "boosted_stacking": BoostedStacking,
}  # fmt: skip


def given(blend, parts: list[Scores]) -> list[Scores]:
    """The parts as the ensemble stage hands them over: with features where the blend takes them."""
    features = parts[0].with_values(parts[0].values[:, :1] ** 2)
    return [*parts, features] if blend.takes_features else parts


def pairs(rows: int = 300, members: int = 3, seed: int = 0) -> tuple[list[Scores], np.ndarray]:
    """Members of different worth and scale that score pairs."""
    random = np.random.default_rng(seed)
    targets = (random.random(rows) < 0.4).astype(int)
    ids = [str(row) for row in range(rows)]
    logits = [(place + 1) * (targets - 0.5 + random.normal(0, 0.7 + 0.2 * place, rows)) for place in range(members)]
    return [Scores.of(ids, 1 / (1 + np.exp(-item))) for item in logits], targets


def tagged(tags: int = 3, seed: int = 0) -> tuple[list[Scores], np.ndarray]:
    """Two members' tag probabilities of ragged rows."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, 40)
    targets = random.integers(tags, size=lengths.sum())
    parts = []
    for noise in (1.0, 2.0):
        logits = 2 * np.eye(tags)[targets] + random.normal(0, noise, (len(targets), tags))
        values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        parts.append(Scores.of([str(row) for row in range(40)], np.split(values, np.cumsum(lengths)[:-1])))
    return parts, targets


def auc(targets: np.ndarray):
    return lambda scores: roc_auc_score(targets, scores.values[:, 0])


def accuracy(targets: np.ndarray):
    return lambda scores: float((scores.values.argmax(1) == targets).mean())


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("make", [pairs, tagged])
def test_a_restored_blend_gives_the_same_scores(name, make):
    if name == "rank_mean" and make is tagged:
        pytest.skip("ranks are for single outputs")
    parts, targets = make()
    others, _ = make(seed=1)
    blend = EVERY[name]()
    parts, others = given(blend, parts), given(blend, others)
    blend.fit(parts, targets, auc(targets) if make is pairs else accuracy(targets))
    again = restore(json.loads(json.dumps(blend.state())), kinds_of([blend]))
    assert type(again) is type(blend)
    for scores in (parts, others):
        first, second = blend.apply(scores), again.apply(scores)
        assert (first.values == second.values).all()
        assert first.ids == scores[0].ids and (first.offsets == scores[0].offsets).all()
        assert np.isfinite(first.values).all() and first.values.min() >= 0 and first.values.max() <= 1
        if make is tagged:
            assert np.allclose(first.values.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", list(EVERY))
def test_fitting_again_forgets_the_first_fit(name):
    (first, targets), (second, others) = pairs(), pairs(seed=1)
    twice, once = EVERY[name](), EVERY[name]()
    first, second = given(twice, first), given(twice, second)
    twice.fit(first, targets, auc(targets))
    twice.fit(second, others, auc(others))
    once.fit(second, others, auc(others))
    assert twice.state() == once.state()


def test_the_mean_is_the_mean():
    parts, targets = tagged()
    blend = Mean()
    blend.fit(parts, targets, accuracy(targets))
    assert np.allclose(blend.apply(parts).values, (parts[0].values + parts[1].values) / 2, atol=1e-6)


def test_the_rank_mean_orders_rows_as_ranks_do():
    parts, targets = pairs()
    blend = RankMean()
    blend.fit(parts, targets, auc(targets))
    ranks = np.mean([part.values[:, 0].argsort().argsort() for part in parts], axis=0)
    assert spearmanr(blend.apply(parts).values[:, 0], ranks).statistic > 0.999
    assert np.allclose(blend.apply(parts).values[:, 0], ranks / (len(ranks) - 1), atol=0.005)


def test_the_rank_mean_is_blind_to_a_members_scale():
    parts, targets = pairs()
    squeezed = [parts[0].with_values(parts[0].values ** 3 / 10), *parts[1:]]
    first, second = RankMean(), RankMean()
    first.fit(parts, targets, auc(targets))
    second.fit(squeezed, targets, auc(targets))
    assert np.abs(first.apply(parts).values - second.apply(squeezed).values).max() < 0.005


def test_the_rank_of_a_new_row_does_not_depend_on_the_rows_beside_it():
    parts, targets = pairs()
    others, _ = pairs(seed=1)
    blend = RankMean()
    blend.fit(parts, targets, auc(targets))
    alone = [blend.apply([part.take(np.array([row])) for part in others]).values[0, 0] for row in range(20)]
    assert (blend.apply(others).values[:20, 0] == np.array(alone, dtype=np.float32)).all()


def test_equal_scores_have_the_rank_in_their_middle():
    part = Scores.of([str(row) for row in range(1000)], np.array([0.2] * 500 + [0.8] * 500))
    blend = RankMean()
    blend.fit([part], np.zeros(1000), lambda scores: 0.0)
    assert blend.apply([part]).values[:, 0] == pytest.approx([0.25] * 500 + [0.75] * 500, abs=0.002)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [pairs, tagged])
def test_hill_climbing_is_never_below_the_best_member(make, seed):
    parts, targets = make(seed=seed)
    objective = auc(targets) if make is pairs else accuracy(targets)
    blend = HillClimbing()
    blend.fit(parts, targets, objective)
    assert sum(blend.weights) == pytest.approx(1) and min(blend.weights) >= 0
    assert objective(blend.apply(parts)) >= max(map(objective, parts))


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_hill_climbing_finds_the_best_weights_of_a_grid_where_the_way_there_only_rises(members, seed):
    parts, targets = pairs(members=members, seed=seed)

    def objective(scores: Scores) -> float:  # concave in the weights: no step leads astray
        return -float(((scores.values[:, 0] - targets) ** 2).mean())

    blend = HillClimbing(rounds=10, patience=10)
    blend.fit(parts, targets, objective)
    grid = [counts for counts in product(range(11), repeat=members) if 0 < sum(counts) <= 10]
    values = np.stack([part.values[:, 0] for part in parts]).astype(np.float64)
    best = max(
        objective(parts[0].with_values((counts @ values / sum(counts))[:, None])) for counts in map(np.array, grid)
    )
    single = max(map(objective, parts))
    found = objective(blend.apply(parts))
    assert found <= best + 1e-9
    # Greedy steps of a tenth end a hair from the optimum: 1 % of what blending gains at all.
    assert best - found <= 0.01 * (best - single) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_hill_climbing_keeps_the_best_blend_it_met_not_the_last(seed):
    parts, targets = pairs(seed=seed)
    met: list[float] = []

    def objective(scores: Scores) -> float:
        met.append(auc(targets)(scores))
        return met[-1]

    blend = HillClimbing()
    blend.fit(parts, targets, objective)
    assert auc(targets)(blend.apply(parts)) == pytest.approx(max(met), abs=1e-6)


def test_hill_climbing_leaves_out_what_does_not_help():
    parts, targets = pairs(members=2)
    noise = parts[0].with_values(np.random.default_rng(0).random((300, 1)))
    blend = HillClimbing()
    blend.fit(
        [noise, parts[0], noise], targets, lambda scores: -np.abs(scores.values[:, 0] - parts[0].values[:, 0]).sum()
    )
    assert blend.weights == [0.0, 1.0, 0.0]


def test_hill_climbing_asks_for_no_blend_twice():
    parts, targets = pairs()
    asked: list[bytes] = []

    def objective(scores: Scores) -> float:
        asked.append(scores.values.astype(np.float16).tobytes())
        return auc(targets)(scores)

    HillClimbing(patience=20).fit(parts, targets, objective)
    assert len(set(asked)) == len(asked)


def logits(parts: list[Scores]) -> np.ndarray:
    values = np.concatenate([part.values for part in parts], axis=1).astype(np.float64).clip(1e-6, 1 - 1e-6)
    return np.log(values / (1 - values))


def test_stacking_of_pairs_is_a_logistic_regression_on_log_odds():
    (parts, targets), (others, _) = pairs(), pairs(seed=1)
    blend = Stacking(regularisation=0.3)
    blend.fit(parts, targets, auc(targets))
    reference = LogisticRegression(C=0.3, max_iter=10_000, tol=1e-8).fit(logits(parts), targets)
    assert np.allclose(blend.apply(others).values[:, 0], reference.predict_proba(logits(others))[:, 1], atol=1e-6)


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2, 3), (0, 3)])
def test_stacking_of_tags_is_a_logistic_regression_and_a_tag_never_seen_gets_nothing(present):
    (parts, targets), (others, _) = tagged(4), tagged(4, seed=1)
    targets = np.array(present)[targets % len(present)]
    blend = Stacking()
    blend.fit(parts, targets, accuracy(targets))
    reference = LogisticRegression(max_iter=10_000, tol=1e-8).fit(logits(parts), targets)
    expected = np.zeros_like(others[0].values)
    expected[:, reference.classes_] = reference.predict_proba(logits(others))
    assert np.allclose(blend.apply(others).values, expected, atol=1e-6)


def test_stacking_takes_evenly_spaced_units_when_there_are_too_many():
    parts, targets = pairs(rows=301)
    blend = Stacking(units=101)
    blend.fit(parts, targets, auc(targets))
    reference = LogisticRegression(max_iter=10_000, tol=1e-8).fit(logits(parts)[::3], targets[::3])
    assert np.allclose(blend.coefficients, reference.coef_, atol=1e-6)
