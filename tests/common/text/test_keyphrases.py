"""Keyphrases become flat spans and come back."""

from hypothesis import given
from hypothesis import strategies as st

from common.text.keyphrases import KEYPHRASE, phrase_spans, phrases_of
from common.text.labels import LabelScheme

texts = st.text(alphabet="abc", max_size=12)


def test_phrases_are_found_wherever_they_occur() -> None:
    spans, absent = phrase_spans(list("图神经网络用于网络"), [list("网络"), list("神经网络"), list("推荐")])
    assert spans == [(1, 5, KEYPHRASE), (7, 9, KEYPHRASE)], "the longer phrase has the words"
    assert absent == [tuple("推荐")]


def test_phrases_of_spans_are_ranked_by_how_often_they_occur() -> None:
    tokens = list("神经网络与推荐与推荐")
    assert phrases_of(tokens, [(8, 10, "a"), (0, 4, "a"), (5, 7, "a")]) == [tuple("推荐"), tuple("神经网络")]
    assert phrases_of(tokens, []) == []


@given(texts, st.lists(texts, max_size=4))
def test_spans_are_flat_and_every_phrase_is_there_or_absent(text: str, phrases: list[str]) -> None:
    spans, absent = phrase_spans(list(text), [list(phrase) for phrase in phrases])
    scheme = LabelScheme((KEYPHRASE,))
    assert scheme.decode(scheme.encode(spans, len(text))) == spans
    assert {"".join(phrase) for phrase in absent} == {phrase for phrase in phrases if phrase and phrase not in text}
    assert {"".join(phrase) for phrase in phrases_of(list(text), spans)} <= set(phrases)
    taken = {place for start, end, _ in spans for place in range(start, end)}
    for phrase in filter(None, phrases):
        for start in range(len(text) - len(phrase) + 1):
            if text[start : start + len(phrase)] == phrase:
                assert taken & set(range(start, start + len(phrase))), "an occurrence is tagged, or its words are taken"
