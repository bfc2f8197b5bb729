"""anonymised_tokenizer: ids are words, saved and loaded as any fast tokenizer."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast

from common.text.anonymised import anonymised_tokenizer, frequency_order, rank_mapped_tokenizer
from common.text.special_tokens import SPECIAL_TOKENS, with_special_tokens
from common.text.tokenization import WholeWordTokenizer
from common.text.truncation import encode_pairs
from common.text.vocabulary import character_tokenizer

LINES = ["12_7_305_7", "7_12", "9_100_7\n"]


def test_ids_are_ordered_by_frequency_and_then_by_value():
    vocabulary = anonymised_tokenizer(LINES).get_vocab()
    assert sorted(vocabulary, key=vocabulary.get) == [*SPECIAL_TOKENS, "7", "12", "9", "100", "305"]


def test_rare_ids_are_unknown():
    tokenizer = anonymised_tokenizer(LINES, min_frequency=2)
    assert tokenizer.convert_ids_to_tokens(tokenizer("7_9_12")["input_ids"]) == ["[CLS]", "7", "[UNK]", "12", "[SEP]"]


def test_lists_of_ids_and_other_separators_give_the_same_vocabulary():
    expected = anonymised_tokenizer(LINES).get_vocab()
    assert anonymised_tokenizer([line.strip().split("_") for line in LINES]).get_vocab() == expected
    assert anonymised_tokenizer([[int(part) for part in line.split("_")] for line in LINES]).get_vocab() == expected
    assert anonymised_tokenizer((line.replace("_", " ") for line in LINES), separator=" ").get_vocab() == expected


def test_pairs_have_types():
    encoded = anonymised_tokenizer(LINES)("12_7", "9")
    assert encoded["input_ids"] == [2, 6, 5, 3, 7, 3]
    assert encoded["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    pairs = encode_pairs(anonymised_tokenizer(LINES), ["12_7"], ["9"], 10)
    assert {name: rows[0].tolist() for name, rows in pairs.items()} == {
        name: encoded[name] for name in ("input_ids", "token_type_ids")
    }


@pytest.mark.parametrize("with_config", [False, True])
def test_it_is_saved_and_loaded_as_a_normal_tokenizer(tmp_path, with_config):
    tokenizer = anonymised_tokenizer(LINES)
    tokenizer.save_pretrained(tmp_path)
    if with_config:  # a model saved beside it must not turn it into a BERT tokenizer
        BertConfig(vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["type"] == "WordLevel"
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)):
        assert loaded("305_4_12", "7").data == tokenizer("305_4_12", "7").data
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert [loaded.pad_token, loaded.unk_token, loaded.mask_token] == ["[PAD]", "[UNK]", "[MASK]"]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=8), st.integers(1, 3))
def test_words_are_looked_up_one_by_one(rows, min_frequency):
    counts = Counter(number for row in rows for number in row)
    kept = {number for number, count in counts.items() if count >= min_frequency}
    if not kept:
        with pytest.raises(ValueError, match="lower min_frequency"):
            anonymised_tokenizer(rows, min_frequency)
        return
    tokenizer = anonymised_tokenizer(rows, min_frequency)
    words = [[str(number) for number in row] for row in rows]
    encoded = WholeWordTokenizer(tokenizer).encode_words_many(words)
    for row, ids, positions in zip(words, encoded["input_ids"], encoded["word_positions"], strict=True):
        vocabulary = tokenizer.get_vocab()
        assert ids.tolist() == [2, *(vocabulary[word] if int(word) in kept else 1 for word in row), 3]
        assert positions.tolist() == list(range(1, len(row) + 1))
        assert tokenizer("_".join(row))["input_ids"] == ids.tolist()


def test_an_empty_separator_is_refused():
    with pytest.raises(ValueError, match="empty separator"):
        anonymised_tokenizer(LINES, separator="")


def pretrained() -> PreTrainedTokenizerFast:
    """A vocabulary of ordinary text: the most frequent first, as the kit's own are."""
    return character_tokenizer(["的的的的，，，人人12"], min_frequency=1)


def test_ranks_are_mapped_onto_the_pretrained_vocabulary():
    tokenizer, other = rank_mapped_tokenizer(LINES, pretrained()), pretrained()
    assert len(tokenizer) == len(other)
    assert [other.convert_ids_to_tokens(tokenizer.convert_tokens_to_ids(token)) for token in ("7", "12", "9")] == [
        "的",
        ",",
        "人",
    ]
    # "12" is an entry of the pretrained vocabulary too, for which it stands no more.
    assert tokenizer("12_8")["input_ids"] == [2, other.convert_tokens_to_ids(","), 1, 3]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(other)))


def test_ranks_of_a_vocabulary_in_another_order_are_counted():
    other = pretrained()
    order = frequency_order(other, iter(["人人人的 人，", "[MASK]的"]))
    assert other.convert_ids_to_tokens(order[:3]) == ["人", "的", ","]
    assert len(order) == len(set(order)) == len(other) - len(SPECIAL_TOKENS)
    tokenizer = rank_mapped_tokenizer(LINES, other, order)
    assert other.convert_ids_to_tokens(tokenizer.convert_tokens_to_ids(["7", "12"])) == ["人", "的"]


def test_ids_beyond_the_vocabulary_are_unknown_and_special_tokens_keep_their_places():
    other = pretrained()
    other.add_special_tokens({"mask_token": "的"})  # a special token elsewhere
    many = "_".join(map(str, range(1000)))
    tokenizer = rank_mapped_tokenizer([many], other)
    assert len(tokenizer) == len(other)
    assert tokenizer.mask_token_id == other.convert_tokens_to_ids("的") == 5
    ids = tokenizer(many, add_special_tokens=False)["input_ids"]
    assert set(ids) == set(range(len(other))) - {0, 2, 3, 5}
    assert ids[0] == 4 and ids[-1] == 1


def test_it_is_saved_and_loaded(tmp_path):
    tokenizer = rank_mapped_tokenizer(LINES, pretrained())
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("305_4_12", "7").data == tokenizer("305_4_12", "7").data


def test_bad_orders_and_vocabularies_are_named():
    for order in ([5, 5], [5, 10**6], [-1]):
        with pytest.raises(ValueError, match="each id once"):
            rank_mapped_tokenizer(LINES, pretrained(), order)
    other = PreTrainedTokenizerFast(tokenizer_object=pretrained().backend_tokenizer, unk_token="[UNK]")
    with pytest.raises(ValueError, match=r"serves as \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        rank_mapped_tokenizer(LINES, other)
    with pytest.raises(ValueError, match="separator"):
        rank_mapped_tokenizer(LINES, pretrained(), separator="")


def test_a_vocabulary_has_at_most_the_size_asked_for() -> None:
    whole = anonymised_tokenizer(LINES).get_vocab()
    assert anonymised_tokenizer(LINES, size=7).get_vocab() == {name: id for name, id in whole.items() if id < 7}
    with pytest.raises(ValueError, match="size=5 leaves no room"):
        anonymised_tokenizer(LINES, size=5)


def test_entries_that_no_text_was_trained_on_are_passed_over() -> None:
    words = ["[PAD]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "的", "一"]
    other = with_special_tokens(Tokenizer(WordLevel({word: id for id, word in enumerate(words)}, unk_token="[UNK]")))
    tokenizer = rank_mapped_tokenizer(["7_7_3", "7_5"], other)
    assert tokenizer.convert_tokens_to_ids(["7", "3"]) == [7, 8] and len(tokenizer) == len(words)
