"""Neural taggers as members: windows, labels, scores, and a vocabulary that never saw the held-out fold."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from common.config import ConfigError
from common.text.vocabulary import character_tokenizer
from competitions.tasks.tagging_members import IGNORED, SpanMember, TaggerMember
from tests.competitions.conftest import Datagrand

SMALL = ("members.bilstm_crf.max_length=7", "members.span_pointers.max_length=7",
         "members.bilstm_crf.overlap=2", "members.span_pointers.overlap=2")  # fmt: skip
# 12 tokens; with [CLS] and [SEP] a window of 7 holds 5.
LINE = (["40", "11", "12", "41", "21", "22", "23", "42", "31", "43", "11", "12"],
        [(1, 3, "a"), (4, 7, "b"), (8, 9, "c"), (10, 12, "a")])  # fmt: skip


def table(*lines: tuple[list[str], list[tuple[int, int, str]]]) -> pd.DataFrame:
    return pd.DataFrame([(f"{n}", *line) for n, line in enumerate(lines, 1)], columns=["id", "tokens", "spans"])


def member(kit: Datagrand, name: str, folder: Path, *words: str) -> TaggerMember:
    """A member with a vocabulary, of the official training lines."""
    contest = kit.contest(*words)
    found = contest.build_member(name, 1)
    found.fit_text(contest.read_train(), (), folder)
    return found


@pytest.fixture
def tagger(datagrand: Datagrand, tmp_path: Path) -> TaggerMember:
    return member(datagrand, "bilstm_crf", tmp_path, *SMALL)


@pytest.fixture
def pointers(datagrand: Datagrand, tmp_path: Path) -> SpanMember:
    return member(datagrand, "span_pointers", tmp_path, *SMALL)


# Features


def test_a_line_that_fits_is_one_window_with_its_tags(tagger: TaggerMember) -> None:
    rows = table((LINE[0][:5], [(1, 3, "a")]))
    features, owners = tagger.features(rows, labelled=True)
    assert owners.tolist() == [[0, 0, 5]] and features["length"] == [7]
    assert features["labels"][0] == tagger.scheme.encode([(1, 3, "a")], 5).tolist()
    names = tagger.text.tokenizer.convert_ids_to_tokens(features["input_ids"][0])
    assert names == ["[CLS]", *LINE[0][:5], "[SEP]"]
    assert [names[place] for place in features["word_positions"][0]] == LINE[0][:5]


def test_a_longer_line_becomes_windows_that_overlap_and_cover_it(tagger: TaggerMember) -> None:
    features, owners = tagger.features(table(LINE, (["40"], [])), labelled=True)
    spans = [tuple(span) for row, *span in owners.tolist() if row == 0]
    assert spans[0] == (0, 5) and spans[-1] == (7, 12) and owners[-1].tolist() == [1, 0, 1]
    assert all(before[1] - after[0] >= 2 for before, after in itertools.pairwise(spans))
    for (start, stop), ids, positions in zip(spans, features["input_ids"], features["word_positions"], strict=False):
        names = tagger.text.tokenizer.convert_ids_to_tokens(ids)
        assert len(ids) <= 7 and names[0] == "[CLS]" and names[-1] == "[SEP]"
        assert [names[place] for place in positions] == LINE[0][start:stop]


def test_of_an_entity_that_a_window_cuts_the_piece_has_no_label(tagger: TaggerMember) -> None:
    """An inside tag without its beginning is a sequence that the CRF forbids."""
    whole = tagger.scheme.encode(LINE[1], 12)
    features, owners = tagger.features(table(LINE), labelled=True)
    cut_somewhere = False
    for (_, start, stop), labels in zip(owners.tolist(), features["labels"], strict=True):
        for word in range(start, stop):
            inside = [(first, end) for first, end, _ in LINE[1] if first <= word < end]
            cut = bool(inside) and not (start <= inside[0][0] and inside[0][1] <= stop)
            assert labels[word - start] == (IGNORED if cut else whole[word])
            cut_somewhere |= cut
    assert cut_somewhere


def test_windows_are_no_longer_than_the_encoder_takes(datagrand: Datagrand, tmp_path: Path) -> None:
    bert = "members.bilstm_crf.architecture={model_type: bert, hidden_size: 8, num_hidden_layers: 1," \
           " num_attention_heads: 1, intermediate_size: 8, max_position_embeddings: 10}"  # fmt: skip
    own = member(
        datagrand, "bilstm_crf", tmp_path, bert, "members.bilstm_crf.word_vectors.epochs=0", "use=[bilstm_crf]"
    )
    features, owners = own.features(table(LINE), labelled=False)
    assert max(features["length"]) == 10 and len(owners) == 2


def test_no_room_beside_the_special_tokens_is_a_mistake_of_the_settings(datagrand: Datagrand, tmp_path: Path) -> None:
    own = member(datagrand, "bilstm_crf", tmp_path, "members.bilstm_crf.max_length=2")
    with pytest.raises(ConfigError, match="max_length=2 leaves no room"):
        own.features(table(LINE), labelled=False)


def test_a_word_wider_than_a_window_stands_in_one_of_its_own(tagger: TaggerMember) -> None:
    """A pretrained WordPiece vocabulary may spell a number by its digits."""
    tagger.text.tokenizer = character_tokenizer(["1 2 3"], 1)
    features, owners = tagger.features(table((["1", "123456789", "2", "3"], [(1, 2, "a")])), labelled=True)
    spans = [tuple(span) for _, *span in owners.tolist()]
    assert (1, 2) in spans and {word for start, stop in spans for word in range(start, stop)} == {0, 1, 2, 3}
    alone = spans.index((1, 2))
    assert features["length"][alone] == 7 and features["word_positions"][alone] == [1]
    names = tagger.text.tokenizer.convert_ids_to_tokens(features["input_ids"][alone])
    assert names == ["[CLS]", "1", "##2", "##3", "##4", "##5", "[SEP]"]


def test_pointers_by_hand(pointers: SpanMember) -> None:
    rows = table((["11", "12", "21", "22", "23"], [(0, 2, "a"), (2, 5, "b")]))
    features, _ = pointers.features(rows, labelled=True)
    assert np.argwhere(features["start_labels"][0]).tolist() == [[0, 0], [2, 1]]
    assert np.argwhere(features["end_labels"][0]).tolist() == [[1, 0], [4, 1]]


def test_pointers_of_a_cut_entity_say_what_the_window_sees(pointers: SpanMember) -> None:
    features, owners = pointers.features(table(LINE), labelled=True)
    for (_, start, stop), starts, ends in zip(
        owners.tolist(), features["start_labels"], features["end_labels"], strict=True
    ):
        assert np.shape(starts) == np.shape(ends) == (stop - start, 3)
        wanted_starts = {(first - start, "abc".index(kind)) for first, _, kind in LINE[1] if start <= first < stop}
        wanted_ends = {(end - 1 - start, "abc".index(kind)) for _, end, kind in LINE[1] if start < end <= stop}
        assert {tuple(place) for place in np.argwhere(starts)} == wanted_starts
        assert {tuple(place) for place in np.argwhere(ends)} == wanted_ends


# Scores


@pytest.mark.parametrize("name", ["bilstm_crf", "span_pointers"])
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_scores_are_one_distribution_a_token_whatever_the_windows(
    datagrand: Datagrand, tmp_path: Path, name: str, scheme: str
) -> None:
    own = member(datagrand, name, tmp_path, *SMALL, f"scheme={scheme}")
    torch.manual_seed(1)
    own.model = own.build_model().eval()
    rows = table(LINE, (["40"], []), (["99999"] * 30, []), (LINE[0][:5], []))
    scores = own.scores(rows)
    assert [len(score) for score in scores] == [12, 1, 30, 5]
    for score in scores:
        assert score.shape[1] == len(own.scheme.tags) and (score >= 0).all()
        np.testing.assert_allclose(score.sum(1), 1, atol=1e-4)
    # A line is scored the same alone and in company.
    for place in range(4):
        np.testing.assert_allclose(own.scores(rows.iloc[[place]].reset_index(drop=True))[0], scores[place], atol=1e-5)
    assert list(own.scores(rows.iloc[:0])) == []


def test_a_window_scores_its_words_as_a_line_of_its_own(tagger: TaggerMember) -> None:
    torch.manual_seed(1)
    tagger.model = tagger.build_model().eval()
    scores = tagger.scores(table(LINE))[0]
    first, last = tagger.scores(table((LINE[0][:5], []), (LINE[0][7:], [])))
    np.testing.assert_allclose(scores[:3], first[:3], atol=1e-5)
    np.testing.assert_allclose(scores[-3:], last[-3:], atol=1e-5)


def test_emissions_are_there_where_crfs_are_averaged(datagrand: Datagrand, tmp_path: Path) -> None:
    own = member(datagrand, "bilstm_crf", tmp_path, *SMALL, "members.bilstm_crf.average=crf")
    own.model = own.build_model().eval()
    scores = own.scores(table(LINE, (["40"], [])))
    assert [part.shape for part in own.emissions] == [part.shape for part in scores] == [(12, 7), (1, 7)]
    own.scores(table((["40"], [])))
    assert len(own.emissions) == 1, "those of the rows that were scored last"


def test_sure_pointers_become_sure_tags(pointers: SpanMember) -> None:
    """SpanMember's scores follow from its pointers: an a over the first two words, and nothing else."""

    class Pointing(torch.nn.Module):
        def probabilities(self, word_positions: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
            found = torch.zeros(*word_positions.shape, 2, 3)
            found[:, 0, 0, 0] = found[:, 1, 1, 0] = 0.9
            return found

    batch = {"word_positions": torch.tensor([[1, 2, 3, -1], [1, 2, 3, 4]])}
    (first,), (second,) = pointers.forward(Pointing(), batch)
    assert first.shape == (3, 7) and second.shape == (4, 7)
    for values in (first, second):
        np.testing.assert_allclose(values[:2].argmax(1), [1, 2])
        assert (values[[0, 1], [1, 2]] > 0.8).all() and (values[2:, 0] > 0.9).all()
        np.testing.assert_allclose(values.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["bilstm_crf", "span_pointers"])
def test_restored_it_scores_as_when_it_was_fitted(datagrand: Datagrand, tmp_path: Path, name: str) -> None:
    contest = datagrand.contest(f"members.{name}.training.epochs=1")
    rows = contest.read_train()
    own = contest.build_member(name, 1)
    facts = own.fit(rows.iloc[:40], rows.iloc[40:].reset_index(drop=True), contest.unlabelled(), tmp_path)
    assert facts["steps"] == 10
    restored = contest.build_member(name, 1).restore(tmp_path)
    for before, after in zip(own.scores(rows), restored.scores(rows), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


# Nothing is fitted on the held-out fold


@pytest.fixture
def split(datagrand: Datagrand) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit on, and held-out rows that alone have the number 777."""
    rows = datagrand.contest().read_train()
    held_out = rows.iloc[40:].reset_index(drop=True)
    held_out["tokens"] = [["777", "777", *tokens[2:]] for tokens in held_out["tokens"]]
    return rows.iloc[:40].reset_index(drop=True), held_out


@pytest.mark.parametrize("name", ["bilstm_crf", "span_pointers"])
def test_what_only_the_held_out_fold_has_is_unknown(datagrand: Datagrand, tmp_path: Path, name: str, split) -> None:
    contest = datagrand.contest(f"members.{name}.training.max_steps=1")
    own = contest.build_member(name, 1)
    own.fit(*split, contest.unlabelled(), tmp_path)
    tokenizer = own.text.tokenizer
    assert tokenizer.convert_tokens_to_ids("777") == tokenizer.unk_token_id
    features, _ = own.features(split[1], labelled=False)
    assert features["input_ids"][0][1:3] == [tokenizer.unk_token_id] * 2
    unknown = tokenizer.unk_token_id
    keys = load_file(tmp_path / "bigrams.safetensors")["values"]
    assert not (keys == unknown * len(tokenizer) + unknown).any(), "two unknown numbers side by side are held out alone"


def test_the_held_out_fold_changes_no_vocabulary_bigram_or_vector(datagrand: Datagrand, tmp_path: Path, split) -> None:
    contest = datagrand.contest("members.bilstm_crf.training.max_steps=1", "members.bilstm_crf.training.keep=last")
    train, held_out = split
    for name, other in (("one", held_out), ("two", held_out.iloc[:3])):
        contest.build_member("bilstm_crf", 1).fit(train, other, contest.unlabelled(), tmp_path / name)
    for file in (
        "tokenizer/tokenizer.json",
        "bigrams.safetensors",
        "word_vectors.safetensors",
        "model/model.safetensors",
    ):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_a_vocabulary_is_made_of_training_and_unlabelled_text(datagrand: Datagrand, tmp_path: Path, split) -> None:
    own = datagrand.contest().build_member("bilstm_crf", 1)
    own.fit_text(split[0], [["888", "889"], ["888", "889"], ["887"]], tmp_path)
    known = own.text.tokenizer.get_vocab()
    assert {"11", "888", "889"} <= set(known) and "887" not in known, "887 is rarer than min_frequency"
    pair = known["888"] * len(known) + known["889"]
    assert pair in load_file(tmp_path / "bigrams.safetensors")["values"]
