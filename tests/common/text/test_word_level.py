"""WordLevelTokenizer: a Chinese word in the vocabulary is one token, any other falls back to the wrapped tokenizer."""

import random

from common.text.truncation import encode_texts
from common.text.word_level import WordLevelTokenizer


def tokens(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(WordLevelTokenizer(tokenizer).encode(text).input_ids)


def test_a_word_in_the_vocabulary_is_one_token_and_any_other_its_characters(bert):
    assert tokens(bert, "今天来到清华大学") == ["今天", "来", "到", "清华大学"]


def test_letters_and_digits_go_to_the_wrapped_tokenizer(bert):
    assert tokens(bert, "Hellolo 199898，") == ["hello", "##lo", "1998", "##98", "，"]


def test_a_word_that_is_only_part_of_a_text_word_is_not_used(bert):
    assert "大学" in bert.get_vocab()
    assert tokens(bert, "北京大学") == list("北京大学")


def test_places_and_word_ids(bert):
    encoding = WordLevelTokenizer(bert).encode("来到 清华大学1998")
    assert encoding.offset_mapping.tolist() == [[0, 1], [1, 2], [3, 7], [7, 11]]
    assert encoding.word_ids.tolist() == [0, 0, 1, 2]


def test_sentence_pieces_inside_chinese_text_carry_no_mark(tokenizers):
    assert tokens(tokenizers["xlm-roberta"], "我来北京") == ["我", "来", "北京"]


def test_a_special_token_written_in_a_text_is_text(bert):
    assert bert.sep_token_id not in WordLevelTokenizer(bert).encode("北[SEP]京").input_ids


def test_many_texts_are_encoded_as_each(tokenizers):
    choose = random.Random(3)
    texts = [
        "".join(choose.choices([*"北京大学 a1，\x00", "今天", "清华大学"], k=choose.randint(0, 8))) for _ in range(80)
    ]
    for name in ("bert", "albert", "byte-level"):
        many = WordLevelTokenizer(tokenizers[name]).encode_many(texts)
        for encoding, text in zip(many, texts, strict=True):
            one = WordLevelTokenizer(tokenizers[name]).encode(text)
            for field in ("input_ids", "offset_mapping", "word_ids"):
                assert getattr(encoding, field).tolist() == getattr(one, field).tolist()


def test_model_inputs_use_whole_words(bert):
    ids = encode_texts(WordLevelTokenizer(bert), ["今天来到清华大学"], max_length=5)["input_ids"][0]
    assert bert.convert_ids_to_tokens(ids) == ["[CLS]", "今天", "来", "到", "[SEP]"]
