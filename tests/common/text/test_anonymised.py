"""anonymised_tokenizer: ids are words, saved and loaded as any fast tokenizer."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast

from common.text.anonymised import anonymised_tokenizer
from common.text.special_tokens import SPECIAL_TOKENS
from common.text.tokenization import WholeWordTokenizer
from common.text.truncation import encode_pairs

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
