"""Heads that score every span as members: their labels in windows, and scores that blend with taggers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.config import ConfigError
from competitions.tasks.span_grid_members import SpanGridMember
from competitions.tasks.tagging_members import TaggerMember
from tests.competitions.conftest import Datagrand
from tests.competitions.tasks.test_tagging_members import LINE, table

KINDS = ["global_pointer", "biaffine"]
TINY = {"architecture": {"model_type": "recurrent", "embedding_size": 8, "hidden_size": 24}, "dropout": 0.0,
        "training": {"epochs": 2, "batch_size": 4, "recurrent_learning_rate": 0.03, "head_learning_rate": 0.03,
                     "precision": "fp32"}}  # fmt: skip


def words(kind: str, **settings) -> list[str]:
    """Overrides that add a member `grid` of that kind to the contest."""
    return [f"members.grid={ {'kind': kind, **TINY, **settings} }", "use=[grid]"]


def member(kit: Datagrand, kind: str, folder: Path, *more: str, **settings) -> SpanGridMember:
    contest = kit.contest(*words(kind, **settings), *more)
    found = contest.build_member("grid", 1)
    found.fit_text(contest.read_train(), (), folder)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hold_the_entities_that_lie_inside_them(datagrand: Datagrand, tmp_path: Path, kind: str) -> None:
    own = member(datagrand, kind, tmp_path, max_length=7, overlap=2)
    features, owners = own.features(table(LINE, (["40"], [])), labelled=True)
    for (row, start, stop), labels in zip(owners.tolist(), features["span_labels"], strict=True):
        inside = [span for span in LINE[1] if start <= span[0] and span[1] <= stop] if row == 0 else []
        wanted = [[first - start, end - start, "abc".index(kind)] for first, end, kind in inside]
        assert labels == (wanted or [[-1, -1, -1]])
    batch = own.collator()([{key: value for key, value in row.items() if key != "length"} for row in features])
    torch.manual_seed(1)
    assert own.build_model()(**batch).loss > 0
    alone = {key: value[-1:] for key, value in batch.items()}
    assert own.build_model()(**alone).loss > 0, "a batch without an entity is learned from too"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_scores_are_one_distribution_a_token_whatever_the_windows(
    datagrand: Datagrand, tmp_path: Path, kind: str, scheme: str
) -> None:
    own = member(datagrand, kind, tmp_path, f"scheme={scheme}", max_length=7, overlap=2)
    torch.manual_seed(1)
    own.model = own.build_model().eval()
    rows = table(LINE, (["40"], []), (["99999"] * 30, []), (LINE[0][:5], []))
    scores = own.scores(rows)
    assert [len(score) for score in scores] == [12, 1, 30, 5]
    for place, score in enumerate(scores):
        assert score.shape[1] == len(own.scheme.tags) and (score >= 0).all()
        np.testing.assert_allclose(score.sum(1), 1, atol=1e-4)
        np.testing.assert_allclose(own.scores(rows.iloc[[place]].reset_index(drop=True))[0], score, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_it_finds_entities_and_restored_it_scores_the_same(
    datagrand: Datagrand, tmp_path: Path, kind: str
) -> None:
    contest = datagrand.contest(*words(kind), "members.grid.training.epochs=8")
    rows = contest.read_train()
    train, held_out = rows.iloc[:40], rows.iloc[40:].reset_index(drop=True)
    own = contest.build_member("grid", 1)
    facts = own.fit(train, held_out, contest.unlabelled(), tmp_path)
    assert facts["best"] > 0.8, "entities of the tiny files follow from their tokens"
    restored = contest.build_member("grid", 1).restore(tmp_path)
    for before, after in zip(own.scores(rows), restored.scores(rows), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_kinds_and_mistakes_of_the_settings(datagrand: Datagrand) -> None:
    assert type(datagrand.contest().build_member("bilstm_crf", 1)) is TaggerMember
    for kind, wrong in (("global_pointer", {"head_size": 7}), ("biaffine", {"span_size": 0}),
                        ("biaffine", {"recurrent_size": 3})):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            datagrand.contest(*words(kind, **wrong))
