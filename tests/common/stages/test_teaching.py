"""A teacher says nothing that it could know from the rows that its pupil is scored on."""

import numpy as np
import pandas as pd
import pytest

from common.config import ConfigError
from common.ensembling.scores import Scores
from common.files import DataError, read_json
from common.run import Run
from common.stages.rows import read_rows
from common.stages.teaching import Teacher, check_teacher, pseudo_labelled, taught
from common.stages.train import train
from competitions.launch import configured
from tests.common.toy import OneFeatureMember


@pytest.fixture
def teacher(toy, tmp_path) -> str:
    """The folder of a finished run of two members and two seeds."""
    folder = str(tmp_path / "teacher")
    train(toy(output_dir=folder, seeds=[1, 2]))
    return folder


def pupil(toy, teacher: str, **settings):
    return toy(use=["a"], teacher={"run": teacher, "confidence": 0.8, **settings})


@pytest.fixture
def tables(monkeypatch) -> dict[int, pd.DataFrame]:
    """What each fold was fitted on, by how it was held out."""
    seen, fit = {}, OneFeatureMember.fit

    def spy(self, table, held_out, *rest):
        seen[tuple(held_out["id"])] = table
        return fit(self, table, held_out, *rest)

    monkeypatch.setattr(OneFeatureMember, "fit", spy)
    return seen


@pytest.mark.parametrize("settings", [{"pseudo": "hard"}, {"pseudo": "soft"}, {"share": 0.5}], ids=str)
def test_a_fold_is_taught_by_models_that_never_saw_its_held_out_rows(toy, teacher, monkeypatch, settings):
    taught_by: list[list[str]] = []
    restore = OneFeatureMember.restore

    def spy(self, folder):
        taught_by.append(read_json(folder / "member.json")["fitted_on"])
        return restore(self, folder)

    monkeypatch.setattr(OneFeatureMember, "restore", spy)
    contest = pupil(toy, teacher, **settings)
    rows, run = read_rows(contest), Run(contest)
    for fold in range(3):
        taught_by.clear()
        held_out = set(rows.train["id"][rows.folds == fold])
        fit_on = rows.train[rows.folds != fold].reset_index(drop=True)
        taught(contest, run, rows, fold, fit_on)
        assert len(taught_by) == 4, "both members, both seeds"
        assert not any(held_out & set(ids) for ids in taught_by)


def test_gold_labels_of_held_out_rows_change_nothing_that_a_fold_is_fitted_on(toy, tmp_path, monkeypatch, tables):
    """The proof from outside: another gold label in fold 0 leaves every label and score of fold 0's table as it was."""

    def fitted_on(name: str, flipped: bool) -> pd.DataFrame:
        contest = toy(output_dir=str(tmp_path / name))
        read, first = contest.read_train, read_rows(contest)
        victims = set(first.train["id"][first.folds == 0])

        def changed(self):
            rows = read()
            return rows.assign(label=np.where(rows["id"].isin(victims), 1 - rows["label"], rows["label"]))

        with monkeypatch.context() as patched:
            if flipped:
                patched.setattr(type(contest), "read_train", changed)
                # The same folds, though strata changed: what is tested is the labels' way, not that of the folds.
                patched.setattr(type(contest), "folds", lambda self, rows: first.folds)
            train(contest)
            tables.clear()
            own = {"run": str(tmp_path / name), "pseudo": "soft", "share": 0.5, "confidence": 0.7}
            train(toy(output_dir=str(tmp_path / f"{name}-pupil"), use=["a"], teacher=own))
        return next(table for held_out, table in tables.items() if victims == set(held_out))

    one, other = fitted_on("one", False), fitted_on("other", True)
    assert one["id"].str.startswith("teacher:").sum() > 3
    assert one.drop(columns="teacher").equals(other.drop(columns="teacher"))
    for own, again in zip(one["teacher"], other["teacher"], strict=True):
        assert np.array_equal(own, again)


def test_only_certain_rows_join_and_hard_labels_are_the_teachers_predictions(toy, teacher, tables):
    contest = pupil(toy, teacher, pseudo="hard")
    train(contest)
    rows = read_rows(contest)
    for fold in range(3):
        held_out = tuple(rows.train["id"][rows.folds == fold])
        table = tables[held_out]
        joined = table[table["id"].str.startswith("teacher:")]
        said = Teacher(contest, rows).scores(fold, rows.test)
        sure = [(f"teacher:{name}", int(value >= 0.5)) for name, value in zip(said.ids, said.values[:, 0], strict=True)
                if max(value, 1 - value) >= 0.8]  # fmt: skip
        assert list(zip(joined["id"], joined["label"], strict=True)) == sure and 0 < len(sure) < len(rows.test)
        assert "teacher" not in table and table["label"].dtype == rows.train["label"].dtype
        facts = [run for run in Run(contest).units() if run.fold == fold]
        assert Run(contest).finished(facts[0])["rows"] == len(table)


def test_soft_labels_and_shares_stand_beside_the_rows(toy, teacher, tables):
    train(pupil(toy, teacher, pseudo="soft", share=0.25))
    for table in tables.values():
        joined = table["id"].str.startswith("teacher:")
        assert set(table["teacher_share"][joined]) == {1.0} and set(table["teacher_share"][~joined]) == {0.25}
        assert all(value.shape == (1, 1) for value in table["teacher"])


def test_the_surest_rows_are_taken_where_there_are_too_many(toy, teacher):
    contest = pupil(toy, teacher, pseudo="hard", most=2, confidence=0.6)
    test = contest.read_test().head(4)
    scores = Scores.of(test["id"].tolist(), np.array([0.7, 0.1, 0.55, 0.95]))
    found, kept = pseudo_labelled(contest, test, scores)
    assert found["label"].tolist() == [0, 1] and kept.ids == (test["id"][1], test["id"][3])


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"pseudo": "hrd"}, "'hard'"), ({}, "teaches nothing"), ({"share": 2.0}, "from 0 to 1"),
     ({"run": "", "share": 0.5}, "need a teacher"), ({"run": "nowhere", "share": 0.5}, "nowhere")],
)  # fmt: skip
def test_misuse_is_named(toy, teacher, settings, says):
    with pytest.raises((ConfigError, DataError), match=says):
        train(pupil(toy, teacher, **settings))


@pytest.mark.parametrize("soft", ["teacher.share=0.5", "teacher.pseudo=soft"])
def test_a_member_that_learns_from_no_distributions_is_named_before_any_training(teacher, soft):
    words = [f"teacher.run={teacher}", "use=[bilstm_crf,span_pointers]"]
    with pytest.raises(ConfigError, match="SpanMember"):
        check_teacher(configured("datagrand_extraction", [], [*words, soft]))
    check_teacher(configured("datagrand_extraction", [], [*words, "teacher.pseudo=hard"]))


def test_a_teacher_with_other_folds_is_refused(toy, teacher):
    contest = toy(use=["a"], folds=4, teacher={"run": teacher, "share": 0.5})
    with pytest.raises(ConfigError, match="other rows or folds"):
        train(contest)


def test_another_teacher_makes_another_unit(toy, teacher):
    contest = pupil(toy, teacher, pseudo="hard")
    train(contest)
    with pytest.raises(ConfigError, match="other settings"):
        train(pupil(toy, teacher, pseudo="soft"))
