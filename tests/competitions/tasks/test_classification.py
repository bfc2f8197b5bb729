"""Classification contests: folds, metrics and thresholds; and that members keep to the rows they are given."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.evaluation.bootstrap import f1_from_counts
from common.members.tfidf_classifier import TfidfClassifier, TfidfSettings, log_count_ratios
from common.training.arguments import TrainingConfig
from competitions.tasks.classification import ClassificationConfig, ClassificationContest
from competitions.tasks.classification_members import ClassifierMember, ClassifierSettings

CLASSES = ["天气", "饮食", "体育"]
WORDS = {"天气": "晴雨雪风", "饮食": "饭菜汤茶", "体育": "球跑跳泳"}
ENCODER = {"model_type": "recurrent", "embedding_size": 8, "hidden_size": 16, "num_layers": 1}


class Example(ClassificationContest):
    name, submission_file = "example", "submission.csv"

    def read_train(self):
        return texts()

    def read_test(self, path=None):
        return texts().drop(columns="label").head(0)

    def write_submission(self, path, rows, predictions): ...

    def read_predictions(self, path, like=None): ...

    def check_submission(self, path, test): ...


class Several(Example):
    several = True


class Pairs(Example):
    pair = True


def contest(kind: type = Example, **settings) -> Example:
    return kind(ClassificationConfig(**{"folds": 3, "classes": CLASSES, **settings}))


def texts(count: int = 60, seed: int = 0, several: bool = False) -> pd.DataFrame:
    """Texts that hold characters of their classes among others."""
    random = np.random.default_rng(seed)
    labels = [[name for name in CLASSES if random.random() < 0.4] if several else [CLASSES[n % 3]]
              for n in range(count)]  # fmt: skip
    rows = ["".join(random.choice(list("的了在是我有和人"), 6)) + "".join(random.choice(list(WORDS[name]))
            for name in own) + str(n) for n, own in enumerate(labels)]  # fmt: skip
    return pd.DataFrame({"id": [f"t{n}" for n in range(count)], "text": rows,
                         "text_b": [text[::-1] for text in rows],
                         "label": labels if several else [own[0] for own in labels]})  # fmt: skip


def scored(rows: pd.DataFrame, values: np.ndarray) -> Scores:
    return Scores.of(rows["id"].tolist(), values)


def test_rows_that_share_a_text_share_a_fold():
    rows = pd.concat([texts(), texts().assign(id=lambda table: "x" + table["id"])], ignore_index=True)
    folds = contest().folds(rows)
    assert (folds[:60] == folds[60:]).all()
    assert (pd.crosstab(folds, rows["label"]).to_numpy() >= 12).all()


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "micro_f1"])
def test_metrics_are_those_of_scikit_learn(metric):
    random, own = np.random.default_rng(1), contest(metric=metric)
    gold, found = ([CLASSES[n] for n in random.integers(0, 3, 50)] for _ in range(2))
    result = own.score(texts(50), gold, found)
    expected = {"accuracy": accuracy_score(gold, found), "macro_f1": f1_score(gold, found, average="macro"),
                "micro_f1": f1_score(gold, found, average="micro")}  # fmt: skip
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert result["score"] == pytest.approx(expected[metric])
    assert f1_from_counts(own.counts(texts(50), gold, found).sum(axis=0)) == pytest.approx(result["score"])


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "micro_f1"])
def test_metrics_of_several_labels_are_those_of_scikit_learn(metric):
    own, rows = contest(Several, metric=metric), texts(50, several=True)
    gold, found = rows["label"].tolist(), texts(50, seed=4, several=True)["label"].tolist()
    tables = [[[name in labels for name in CLASSES] for labels in side] for side in (gold, found)]
    expected = {"accuracy": accuracy_score(*map(np.array, tables)),
                "macro_f1": f1_score(*tables, average="macro"),
                "micro_f1": f1_score(*tables, average="micro")}  # fmt: skip
    result = own.score(rows, gold, found)
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert f1_from_counts(own.counts(rows, gold, found).sum(axis=0)) == pytest.approx(result["score"])


def test_a_class_that_no_gold_row_has_leaves_macro_f1_without_intervals():
    own = contest(metric="macro_f1")
    assert own.counts(texts(2), ["天气", "饮食"], ["天气", "体育"]) is None
    assert own.score(texts(2), ["天气", "饮食"], ["天气", "体育"])["score"] == pytest.approx(1 / 3)


def test_thresholds_are_those_of_each_label_and_see_only_the_rows_given():
    rows = pd.DataFrame({"id": list("abcd"), "label": [["天气"], ["天气", "饮食"], ["饮食"], []]})
    values = np.array([[0.9, 0.3, 0.1], [0.8, 0.4, 0.2], [0.2, 0.4, 0.1], [0.1, 0.1, 0.1]])
    own = contest(Several, metric="macro_f1")
    scores = scored(rows, values[:, :, None])
    assert own.decode(rows, scores, own.fit_decision(rows, scores)) == rows["label"].tolist()
    assert own.decode(rows, scores, {}) == [["天气"], ["天气"], [], []]
    assert own.fit_decision(rows[:2], scores.take(np.arange(2))) != own.fit_decision(rows, scores)
    together = contest(Several, metric="micro_f1").fit_decision(rows, scores)["thresholds"]
    assert len(set(together)) == 1 and len(together) == 3


def test_units_are_rows_or_for_several_labels_rows_times_classes():
    one, several = texts(9), texts(9, several=True)
    assert contest().targets(one).tolist() == [0, 1, 2] * 3
    targets = contest(Several).targets(several)
    assert targets.reshape(9, 3).astype(bool).tolist() == [[name in own for name in CLASSES]
                                                           for own in several["label"]]  # fmt: skip
    assert contest(Several).stacking_features(several).shape == (27, 1)


# Members


def tfidf(several: bool = False, pair: bool = False, **settings) -> TfidfClassifier:
    return TfidfClassifier(TfidfSettings(min_frequency=1, **settings), CLASSES, several, pair)


def naive_bayes(several: bool = False, pair: bool = False) -> TfidfClassifier:
    return tfidf(several, pair, naive_bayes=True)


def neural(several: bool = False, pair: bool = False, **settings) -> ClassifierMember:
    training = TrainingConfig(epochs=1, batch_size=8, keep="last", precision="fp32")
    own = ClassifierSettings(**{"architecture": ENCODER, "max_length": 32, "training": training, **settings})
    return ClassifierMember(own, CLASSES, several, pair, 1, contest(Several if several else Example).judge)


@pytest.mark.parametrize("make", [tfidf, naive_bayes, neural])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("pair", [False, True])
def test_a_restored_member_scores_as_the_fitted_one_and_labels_have_no_say(make, several, pair, tmp_path: Path):
    train, rows = texts(40, several=several), texts(7, seed=3, several=several)
    own = make(several, pair)
    own.fit(train, rows, ["晴天"], tmp_path)
    values = own.scores(rows)
    assert values.shape == ((7, 3, 1) if several else (7, 1, 3)) and values.dtype == np.float32
    if not several:
        assert values.sum(axis=2) == pytest.approx(np.ones((7, 1)), abs=1e-5)
    again = make(several, pair).restore(tmp_path)
    columns = ["id", "text", "text_b"] if pair else ["id", "text"]
    np.testing.assert_allclose(again.scores(rows[columns].tail(1)), values[-1:], atol=1e-5)
    scores = Scores.of(rows["id"].tolist(), values)
    assert len(scores.values) == len(contest(Several if several else Example).targets(rows))
    assert again.scores(rows.head(0)).shape[0] == 0


@pytest.mark.parametrize("make", [tfidf, naive_bayes])
def test_the_tfidf_classifier_learns_which_words_make_a_class(make):
    own = make()
    own._save = lambda folder: None
    own.fit(texts(120), None, (), Path())
    rows = texts(60, seed=5)
    found = contest().decode(rows, scored(rows, own.scores(rows)), {})
    assert contest().score(rows, rows["label"].tolist(), found)["score"] > 0.9


def test_the_tfidf_classifier_knows_no_word_of_held_out_rows_and_never_gives_an_absent_class(tmp_path: Path):
    train = texts(40)
    train = train[train["label"] != "体育"].reset_index(drop=True)
    own, held_out = tfidf(), texts(5).assign(text="魑魅魍魉")
    own.fit(train, held_out, ["魑魅"], tmp_path)
    assert not any("魑" in term for term in own.vectorizer.vocabulary_)
    assert own.scores(train)[:, 0, 2].max() < 1e-6
    assert own.scores(train)[:, 0, :2].sum(axis=1) == pytest.approx(np.ones(len(train)), abs=1e-5)


def test_log_count_ratios_are_those_of_naive_bayes_and_scores_those_of_weighted_terms(tmp_path: Path):
    features = csr_matrix([[0.5, 0.0, 0.2], [0.1, 0.3, 0.0], [0.0, 0.9, 0.4]])
    # Of the class: terms in 2, 1 and 1 texts, one more each makes 3, 2, 2 of 7; of the others 1, 2, 2 of 5.
    expected = np.log([3 / 7 / (1 / 5), 2 / 7 / (2 / 5), 2 / 7 / (2 / 5)])
    np.testing.assert_allclose(log_count_ratios(features, np.array([True, True, False])), expected)

    train = texts(40)
    train = train[train["label"] != "体育"].reset_index(drop=True)
    own = naive_bayes()
    own.fit(train, None, (), tmp_path)
    present = (train["label"] == "饮食").to_numpy()
    terms = own.vectorizer.transform(own._terms(train["text"].tolist()))
    weighted = terms.multiply(log_count_ratios(terms, present)).tocsr()
    reference = LogisticRegression(C=5.0, max_iter=1000).fit(weighted, present).predict_proba(weighted)
    np.testing.assert_allclose(own.scores(train)[:, 0, :2], reference, atol=1e-4)


def test_grades_are_learned_and_a_restored_member_gives_the_same(tmp_path: Path):
    training = TrainingConfig(epochs=8, batch_size=8, keep="last", precision="fp32", recurrent_learning_rate=0.02,
                              head_learning_rate=0.02)  # fmt: skip
    train, rows = texts(90), texts(30, seed=3)
    own = neural(ordinal=True, pooling="max", training=training)
    own.fit(train, rows, (), tmp_path)
    values = own.scores(rows)
    assert own.model.config.kind == "ordinal" and values.sum(axis=2) == pytest.approx(np.ones((30, 1)), abs=1e-5)
    found = contest().decode(rows, scored(rows, values), {})
    assert contest().score(rows, rows["label"].tolist(), found)["accuracy"] > 0.5, "a third by chance"
    again = neural(ordinal=True, pooling="max", training=training).restore(tmp_path)
    np.testing.assert_allclose(again.scores(rows), values, atol=1e-5)


def test_grades_are_for_one_label_a_text():
    with pytest.raises(ConfigError, match="ordinal"):
        neural(several=True, ordinal=True)


@pytest.mark.parametrize(("settings", "hint"), [
    ({"metric": "macro"}, "macro_f1"), ({"classes": ["天气"]}, "at least two"), ({"classes": ["a", "a", "b"]}, "once"),
    ({"use": ["m"], "members": {"m": {"kind": "tfid"}}}, "did you mean 'tfidf'"),
    ({"use": ["m"], "members": {"m": {"kind": "classifier", "pooling": "means"}}}, "did you mean 'mean'"),
])  # fmt: skip
def test_a_wrong_setting_is_named(settings, hint):
    with pytest.raises(ConfigError, match=hint):
        contest(**settings)


def test_facts_count_classes_and_repetitions():
    train = texts(6)
    facts = contest().facts(pd.concat([train, train.head(1)]), train.head(2))
    assert facts["classes"] == "天气 3, 饮食 2, 体育 2"
    assert facts["training rows that repeat another"] == 1
    assert facts["test rows that are also training rows"] == 2
