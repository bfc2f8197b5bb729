"""character_tokenizer: one token a character, frequent Latin words and numbers whole, saved as any fast tokenizer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast

from common.text.special_tokens import SPECIAL_TOKENS
from common.text.tokenization import WholeWordTokenizer
from common.text.truncation import encode_pairs
from common.text.vocabulary import LETTERS, character_tokenizer

TEXTS = ["北京天气好，iPhone 2019", "北京好 iphone 2019 rare", "京"]


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_the_order_is_frequency_and_then_code_point():
    vocabulary = character_tokenizer(TEXTS).get_vocab()
    ordered = sorted(vocabulary, key=vocabulary.get)
    assert ordered[:10] == [*SPECIAL_TOKENS, "京", "2019", "iphone", "北", "好"]
    # Then what spells every other run, so that no run is unknown.
    assert ordered[10:] == [f"{mark}{letter}" for mark in ("", "##") for letter in LETTERS]


def test_a_frequent_run_is_one_token_and_a_rare_one_is_spelt():
    tokenizer = character_tokenizer(TEXTS)
    assert pieces(tokenizer, "北京iPhone2019气") == ["北", "京", "iphone", "2019", "[UNK]"]
    assert pieces(tokenizer, "phones 20") == ["p", "##h", "##o", "##n", "##e", "##s", "2", "##0"]


def test_an_unknown_character_does_not_hide_its_neighbours():
    assert pieces(character_tokenizer(TEXTS), "北ひ好𠮷a") == ["北", "[UNK]", "好", "[UNK]", "a"]


def test_width_and_case_are_one():
    tokenizer = character_tokenizer(TEXTS)
    assert pieces(tokenizer, "ＩＰＨＯＮＥ ２０１９") == pieces(tokenizer, "iphone 2019") == ["iphone", "2019"]


def test_pairs_have_types():
    tokenizer = character_tokenizer(TEXTS)
    encoded = tokenizer("北京", "好")
    assert encoded["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    pairs = encode_pairs(tokenizer, ["北京"], ["好"], 10)
    assert {name: rows[0].tolist() for name, rows in pairs.items()} == {
        name: encoded[name] for name in ("input_ids", "token_type_ids")
    }


@pytest.mark.parametrize("with_config", [False, True])
def test_it_is_saved_and_loaded_as_a_normal_tokenizer(tmp_path, with_config):
    tokenizer = character_tokenizer(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    if with_config:  # a model saved beside it must not turn it into a BERT tokenizer
        BertConfig(vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["type"] == "WordPiece"
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)):
        assert loaded("北京Ａ a1b2", "ひ好").data == tokenizer("北京Ａ a1b2", "ひ好").data
        assert [loaded.pad_token_id, loaded.unk_token_id, loaded.cls_token_id, loaded.sep_token_id] == [0, 1, 2, 3]
        assert loaded.mask_token_id == 4


def test_texts_are_read_once_and_their_order_does_not_matter():
    assert character_tokenizer(iter(TEXTS)).get_vocab() == character_tokenizer(reversed(TEXTS)).get_vocab()


def test_text_without_a_frequent_character_is_refused():
    with pytest.raises(ValueError, match="lower min_frequency"):
        character_tokenizer(["好", " \n"])


anything = st.text(
    st.one_of(
        st.characters(),  # every plane, control and private characters, lone surrogates
        st.sampled_from("北京好ひカ한é，。 \t\n\u3000\u200b\u0000\ufeff😀👨‍👩‍👧ＡＢ１２abcXYZ0129①㈱ﬁ"),
    ),
    max_size=24,
)


@settings(max_examples=120)
@given(st.lists(anything, max_size=4), anything)
def test_every_text_is_tokens_that_are_known_when_it_was_counted(texts, other):
    tokenizer = character_tokenizer([*texts, other, "好"], min_frequency=1)
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    encode = WholeWordTokenizer(tokenizer)
    for text in texts:
        encoding = encode.encode(text)
        # What the normaliser keeps was counted; only an over-long run or nothing at all is [UNK].
        if len(text) and encoding.length and encoding.input_ids.tolist() != [1]:
            assert tokenizer.unk_token_id not in encoding.input_ids
        # Case and width do not change what was read.
        assert encode.encode(text.lower() if text.isascii() else text).input_ids.tolist() == encoding.input_ids.tolist()


@settings(max_examples=60)
@given(st.text(st.sampled_from("北京好,。abz019😀 "), min_size=1, max_size=20))
def test_characters_outside_runs_are_a_token_each(text):
    tokenizer = character_tokenizer([text, "好好"], min_frequency=1)
    tokens = pieces(tokenizer, text)
    assert "".join(token.removeprefix("##") for token in tokens) == "".join(text.split())
    assert all(len(token) == 1 for token in tokens if token.removeprefix("##")[0] not in LETTERS)


LATIN = ["部署 containers 2024", "container 与 contain 2023", "retain 2024 的", "maintain 2025 的", "部署", "的"] * 3


def test_a_size_leaves_room_for_pieces_after_the_characters():
    bare = len(SPECIAL_TOKENS) + 2 * len(LETTERS)
    whole = character_tokenizer(LATIN, size=1000)
    assert sorted(whole.get_vocab(), key=whole.get_vocab().get)[5:9] == ["的", "署", "部", "与"]
    for size in range(bare + 1, bare + 20):
        tokenizer = character_tokenizer(LATIN, size=size)
        assert len(tokenizer) == size
        # The fewer, the same first ones; and no word is unknown.
        ordered = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
        assert ordered[5 : -2 * len(LETTERS)] == sorted(whole.get_vocab(), key=whole.get_vocab().get)[5 : size - 72]
        assert tokenizer.unk_token not in pieces(tokenizer, "entertain 20245 的" if size > bare else "")


def test_pieces_are_common_to_words():
    tokenizer = character_tokenizer(LATIN, size=5 + 2 * len(LETTERS) + 4 + 8)
    assert "##tain" in tokenizer.get_vocab()
    assert "202" in tokenizer.get_vocab()
    tokens = pieces(tokenizer, "entertain")
    assert tokens[-1] == "##tain" and "".join(token.removeprefix("##") for token in tokens) == "entertain"


def test_pieces_are_the_same_every_time():
    assert len({str(sorted(character_tokenizer(LATIN, size=110).get_vocab().items())) for _ in range(5)}) == 1


def test_a_size_that_holds_no_character_is_refused():
    with pytest.raises(ValueError, match="at least 78"):
        character_tokenizer(LATIN, size=77)


def test_counting_keeps_what_occurs_often_however_many_runs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.text.vocabulary.MOST_RUNS", 6)
    often = ["alpha beta gamma delta"] * 2 + ["alpha beta gamma delta epsilon"] * 5
    lines = [f"{line} once{'abcdefghij'[place]}" for place, line in enumerate(often)]
    found = character_tokenizer(lines, min_frequency=5).get_vocab()
    assert {"alpha", "beta", "gamma", "delta"} <= set(found) and "oncea" not in found
