"""Matching contests: folds, thresholds and the metric; and what a neural member may look at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.training.prepared_text import SharedText
from competitions.tasks.matching import MatchingConfig, MatchingContest
from competitions.tasks.matching_members import (
    BiEncoderSettings,
    CrossEncoderSettings,
    MatcherMember,
    PairLexicalMatcher,
    without_mirrored,
)
from competitions.tasks.text_members import inverse_document_frequency

HELD_OUT_ONLY = "魑魅魍魉"  # characters that stand in the held-out rows and nowhere else
ENCODER = {"model_type": "recurrent", "embedding_size": 8, "hidden_size": 16, "num_layers": 1}
TRAINING = {"epochs": 1, "batch_size": 8, "keep": "last", "precision": "fp32"}


class Example(MatchingContest):
    name, submission_file, subtasks = "example", "submission.csv", ("短", "长", "空")

    def read_train(self):
        return pairs()

    def read_test(self, path=None):
        return pairs().drop(columns="label").head(0)

    def write_submission(self, path, rows, predictions): ...

    def read_predictions(self, path, like=None): ...

    def check_submission(self, path, test): ...


def contest(kind: type[Example] = Example, **settings) -> Example:
    return kind(MatchingConfig(**{"folds": 3, **settings}))


def pairs(count: int = 60, seed: int = 0) -> pd.DataFrame:
    """Pairs of short made-up texts, of which some stand in several pairs."""
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list("天地人山水火木金土日月星"), 8)) for _ in range(count)]
    return pd.DataFrame({
        "id": [f"p{n}" for n in range(count)],
        "source": texts,
        "target": [texts[n - 1 if n % 3 == 0 and n else n][::-1] for n in range(count)],
        "task": [n % 2 for n in range(count)],
        "label": random.integers(0, 2, count),
    })  # fmt: skip


def scored(rows: pd.DataFrame, values: list[float]) -> Scores:
    return Scores.of(rows["id"].tolist(), np.array(values, dtype=np.float32))


def test_no_text_is_on_both_sides_of_a_fold():
    rows = pairs(200)
    folds = contest().folds(rows)
    for fold in range(3):
        inside, outside = rows[folds == fold], rows[folds != fold]
        assert not {*inside["source"], *inside["target"]} & {*outside["source"], *outside["target"]}
        # Each fold has about its share of every subtask's labels.
        assert (inside.groupby(["task", "label"]).size() >= 8).all()


class Standards(Example):
    """Two subtasks for each of two standards."""

    subtasks = ("短A", "长A", "短B", "长B")

    def metric_groups(self, rows):
        return ["AB"[task // 2] for task in rows["task"]]


def test_thresholds_are_those_of_the_metrics_groups_and_see_only_the_rows_given():
    rows = pd.DataFrame({"id": list("abcdef"), "task": [0, 1, 1, 2, 3, 3], "label": [1, 0, 0, 1, 1, 0]})
    scores = scored(rows, [0.9, 0.7, 0.1, 0.3, 0.2, 0.1])
    own = contest(Standards)
    decision = own.fit_decision(rows, scores)
    assert decision["thresholds"] == {"A": pytest.approx(0.8), "B": pytest.approx(0.15)}
    assert own.decode(rows, scores, decision) == [1, 0, 0, 1, 1, 0]
    # Another row's label and score change nothing for the rows that are given.
    assert own.fit_decision(rows[:3], scores.take(np.arange(3)))["thresholds"] == {"A": pytest.approx(0.8)}


def test_no_other_threshold_of_a_group_scores_higher():
    rows = pairs(80).assign(task=lambda own: np.arange(80) % 4)
    values = np.random.default_rng(3).random(80).round(2)
    scores, own = scored(rows, values), contest(Standards)
    decision = own.fit_decision(rows, scores)
    best = own.score(rows, own.gold(rows), own.decode(rows, scores, decision))["score"]
    # The score is the mean of the groups, so that each can be looked at while the other stays.
    for group in "AB":
        for cut in np.linspace(0, 1, 101):
            other = own.decode(rows, scores, {"thresholds": {**decision["thresholds"], group: cut}})
            assert own.score(rows, own.gold(rows), other)["score"] <= best + 1e-12


def test_a_group_without_a_threshold_takes_the_common_one_and_without_any_a_half():
    rows = pd.DataFrame({"id": list("ab"), "task": [2, 0]})
    scores, own = scored(rows, [0.4, 0.4]), contest(Standards)
    assert own.decode(rows, scores, {"thresholds": {"A": 0.45}, "threshold": 0.35}) == [1, 0]
    assert own.decode(rows, scored(rows, [0.5, 0.49]), {}) == [1, 0]


def test_runs_with_a_threshold_a_subtask_are_read_as_they_were():
    rows = pd.DataFrame({"id": list("ab"), "task": [2, 0]})
    decision = {"thresholds": {"0": 0.45, "2": 0.3}, "threshold": 0.9}
    assert contest(Standards).decode(rows, scored(rows, [0.4, 0.4]), decision) == [1, 0]


def test_the_metric_by_hand():
    rows = pd.DataFrame({"id": list("abcdef"), "task": [0, 0, 0, 0, 1, 1]})
    found = contest().score(rows, [1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0])
    # 短: one right of two found and two wanted, F1 0.5; 长: all right; together 2 of 3 and 3, F1 2/3.
    assert found == {"score": pytest.approx(2 / 3), "f1 all": pytest.approx(2 / 3), "f1 短": 0.5, "f1 长": 1.0}


def test_counts_of_pairs_add_up_to_the_score():
    rows = pairs()
    gold, predictions = rows["label"].tolist(), (1 - rows["label"] * (rows.index % 3 > 0)).tolist()
    right, predicted, wanted = contest().counts(rows, gold, predictions).sum(axis=(0, 1))
    assert contest().score(rows, gold, predictions)["score"] == pytest.approx(2 * right / (predicted + wanted))


def test_stacking_features_are_of_the_pair_alone_and_the_same_either_way_round():
    rows = pairs()
    features = contest().stacking_features(rows)
    assert len(features) == len(rows) and np.isfinite(features).all() and (features[:, -1] == rows["task"]).all()
    swapped = rows.rename(columns={"source": "target", "target": "source"}).tail(7)
    assert (contest().stacking_features(swapped) == features[-7:]).all()


def test_facts_count_what_stands_in_both_splits():
    train, own = pairs(), contest()
    mirrored = train.head(1).rename(columns={"source": "target", "target": "source"})
    facts = own.facts(train, mirrored)
    assert facts["test pairs that are also training pairs"] == 1
    assert facts["test texts that are also training texts"] == 2
    assert facts["training pairs that occur more than once"] == 0
    assert own.facts(train, train.head(0))["test pairs that are also training pairs"] == 0


# Members


def member(kind: type, **settings) -> MatcherMember:
    from common.training.arguments import TrainingConfig

    settings = {"architecture": ENCODER, "max_length": 32, "training": TrainingConfig(**TRAINING), **settings}
    return MatcherMember(kind(**settings), 3, 1, contest().judge)


@pytest.mark.parametrize("kind", [CrossEncoderSettings, BiEncoderSettings])
def test_the_vocabulary_of_a_unit_holds_nothing_of_its_held_out_rows(kind, tmp_path: Path):
    train, held_out = pairs(24), pairs(8, seed=1)
    held_out["source"] = HELD_OUT_ONLY * 2
    own = member(kind, pooling="idf", min_frequency=1)
    own.fit(train, held_out, ["云云"], tmp_path)
    vocabulary = own.text.tokenizer.get_vocab()
    assert not set(HELD_OUT_ONLY) & set(vocabulary)
    assert {"天", "云"} <= set(vocabulary)  # of the training rows and of the unlabelled text
    texts = [*dict.fromkeys([*train["source"], *train["target"]]), "云云"]
    ids = [np.array(own.text.tokenizer(text)["input_ids"]) for text in texts]
    expected = inverse_document_frequency(ids, len(vocabulary))
    assert own.model.pooling.token_idf.tolist() == pytest.approx(expected.tolist())
    assert own.model.pooling.token_idf[own.text.tokenizer.cls_token_id] == 0


@pytest.mark.parametrize("kind", [CrossEncoderSettings, BiEncoderSettings])
def test_a_restored_member_scores_as_the_fitted_one(kind, tmp_path: Path):
    train, rows = pairs(24), pairs(9, seed=1)
    own = member(kind, shared_ngrams=2)
    own.fit(train, rows, (), tmp_path)
    scores = own.scores(rows)
    assert scores.shape == (9,) and scores.dtype == np.float32 and ((scores > 0) & (scores < 1)).all()
    restored = member(kind, shared_ngrams=2).restore(tmp_path)
    np.testing.assert_allclose(restored.scores(rows), scores, atol=1e-6)
    # Neither the labels nor the rows beside a row have a say in its score.
    np.testing.assert_allclose(restored.scores(rows.drop(columns="label").tail(1)), scores[-1:], atol=1e-6)
    assert len(restored.scores(rows.head(0))) == 0


def test_features_are_as_long_as_allowed_and_the_masks_follow_from_them(tmp_path: Path):
    rows = pairs(6)
    rows.loc[0, "source"] = "天" * 100
    cross, single = member(CrossEncoderSettings, max_length=16), member(BiEncoderSettings, max_length=12)
    for own in (cross, single):
        own.fit_text(rows, (), tmp_path / own.settings.interaction)
    table, owners = cross.features(rows, labelled=True)
    assert table["length"][0] == len(table["input_ids"][0]) == len(table["token_type_ids"][0]) == 16
    assert owners.tolist() == list(range(6)) and list(table["labels"]) == rows["label"].tolist()
    table, _ = single.features(rows, labelled=False)
    assert table["length"][0] == 12 + 10 and "labels" not in table.column_names
    batch = single.collator()([table.remove_columns("length")[n] for n in range(6)])
    assert batch["attention_mask_a"].sum(1).tolist() == [12, *[10] * 5]
    assert batch["attention_mask_b"].sum(1).tolist() == [10] * 6
    assert set(batch) == {"input_ids_a", "input_ids_b", "attention_mask_a", "attention_mask_b", "task"}


def test_shared_ngrams_are_token_types_of_a_cross_encoder(tmp_path: Path):
    rows = pairs(4)
    rows.loc[0, ["source", "target"]] = ["天地人", "山天地"]
    own = member(CrossEncoderSettings, shared_ngrams=2, min_frequency=1)
    own.fit_text(rows, (), tmp_path)
    table, _ = own.features(rows, labelled=False)
    assert table["token_type_ids"][0] == [0, 4, 4, 0, 0, 1, 5, 5, 1]
    assert own.settings.architecture["type_vocab_size"] == 6
    assert member(CrossEncoderSettings, shared_ngrams=2, encoder="some/encoder").text.token_types == 6
    assert member(BiEncoderSettings, shared_ngrams=2).marks == 0


@pytest.mark.parametrize(("key", "value", "hint"), [
    ("task_handling", "conditional", "conditional_norm"), ("pooling", "means", "mean"),
    ("truncation", "balance", "balanced"), ("max_length", 3, "at least"),
])  # fmt: skip
def test_a_misspelt_setting_names_the_right_one(key, value, hint):
    with pytest.raises(ConfigError, match=hint):
        contest(use=["one"], members={"one": {"kind": "cross_encoder", key: value}})


def test_an_unknown_kind_of_member_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'cross_encoder'"):
        contest(use=["one"], members={"one": {"kind": "crossencoder"}})


def test_the_seed_of_a_unit_is_that_of_its_lexical_matcher():
    own = contest(use=["one"], members={"one": {"kind": "lexical"}}).build_member("one", 7)
    assert isinstance(own, PairLexicalMatcher) and own.settings.seed == 7


def test_a_pair_and_its_mirror_image_count_once_for_the_lexical_matcher():
    rows = pairs(3)
    mirrored = rows.rename(columns={"source": "target", "target": "source"})
    both = pd.concat([rows, mirrored.assign(id=["x", "y", "z"])], ignore_index=True)
    assert without_mirrored(both)["id"].tolist() == rows["id"].tolist()
    other = mirrored.assign(task=2, id=["x", "y", "z"])
    assert len(without_mirrored(pd.concat([rows, other], ignore_index=True))) == 6


def test_folds_of_one_vocabulary_read_the_text_once_and_score_as_if_each_had_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, members, reads = pairs(20), [], []
    whole = MatcherMember.features

    def features(self, rows, labelled):
        reads.append(self.seed)
        return whole(self, rows, labelled)

    monkeypatch.setattr(MatcherMember, "features", features)
    for number, (texts, length) in enumerate([(rows, 16), (rows, 16), (rows[:3], 16), (rows[:3], 12)]):
        settings = CrossEncoderSettings(architecture=ENCODER, min_frequency=1, max_length=length)
        member = MatcherMember(settings, 3, seed=number, judge=lambda *_: {})
        member.fit_text(texts, (), tmp_path / str(number))
        torch.manual_seed(number)
        member.model = member.build_model().eval()
        members.append(member)
    alone = [member.scores(rows) for member in members]
    reads.clear()
    shared = SharedText()
    for member, expected in zip(members, alone, strict=True):
        member.share_text(shared)
        assert (member.scores(rows) == expected).all()
    assert reads == [0, 2, 3], "another vocabulary or another length is another text"
