"""The lexical member: learns overlap, sees its training rows only, and comes back from its folder unchanged."""

import numpy as np
import pandas as pd
import pytest

from common.files import DataError
from common.members.lexical_matcher import LexicalMatcher, LexicalSettings

TOPICS = ("北京大雪天气", "股市上涨行情", "球队夺冠比赛", "手机发布新品", "电影票房排名", "高考分数公布")


def pairs(rows: int, seed: int, tasks: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """Pairs of shuffled topic words; label 1 when both texts are of one topic."""
    random = np.random.default_rng(seed)
    table = []
    for row in range(rows):
        label = int(random.random() < 0.4)
        one = int(random.integers(len(TOPICS)))
        other = one if label else (one + 1 + int(random.integers(len(TOPICS) - 1))) % len(TOPICS)
        texts = []
        for topic in (one, other):
            words = [TOPICS[topic][begin : begin + 2] for begin in (0, 2, 4)]
            texts.append("".join(random.permutation([*words, f"第{random.integers(100)}条", "今天"])))
        table.append((f"r{row}", *texts, int(tasks[row % len(tasks)]), label))
    return pd.DataFrame(table, columns=["id", "source", "target", "task", "label"])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lexical")
    matcher = LexicalMatcher(LexicalSettings(bags=2, rounds=20))
    facts = matcher.fit(pairs(150, 0), None, (), folder)
    return matcher, folder, facts


def test_learns_that_overlap_means_a_match(fitted):
    matcher, _, facts = fitted
    new = pairs(80, 1)
    scores = matcher.scores(new.drop(columns="label"))
    assert scores.shape == (80,) and scores.dtype == np.float32
    assert ((scores > 0.5) == (new["label"] == 1)).mean() > 0.95
    assert facts["boosters"] == 2


def test_restored_scores_are_the_same(fitted):
    matcher, folder, _ = fitted
    new = pairs(30, 2)
    np.testing.assert_array_equal(LexicalMatcher.load(folder).scores(new), matcher.scores(new))
    assert LexicalMatcher.load(folder).settings == matcher.settings


def test_everything_saved_is_json(fitted):
    assert {path.suffix for path in fitted[1].iterdir()} == {".json"}


def test_the_same_seed_fits_the_same_model(fitted, tmp_path):
    matcher, folder, _ = fitted
    LexicalMatcher(matcher.settings).fit(pairs(150, 0), None, (), tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_held_out_and_unlabelled_text_influence_nothing(fitted, tmp_path):
    matcher, folder, _ = fitted
    LexicalMatcher(matcher.settings).fit(pairs(150, 0), pairs(50, 3), ["北京大雪天气"] * 50, tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_score_does_not_depend_on_the_rows_scored_with_it(fitted):
    matcher, new = fitted[0], pairs(40, 4)
    one_by_one = np.concatenate([matcher.scores(new.iloc[[row]]) for row in range(len(new))])
    np.testing.assert_allclose(matcher.scores(new), one_by_one, atol=1e-6)


def test_swapped_pairs_score_the_same(fitted):
    new = pairs(40, 5)
    swapped = new.rename(columns={"source": "target", "target": "source"})
    np.testing.assert_allclose(fitted[0].scores(new), fitted[0].scores(swapped), atol=1e-6)


def test_one_to_six_subtasks_are_fitted_together(tmp_path):
    rows = pairs(420, 6, tasks=(0, 1, 2, 3, 4, 5))
    rows.loc[rows["task"] == 5, "label"] = 0  # so that only the task can tell
    matcher = LexicalMatcher(LexicalSettings(bags=1, rounds=20))
    matcher.fit(rows, None, (), tmp_path)
    new = pairs(120, 7)
    loose, strict = (matcher.scores(new.assign(task=task)) for task in (0, 5))
    match = new["label"] == 1
    assert loose[match].mean() > strict[match].mean() + 0.2


def test_a_subtask_never_fitted_still_gets_scores(fitted):
    new = pairs(40, 8)
    scores = fitted[0].scores(new.assign(task=3))
    assert np.isfinite(scores).all() and scores[new["label"] == 1].mean() > scores[new["label"] == 0].mean()


def test_no_rows_give_no_scores(fitted):
    assert fitted[0].scores(pairs(5, 9).iloc[:0]).shape == (0,)


def test_rows_with_one_label_are_refused(tmp_path):
    with pytest.raises(DataError, match="same label"):
        LexicalMatcher().fit(pairs(20, 0).assign(label=1), None, (), tmp_path)
    assert not list(tmp_path.iterdir())


def test_scoring_before_fitting_says_so():
    with pytest.raises(RuntimeError, match="before fit"):
        LexicalMatcher().scores(pairs(2, 0))
