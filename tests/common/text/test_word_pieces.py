"""WordPieces: whatever way a tokenizer permits, words have the sub-tokens that they have one at a time."""

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from common.text import word_pieces
from common.text.pieces import piece_ids_of
from common.text.vocabulary import character_tokenizer
from common.text.word_pieces import WordPieces
from tests.common.text.conftest import FAMILIES, HAN


def added(*tokens: str):
    tokenizer = FAMILIES["bert"]()
    tokenizer.add_tokens([AddedToken(token) for token in tokens])
    return tokenizer


TOKENIZERS = {name: make() for name, make in FAMILIES.items()} | {
    "characters": character_tokenizer([HAN, "abc 123，。"], 1),
    "whole ideographs": FAMILIES["bert"]().__class__(
        vocab=FAMILIES["bert"]().get_vocab(), tokenize_chinese_chars=False
    ),
    "with a Chinese word added": added("北京"),
    "with a name added": added("[NAME]"),
    "with spaces added": added("  "),
}
BY_CHARACTERS = {"bert", "bert-cased", "characters", "with a name added"}
# Ideographs of every kind, those that Unicode's forms change too; accents, joiners, emoji, white space, controls.
WORDS = st.one_of(
    st.text(alphabet=HAN, max_size=5),
    st.text(alphabet=HAN + "鿿㐀䶿𠀀豈〇々", max_size=4),
    st.text(alphabet=HAN + "ab1 ，é\u0301\u200d\ufe0f👍Ａ\x00\t\u3000[]NAMESEP", max_size=6),
    st.text(max_size=4),
)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(words=st.lists(WORDS, max_size=12))
def test_many_words_have_the_pieces_of_each(name, words):
    with mock.patch.object(word_pieces, "GROUP", 3):
        ids, lengths = WordPieces(TOKENIZERS[name]).ids(words)
    alone = [piece_ids_of(TOKENIZERS[name], [word])[0].tolist() for word in words]
    assert ids.tolist() == [number for row in alone for number in row]
    assert lengths.tolist() == list(map(len, alone))


def test_ideographs_are_asked_for_once_only_where_each_is_a_token():
    assert {name for name, tokenizer in TOKENIZERS.items() if WordPieces(tokenizer).by_characters} == BY_CHARACTERS
