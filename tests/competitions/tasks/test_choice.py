"""Choice contests: folds by passage, candidates of different numbers, and members that keep to the rows they see."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.ensembling.scores import Scores
from common.evaluation.bootstrap import f1_from_counts
from common.members.lexical_matcher import LexicalSettings
from common.training.arguments import TrainingConfig
from competitions.tasks.choice import ChoiceConfig, ChoiceContest
from competitions.tasks.choice_members import ChoiceCollator, ChoiceLexicalMatcher, ChoiceMember, ChoiceSettings
from competitions.tasks.choice_rows import candidates

ENCODER = {"model_type": "recurrent", "embedding_size": 8, "hidden_size": 16, "num_layers": 1}
PLACES = ["北湖", "南山", "东桥", "西岭", "青石", "白云"]


class Example(ChoiceContest):
    name, submission_file = "example", "submission.json"

    def read_train(self):
        return questions()

    def read_test(self, path=None):
        return questions().head(0)

    def write_submission(self, path, rows, predictions): ...

    def read_predictions(self, path, like=None): ...

    def check_submission(self, path, test): ...


def contest(**settings) -> Example:
    return Example(ChoiceConfig(**{"folds": 2, **settings}))


def questions(count: int = 24, seed: int = 0) -> pd.DataFrame:
    """Where is somebody? Two questions a passage, two to four candidates each, one of them in the passage."""
    random, rows = np.random.default_rng(seed), []
    for n in range(count):
        where = random.permutation(PLACES).tolist()
        passage = f"第{n // 2}天，他到了{where[0]}。" if n % 2 == 0 else rows[-1][1]
        right = passage[-3:-1]
        choices = [right, *(own for own in where if own != right)][: 2 + n % 3]
        order = random.permutation(len(choices)).tolist()
        rows.append((f"q{n}", passage, "他到了哪里？", [choices[own] for own in order], order.index(0)))
    return pd.DataFrame(rows, columns=["id", "passage", "question", "choices", "label"])


def lexical() -> ChoiceLexicalMatcher:
    return ChoiceLexicalMatcher(LexicalSettings(rounds=3, bags=1))


def neural(**settings) -> ChoiceMember:
    training = TrainingConfig(epochs=1, batch_size=8, keep="last", precision="fp32")
    own = ChoiceSettings(**{"architecture": ENCODER, "max_length": 32, "training": training, **settings})
    return ChoiceMember(own, 1, contest().judge)


def test_questions_about_a_passage_share_a_fold():
    folds = contest().folds(questions())
    assert (folds[::2] == folds[1::2]).all() and sorted(np.bincount(folds)) == [12, 12]


def test_candidates_are_a_row_each_beside_their_passage():
    rows = questions(2)
    table = candidates(rows)
    assert table["choice"].tolist() == [*rows["choices"][0], *rows["choices"][1]]
    assert table["source"][2] == f"他到了哪里？ {rows['choices'][1][0]}" and table["target"][2] == rows["passage"][1]
    assert np.flatnonzero(table["label"]).tolist() == [rows["label"][0], 2 + rows["label"][1]]
    assert contest().targets(rows).tolist() == table["label"].tolist()
    assert "label" not in candidates(rows.drop(columns="label")) and not len(candidates(rows.head(0)))


def test_the_likeliest_of_a_question_own_candidates_is_chosen_and_accuracy_counted():
    rows = questions(3)  # two, three and four candidates
    values = [[0.2, 0.8], [0.5, 0.1, 0.4], [0.0, 0.3, 0.3, 0.2]]
    scores = Scores.of(rows["id"].tolist(), [np.array(own)[:, None] for own in values])
    assert contest().decode(rows, scores, {}) == [1, 0, 1]
    assert contest().score(rows, [1, 2, 1], [1, 0, 1])["score"] == pytest.approx(2 / 3)
    assert f1_from_counts(contest().counts(rows, [1, 2, 1], [1, 0, 1]).sum(axis=0)) == pytest.approx(2 / 3)


def test_a_batch_has_as_many_choices_as_its_richest_question_and_masks_the_rest():
    rows = [{"input_ids": [5, 6, 7, 8, 9], "token_type_ids": [0, 1, 0, 1, 2], "lengths": [2, 3], "labels": 1},
            {"input_ids": [4], "token_type_ids": [1], "lengths": [1], "labels": 0}]  # fmt: skip
    batch = ChoiceCollator({"input_ids": 3, "token_type_ids": 0})(rows)
    assert batch["input_ids"].tolist() == [[[5, 6, 3], [7, 8, 9]], [[4, 3, 3], [3, 3, 3]]]
    assert batch["token_type_ids"].tolist() == [[[0, 1, 0], [0, 1, 2]], [[1, 0, 0], [0, 0, 0]]]
    assert batch["attention_mask"].tolist() == [[[1, 1, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 0]]]
    assert batch["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("make", [lexical, neural, lambda: neural(shared_ngrams=2)])
def test_a_restored_member_scores_as_the_fitted_one_and_labels_have_no_say(make, tmp_path: Path):
    train, rows = questions(), questions(7, seed=3)
    own = make()
    own.fit(train, rows, ["晴天"], tmp_path)
    values = own.scores(rows)
    assert [own.shape for own in values] == [(len(choices), 1) for choices in rows["choices"]]
    assert [own.sum() for own in values] == pytest.approx([1.0] * len(rows), abs=1e-5)
    again = make().restore(tmp_path)
    # Alone, without its label: neither other questions nor the answer change what a question gets.
    alone = again.scores(rows.tail(1).drop(columns="label"))
    np.testing.assert_allclose(alone[0], values[-1], atol=1e-5)
    assert not len(again.scores(rows.head(0)))


def test_a_member_learns_which_candidate_the_passage_names(tmp_path: Path):
    torch.manual_seed(0)
    rates = {"recurrent_learning_rate": 1e-2, "head_learning_rate": 1e-2, "keep": "last", "precision": "fp32"}
    own = neural(shared_ngrams=2, training=TrainingConfig(epochs=10, batch_size=8, **rates))
    own.fit(questions(90), questions(4, seed=2), (), tmp_path)
    rows = questions(40, seed=5)
    found = contest().decode(rows, Scores.of(rows["id"].tolist(), own.scores(rows)), {})
    assert contest().score(rows, contest().gold(rows), found)["score"] > 0.9


def test_facts_say_what_guessing_gives():
    facts = contest().facts(questions(6), questions(2))
    assert facts["right by guessing"] == f"{(1 / 2 + 1 / 3 + 1 / 4) / 3:.1%}"
    assert facts["test questions about a training passage"] == 2
