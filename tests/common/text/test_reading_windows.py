"""Windows hold question and passage, and every answer comes back as the characters it was."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.reading_windows import ReadingWindows, best_spans, reading_windows
from common.text.tokenization import WholeWordTokenizer
from common.text.vocabulary import character_tokenizer
from tests.common.text.conftest import FAMILIES

QUESTIONS = ["清华大学在北京?", "今天天气好吗", "hello?"]
PASSAGES = ["我来到北京清华大学，今天天气很好。1998年的人。", "中国", "我来到北京清华大学，今天天气很好。1998年的人。"]
TOKENIZER = WholeWordTokenizer(character_tokenizer([*QUESTIONS, *PASSAGES, "中国人民"], 1))


@pytest.fixture(scope="module")
def cut() -> ReadingWindows:
    return reading_windows(TOKENIZER, QUESTIONS, PASSAGES, max_length=18, overlap=4, max_question=5)


def test_a_window_is_question_and_a_piece_of_the_passage(cut: ReadingWindows) -> None:
    names = TOKENIZER.tokenizer.convert_ids_to_tokens
    covered: dict[int, set[int]] = {}
    for window, (row, start, stop, place) in enumerate(cut.owners.tolist()):
        columns = {name: values[window] for name, values in cut.columns.items()}
        question, piece = TOKENIZER.encode(QUESTIONS[row]), TOKENIZER.encode(PASSAGES[row])
        wanted = ["[CLS]", *names(question.input_ids[:5]), "[SEP]", *names(piece.input_ids[start:stop]), "[SEP]"]
        assert names(columns["input_ids"]) == wanted and len(wanted) <= 18
        assert {len(values) for values in columns.values()} == {len(wanted)} and columns["attention_mask"].all()
        assert columns["passage_mask"].nonzero()[0].tolist() == list(range(place, place + stop - start))
        assert columns["token_type_ids"].tolist() == [0] * place + [1] * (stop - start + 1)
        covered.setdefault(row, set()).update(range(start, stop))
    assert covered == {row: set(range(len(TOKENIZER.encode(text)))) for row, text in enumerate(PASSAGES)}
    assert len(cut.owners) > 3, "the long passages are cut"


@pytest.mark.parametrize("family", ["bert", "albert", "xlm-roberta", "byte-level"])
def test_every_family_gets_its_own_special_tokens_and_types(family: str) -> None:
    tokenizer = WholeWordTokenizer(FAMILIES[family]())
    found = reading_windows(tokenizer, ["北京 a"], ["我来到北京"], max_length=64)
    wanted = tokenizer.tokenizer("北京 a", "我来到北京")
    assert found.columns["input_ids"][0].tolist() == wanted["input_ids"]
    if "token_type_ids" in found.columns:
        types = tokenizer.tokenizer("北京 a", "我来到北京", return_token_type_ids=True)["token_type_ids"]
        assert found.columns["token_type_ids"][0].tolist() == types


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="我来到北京1998 ab，", min_size=1, max_size=30), st.data(), st.integers(12, 24))
def test_an_answer_goes_into_tokens_and_back(passage: str, data: st.DataObject, size: int) -> None:
    start = data.draw(st.integers(0, len(passage) - 1))
    end = data.draw(st.integers(start + 1, len(passage)))
    cut = reading_windows(TOKENIZER, ["北京"], [passage], max_length=size, overlap=3)
    labels = cut.labels([(start, end)])
    span = cut.passages[0].tokens_of_span(start, end)
    held = 0
    for window, (_, first, stop, _) in enumerate(cut.owners.tolist()):
        one, two = labels["start_labels"][window], labels["end_labels"][window]
        inside = first <= span.first and span.last < stop
        assert (one > 0) == (two > 0) == inside
        if inside:
            held += 1
            mask = cut.columns["passage_mask"][window]
            assert mask[one] and mask[two] and one <= two
            ((answer,), _), = cut.merge_answers(
                [([(one, two, 1.0)] if each == window else [], 0.0) for each in range(len(cut.owners))]
            )  # fmt: skip
            assert answer[:2] == cut.passages[0].span_of_tokens(span.first, span.last)
    if len(cut.owners) == 1:
        assert held == 1
    assert not any(values.any() for values in cut.labels([None]).values())


def test_an_answer_in_two_windows_counts_once_with_its_best_score(cut: ReadingWindows) -> None:
    windows = [window for window, row in enumerate(cut.owners[:, 0]) if row == 0]
    token = cut.owners[windows[1], 1]  # the second window's first token, which the first window has too
    assert cut.owners[windows[0], 1] <= token < cut.owners[windows[0], 2]
    found = [([], 9.0) for _ in cut.owners]
    for window, score, null in ((windows[0], 2.0, 5.0), (windows[1], 3.0, 4.0)):
        place = token - cut.owners[window, 1] + cut.owners[window, 3]
        found[window] = ([(place, place, score), (place, place + 1, score - 4)], null)
    answers, null = cut.merge_answers(found)[0]
    span = tuple(cut.passages[0].offset_mapping[token].tolist())
    assert answers[0] == (*span, 3.0) and [answer[2] for answer in answers] == [3.0, -1.0] and null == 4.0
    assert len(cut.merge_answers(found, n=1)[0][0]) == 1
    assert cut.merge_answers(found)[1] == ([], 9.0)


def test_character_scores_are_the_windows_probabilities(cut: ReadingWindows) -> None:
    random = np.random.default_rng(1)
    logits = [random.normal(size=(len(ids), 2)) for ids in cut.columns["input_ids"]]
    scores = cut.character_scores(logits)
    for text, values in zip(PASSAGES, scores, strict=True):
        assert values.shape == (1 + len(text), 2)
        np.testing.assert_allclose(values.sum(axis=0), 1)
    # The short passage is one window: its scores are a softmax over [CLS] and its two characters.
    window = cut.owners[:, 0].tolist().index(1)
    place = cut.owners[window, 3]
    chances = np.exp(logits[window][[0, place, place + 1]])
    np.testing.assert_allclose(scores[1], chances / chances.sum(axis=0))
    # A number of several characters starts at its first and ends at its last one.
    number = PASSAGES[0].index("1998")
    assert scores[0][1 + number, 0] > 0 and scores[0][1 + number + 3, 1] > 0
    assert not scores[0][2 + number : 5 + number, 0].any() and not scores[0][1 + number : 4 + number, 1].any()


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5), st.integers(0, 9))
def test_best_spans_are_those_of_an_enumeration(length: int, n: int, max_length: int, seed: int) -> None:
    values = np.random.default_rng(seed).dirichlet(np.ones(1 + length), size=2).T
    answers, null = best_spans(values, max_length, n)
    wanted = [
        (start, end, np.log(values[1 + start, 0] * values[end, 1]))
        for start, end in itertools.combinations(range(length + 1), 2)
        if end - start <= max_length
    ]
    wanted = sorted(wanted, key=lambda answer: -answer[2])[:n]
    assert [answer[:2] for answer in answers] == [answer[:2] for answer in wanted]
    np.testing.assert_allclose([answer[2] for answer in answers], [answer[2] for answer in wanted])
    assert null == pytest.approx(np.log(values[0].prod()))


def test_an_empty_passage_has_no_answer_and_no_room_is_named() -> None:
    cut = reading_windows(TOKENIZER, ["北京?"], [""], max_length=12)
    assert cut.owners.tolist() == [[0, 0, 0, 5]] and not cut.columns["passage_mask"][0].any()
    (values,) = cut.character_scores([np.zeros((6, 2))])
    assert values.tolist() == [[1, 1]] and best_spans(values, 5)[0] == []
    with pytest.raises(ValueError, match="max_length=5 leaves no room"):
        reading_windows(TOKENIZER, ["北京?"], ["北京"], max_length=5)
    with pytest.raises(ValueError, match="outside a text"):
        reading_windows(TOKENIZER, ["北京"], ["北京"], max_length=9).labels([(1, 3)])
