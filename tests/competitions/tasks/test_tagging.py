"""What any contest that marks entities does between files and members: folds, targets, decisions, scores, averages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.stages.ensemble import Extended, cross_predicted
from common.stages.rows import Rows
from competitions.launch import configured
from competitions.tasks.crf_averaging import averaged_marginals
from competitions.tasks.stacking_features import token_features
from competitions.tasks.tagging import BIASES, TaggingContest
from models.encoders import encoder_from_config
from models.taggers import Tagger
from tests.competitions.conftest import Datagrand


@pytest.fixture
def contest(datagrand: Datagrand) -> TaggingContest:
    return datagrand.contest()


@pytest.fixture
def rows(contest: TaggingContest) -> pd.DataFrame:
    return contest.read_train()


def guesses(
    contest: TaggingContest, rows: pd.DataFrame, seed: int = 1, noise: float = 1.0, towards_o: float = 1.0
) -> Scores:
    """Probabilities around the gold tags. towards_o: how much too sure they are that there is no entity."""
    generator = np.random.default_rng(seed)
    parts = []
    for tokens, spans in zip(rows["tokens"], rows["spans"], strict=True):
        logits = generator.normal(0, noise, (len(tokens), len(contest.scheme.tags)))
        logits[np.arange(len(tokens)), contest.scheme.encode(spans, len(tokens))] += 2.0
        logits[:, 0] += towards_o
        parts.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    return Scores.of(rows["id"].tolist(), parts)


def bio(spans: list[tuple[int, int, str]], length: int) -> list[str]:
    tags = ["O"] * length
    for start, end, kind in spans:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_equal_lines_share_a_fold(datagrand: Datagrand, folds: int) -> None:
    contest = datagrand.contest(f"folds={folds}")
    rows = contest.read_train()
    rows = pd.concat([rows, rows.iloc[::3].assign(id=lambda table: table["id"] + "-again")], ignore_index=True)
    found = contest.folds(rows)
    assert set(found) == set(range(folds))
    for _, own in pd.Series(found).groupby(rows["tokens"].map(" ".join)):
        assert own.nunique() == 1
    assert np.bincount(found).max() - np.bincount(found).min() <= 6


def test_each_fold_has_its_share_of_lines_without_entities(contest: TaggingContest, rows: pd.DataFrame) -> None:
    empty = rows["spans"].map(len) == 0
    first, second = (int(empty[contest.folds(rows) == fold].sum()) for fold in range(2))
    assert first + second == empty.sum() > 4 and abs(first - second) <= 2


def test_the_fold_seed_decides_the_folds(datagrand: Datagrand, rows: pd.DataFrame) -> None:
    one, same, other = (datagrand.contest(f"fold_seed={seed}").folds(rows) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_targets_are_the_tags_of_all_tokens_in_order(datagrand: Datagrand, scheme: str) -> None:
    contest = datagrand.contest(f"scheme={scheme}")
    rows = contest.read_train()
    targets = contest.targets(rows)
    assert len(targets) == rows["tokens"].map(len).sum()
    start = 0
    for tokens, spans in zip(rows["tokens"], rows["spans"], strict=True):
        own = targets[start : start + len(tokens)]
        assert (own == contest.scheme.encode(spans, len(tokens))).all()
        assert contest.scheme.decode(own) == spans
        start += len(tokens)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_certain_scores_are_decoded_to_the_gold_entities(datagrand: Datagrand, scheme: str) -> None:
    contest = datagrand.contest(f"scheme={scheme}")
    rows = contest.read_train()
    scores = guesses(contest, rows, noise=0.0, towards_o=0.0)
    assert contest.decode(rows, scores, {}) == contest.gold(rows)
    assert contest.score(rows, contest.gold(rows), contest.decode(rows, scores, {}))["score"] == 1.0


@pytest.mark.parametrize("towards_o", [-2.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_fitted_decision_is_never_worse_on_its_own_rows(
    contest: TaggingContest, rows: pd.DataFrame, seed: int, towards_o: float
) -> None:
    scores = guesses(contest, rows, seed, towards_o=towards_o)
    decision = contest.fit_decision(rows, scores)
    plain, fitted = (
        contest.score(rows, contest.gold(rows), contest.decode(rows, scores, choice))["score"]
        for choice in ({}, decision)
    )
    # Scores are compared to four digits, so that a bias is not chosen for a rounding error.
    assert fitted >= plain - 1e-4 and decision["entity_bias"] in BIASES


def test_scores_that_are_too_sure_of_no_entity_are_leant_on(contest: TaggingContest, rows: pd.DataFrame) -> None:
    assert contest.fit_decision(rows, guesses(contest, rows, towards_o=2.0))["entity_bias"] > 0
    assert contest.fit_decision(rows, guesses(contest, rows, towards_o=-2.5))["entity_bias"] < 0


def test_scores_that_are_right_are_left_alone(contest: TaggingContest, rows: pd.DataFrame) -> None:
    assert contest.fit_decision(rows, guesses(contest, rows, noise=0.0, towards_o=0.0)) == {"entity_bias": 0.0}


def test_a_decision_is_fitted_on_the_rows_that_are_given_alone(contest: TaggingContest, rows: pd.DataFrame) -> None:
    """Labels of other rows change nothing: they could be those that it will be judged on."""
    timid, bold = (guesses(contest, rows, towards_o=bias) for bias in (2.0, -2.5))
    others = np.repeat(np.arange(len(rows)) % 2 == 1, np.diff(timid.offsets))
    scores = timid.with_values(np.where(others[:, None], bold.values, timid.values))
    changed = rows.copy()
    changed["spans"] = [[] if place % 2 else spans for place, spans in enumerate(rows["spans"])]
    half = np.arange(0, len(rows), 2)
    expected, found = (
        contest.fit_decision(table.iloc[half].reset_index(drop=True), scores.take(half)) for table in (rows, changed)
    )
    assert found == expected and expected["entity_bias"] > 0
    other = half + 1
    assert contest.fit_decision(rows.iloc[other].reset_index(drop=True), scores.take(other))["entity_bias"] < 0


def test_scores_are_those_of_seqeval(contest: TaggingContest, rows: pd.DataFrame) -> None:
    predictions = contest.decode(rows, guesses(contest, rows, noise=1.5), {})
    found = contest.score(rows, contest.gold(rows), predictions)
    lengths = rows["tokens"].map(len)
    gold, predicted = (
        [bio(spans, n) for spans, n in zip(own, lengths, strict=True)] for own in (rows["spans"], predictions)
    )
    micro = precision_recall_fscore_support(gold, predicted, average="micro", scheme=IOB2)
    assert (found["precision"], found["recall"], found["score"]) == pytest.approx(micro[:3])
    assert 0.2 < found["score"] < 0.95
    by_type = precision_recall_fscore_support(gold, predicted, average=None, scheme=IOB2)
    for place, kind in enumerate("abc"):
        own = [found[f"{part} {kind}"] for part in ("precision", "recall", "f1")]
        assert own == pytest.approx([values[place] for values in by_type[:3]])


def test_ranks_of_tags_are_not_blended(contest: TaggingContest) -> None:
    assert "rank_mean" not in contest.blends()


def test_no_blend_learns_from_the_fold_it_is_judged_on(contest: TaggingContest, rows: pd.DataFrame) -> None:
    """Other gold entities in a fold leave its predictions as they are, whatever combines the members."""
    table = Rows(rows, contest.folds(rows), rows.head(0), "")
    inside = np.flatnonzero(table.folds == 1)
    changed = rows.copy()
    changed["spans"] = [[] if place in inside else spans for place, spans in enumerate(rows["spans"])]
    parts = [guesses(contest, rows, seed, towards_o=bias) for seed, bias in ((1, 0.0), (2, 1.0), (3, -1.0))]
    wanted = {"power_mean", "best_subset", "best_subset_token_vote", "best_subset_entity_vote", "temperature_mean",
              "isotonic_mean", "boosted_stacking", "interval_vote", "interval_confidence"}  # fmt: skip
    assert wanted <= {*contest.blends()} and {*contest.slow_blends} <= wanted
    for blend in contest.blends().values():
        own = Extended(contest, rows)(parts, blend)
        before, after = (cross_predicted(contest, some, own, blend)
                         for some in (table, Rows(changed, table.folds, table.test, "")))  # fmt: skip
        assert [before[place] for place in inside] == [after[place] for place in inside], blend.name


def test_counts_of_lines_add_up_to_the_score(contest: TaggingContest, rows: pd.DataFrame) -> None:
    predictions, gold = contest.decode(rows, guesses(contest, rows, noise=1.5), {}), contest.gold(rows)
    right, predicted, wanted = contest.counts(rows, gold, predictions).sum(axis=(0, 1))
    assert contest.score(rows, gold, predictions)["score"] == pytest.approx(2 * right / (predicted + wanted))


def test_token_features_are_of_the_line_alone() -> None:
    assert token_features([["ab", "7", "ab"], [], ["。"]]).tolist() == [
        [0, 2, 3, 2, 2, 0], [1, 1, 3, 1, 1, 1], [2, 0, 3, 2, 2, 0], [0, 0, 1, 1, 1, 2]
    ]  # fmt: skip
    assert token_features([]).shape == (0, 6)


def test_facts_say_what_to_know_before_a_long_run(contest: TaggingContest, rows: pd.DataFrame) -> None:
    facts = contest.facts(rows, contest.read_test())
    kinds = [kind for spans in rows["spans"] for *_, kind in spans]
    assert facts["entities"] == ", ".join(f"{kind} {kinds.count(kind)}" for kind in "abc")
    assert contest.facts(rows, rows)["test lines that are also training lines"] == len(rows)


@pytest.mark.parametrize("word", ["scheme=IOBES", "types=[]", "types=[a,a,b,c]"])
def test_a_label_scheme_that_cannot_be_is_a_mistake_of_the_settings(datagrand: Datagrand, word: str) -> None:
    with pytest.raises(ConfigError, match=r"scheme|types"):
        datagrand.contest(word)


# Averaging of folds and seeds


def saved_tagger(folder: Path, seed: int) -> Tagger:
    torch.manual_seed(seed)
    settings = {"model_type": "recurrent", "vocab_size": 20, "embedding_size": 4, "hidden_size": 6}
    model = Tagger.from_encoder(encoder_from_config(settings), types=["a", "b"], scheme="BIO").eval()
    with torch.no_grad():
        for weights in model.crf.parameters():
            weights.normal_()
    model.save_pretrained(folder / "model")
    return model


def emissions(seed: int, lengths: tuple[int, ...] = (5, 1, 9, 3)) -> Scores:
    generator = np.random.default_rng(seed)
    return Scores.of([f"{n}" for n in range(len(lengths))], [generator.normal(0, 2, (n, 5)) for n in lengths])


def test_the_average_of_a_model_with_itself_is_the_model(tmp_path: Path) -> None:
    model, own = saved_tagger(tmp_path, 1), emissions(1)
    found = averaged_marginals([own, own, own], [tmp_path / "model"] * 3)
    for place in range(len(own)):
        row = torch.from_numpy(own.row(place))[None]
        np.testing.assert_allclose(found.row(place), model.crf.marginals(row)[0].numpy(), atol=1e-5)
    assert found.ids == own.ids and abs(found.values.sum(1) - 1).max() < 1e-5


def test_averaged_crfs_are_one_crf_of_mean_emissions_and_transitions(tmp_path: Path) -> None:
    models = [saved_tagger(tmp_path / str(seed), seed) for seed in (1, 2)]
    parts = [emissions(1), emissions(2)]
    found = averaged_marginals(parts, [tmp_path / str(seed) / "model" for seed in (1, 2)])
    pooled = models[0].crf
    with torch.no_grad():
        for name, weights in pooled.named_parameters():
            weights.copy_((weights + dict(models[1].crf.named_parameters())[name]) / 2)
    for place in range(4):
        row = torch.from_numpy((parts[0].row(place) + parts[1].row(place)) / 2)[None]
        np.testing.assert_allclose(found.row(place), pooled.marginals(row)[0].numpy(), atol=1e-5)


def test_units_are_averaged_as_the_member_says(datagrand: Datagrand, tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders, 1):
        saved_tagger(folder, seed)
    parts, scores = [emissions(1), emissions(2)], [emissions(3), emissions(4)]
    mean = (scores[0].values + scores[1].values) / 2
    plain, pooled = (datagrand.contest(f"members.bilstm_crf.average={kind}") for kind in ("marginals", "crf"))
    np.testing.assert_allclose(plain.average_units("bilstm_crf", scores, parts, folders).values, mean)
    np.testing.assert_allclose(pooled.average_units("span_pointers", scores, [None, None], folders).values, mean)
    expected = averaged_marginals(parts, [folder / "model" for folder in folders]).values
    assert (pooled.average_units("bilstm_crf", scores, parts, folders).values == expected).all()
    alone = pooled.average_units("bilstm_crf", scores[:1], parts[:1], folders[:1])
    assert (alone.values == scores[0].values).all()


@pytest.mark.parametrize(("types", "scheme", "slow"), [(3, "BIO", False), (8, "BIOES", True), (10, "BIO", True)])
def test_stacking_waits_to_be_asked_for_where_tags_are_many(types: int, scheme: str, slow: bool) -> None:
    names = ",".join(f"t{number}" for number in range(types))
    contest = configured("cluener", [], ["data_dir=none", f"types=[{names}]", f"scheme={scheme}"])
    assert ("stacking" in contest.slow_blends) == slow
