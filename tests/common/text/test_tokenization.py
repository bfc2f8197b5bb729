"""WholeWordTokenizer and Encoding: places, whole words, spans and given words, for every family of tokenizers."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer, ElectraTokenizer

from common.text.tokenization import WholeWordTokenizer
from common.text.word_level import WordLevelTokenizer

HARD = [
    *"北京大学臺灣ab1998 \t\n\x00\x85\u200b\u200d\ufeff\u00ad\u2028",
    *"éÉe\u0301\u0308ﬁ㍿㎏①．１Ａß\u0130ﷺ한か\u3099\U0002a6df▁Ġ…",
    "😀",
    "👩\u200d👧",
    "👍🏽",
    "🇨🇳",
    "[SEP]",
    "<mask>",
    "ＡＢ",
    "1998",
]
texts = st.lists(st.sampled_from(HARD), max_size=7).map("".join) | st.text(max_size=8)


def check_spans(encoding, text: str) -> None:
    """The contract of Encoding, from its definition by comparing every token with every span."""
    assert encoding.length == len(text)
    places = encoding.offset_mapping.tolist()
    assert all(0 <= start <= end <= len(text) for start, end in places)
    assert (np.diff(encoding.offset_mapping, axis=0) >= 0).all()
    assert bool(places) == bool(text)
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            span = encoding.tokens_of_span(start, end)
            assert encoding.span_of_tokens(*span) == (start, end)
            touching = [n for n, (a, b) in enumerate(places) if a < end and b > start and a < b]
            if touching:
                assert span.first <= touching[0] <= touching[-1] <= span.last
                assert all(n in touching or places[n][0] == places[n][1] for n in range(span.first, span.last + 1))
            else:
                assert all(a == b for a, b in places[span.first : span.last + 1] if a < end and b > start)
    for first in range(len(places)):
        start, end = encoding.span_of_tokens(first, first)
        if start < end:
            shared = [n for n, (a, b) in enumerate(places) if a < end and b > start and a < b]
            span = encoding.tokens_of_span(start, end)
            if shared == [first]:
                assert (span.start_shift, span.end_shift) == (0, 0)


@settings(max_examples=400)
@given(texts)
def test_every_character_span_maps_to_tokens_and_back(tokenizers, text):
    for tokenizer in tokenizers.values():
        check_spans(WholeWordTokenizer(tokenizer).encode(text), text)


@settings(max_examples=100)
@given(texts)
def test_every_character_span_maps_to_word_level_tokens_and_back(tokenizers, text):
    for name in ("bert", "albert", "byte-level"):
        check_spans(WordLevelTokenizer(tokenizers[name]).encode(text), text)


@settings(max_examples=150)
@given(texts)
def test_ids_are_those_of_the_wrapped_tokenizer(tokenizers, text):
    for tokenizer in tokenizers.values():
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        unknown = [tokenizer.unk_token_id] if text else []
        assert WholeWordTokenizer(tokenizer).encode(text).input_ids.tolist() == (expected or unknown)


@settings(max_examples=150)
@given(texts)
def test_word_ids_are_runs_that_no_token_straddles(tokenizers, text):
    for tokenizer in tokenizers.values():
        whole = WholeWordTokenizer(tokenizer)
        encoding, starts = whole.encode(text), whole.segmenter.word_starts([text])
        steps = np.diff(encoding.word_ids)
        assert ((steps == 0) | (steps == 1)).all() and (encoding.word_ids[:1] == 0).all()
        word_of = np.cumsum(starts)
        reach = -1
        for (start, end), word, before in zip(
            encoding.offset_mapping, encoding.word_ids, [-1, *encoding.word_ids[:-1]], strict=bool(text)
        ):
            first, last = (word_of[min(place, len(text) - 1)] for place in (start, max(start, end - 1)))
            assert (word != before) == (first > reach)
            reach = max(reach, last)


def test_many_texts_are_encoded_as_each(tokenizer):
    choose = random.Random(1)
    texts = ["".join(choose.choices(HARD, k=choose.randint(0, 9))) for _ in range(60)] + ["", " ", ""]
    whole = WholeWordTokenizer(tokenizer)
    for many, text in zip(whole.encode_many(texts), texts, strict=True):
        one = whole.encode(text)
        assert many.length == one.length
        for name in ("input_ids", "offset_mapping", "word_ids"):
            assert getattr(many, name).tolist() == getattr(one, name).tolist()
    assert whole.encode_many([]) == []


def test_flat_tokens_are_those_of_each_text(tokenizer):
    choose = random.Random(2)
    texts = ["".join(choose.choices(HARD, k=choose.randint(0, 9))) for _ in range(60)] + ["", " ", ""]
    whole = WholeWordTokenizer(tokenizer)
    ids, begins, lengths = whole.encode_flat(texts)
    encodings = whole.encode_many(texts)
    assert lengths.tolist() == [len(encoding) for encoding in encodings]
    assert ids.tolist() == [number for encoding in encodings for number in encoding.input_ids]
    words = [np.diff(encoding.word_ids, prepend=-1) > 0 for encoding in encodings]
    assert begins.tolist() == np.concatenate(words).tolist()
    assert [len(values) for values in whole.encode_flat([])] == [0, 0, 0]


def shown(whole: WholeWordTokenizer, text: str) -> list[tuple[str, int]]:
    encoding = whole.encode(text)
    return [(text[a:b], int(word)) for (a, b), word in zip(encoding.offset_mapping, encoding.word_ids, strict=True)]


def test_places_are_in_the_original_string_whatever_the_normaliser_does(bert):
    text = "Ｈ\x00 É\u200b北京 1998"
    assert shown(WholeWordTokenizer(bert), text) == [("Ｈ", 0), ("É", 1), ("北", 2), ("京", 2), ("1998", 3)]


def test_chinese_words_and_runs_of_letters_and_digits_are_whole_words(bert):
    assert shown(WholeWordTokenizer(bert), "来到清华大学，hellolo 199898") == [
        ("来", 0),
        ("到", 0),
        *((character, 1) for character in "清华大学"),
        ("，", 2),
        ("hello", 3),
        ("lo", 3),
        ("1998", 4),
        ("98", 4),
    ]


def test_a_span_inside_a_token_comes_back_by_its_shifts(bert):
    encoding = WholeWordTokenizer(bert).encode("在 1998年")
    span = encoding.tokens_of_span(3, 5)
    assert tuple(span) == (1, 1, 1, -1)
    assert encoding.span_of_tokens(span.first, span.last) == (2, 6)


def test_a_space_belongs_to_the_token_before_it(bert):
    encoding = WholeWordTokenizer(bert).encode(" 北 京")
    assert tuple(encoding.tokens_of_span(2, 3)) == (0, 0, 1, 1)
    assert tuple(encoding.tokens_of_span(0, 1)) == (0, 0, -1, -1)


def test_a_word_start_mark_covers_no_character(tokenizers):
    for name in ("albert", "xlm-roberta"):
        encoding = WholeWordTokenizer(tokenizers[name]).encode("我来")
        assert encoding.offset_mapping.tolist() == [[0, 0], [0, 1], [1, 2]]
        assert tuple(encoding.tokens_of_span(0, 1)) == (1, 1, 0, 0)


@pytest.mark.parametrize("name", ["byte-level", "byte-level-prefix", "byte-level-untrimmed"])
def test_a_token_neither_begins_nor_ends_with_white_space(tokenizers, name):
    text = "1 a\u3000 1"
    places = WholeWordTokenizer(tokenizers[name]).encode(text).offset_mapping.tolist()
    assert [2, 3] in places and [0, 1] in places
    assert [1, 3] not in places
    assert [4, 5] in places  # white space that is a token of its own keeps its place


def test_letters_after_a_special_token_keep_their_places(tokenizers):
    # tokenizers 0.23 itself gives the letter no place: (7, 7).
    assert shown(WholeWordTokenizer(tokenizers["byte-level-prefix"]), "<mask>a") == [("<mask>", 0), ("a", 1)]


def test_text_of_which_nothing_is_kept_is_one_unknown_token(bert):
    encoding = WholeWordTokenizer(bert).encode(" \x00\t")
    assert encoding.input_ids.tolist() == [bert.unk_token_id]
    assert encoding.offset_mapping.tolist() == [[0, 3]]
    assert len(WholeWordTokenizer(bert).encode("")) == 0


@pytest.mark.parametrize(("start", "end"), [(0, 0), (1, 1), (2, 1), (-1, 1), (0, 3)])
def test_spans_that_are_no_spans_are_refused(bert, start, end):
    with pytest.raises(ValueError, match="empty or outside a text of 2 characters"):
        WholeWordTokenizer(bert).encode("北京").tokens_of_span(start, end)


def test_token_ranges_that_are_none_are_refused(bert):
    with pytest.raises(ValueError, match="no range of a text of 2 tokens"):
        WholeWordTokenizer(bert).encode("北京").span_of_tokens(1, 0)


def test_truncation_and_padding_of_the_wrapped_tokenizer_neither_cut_nor_are_changed(bert):
    backend = bert.backend_tokenizer
    backend.enable_truncation(3)
    backend.enable_padding(length=5)
    before = backend.truncation, backend.padding
    try:
        assert len(WholeWordTokenizer(bert).encode("我来到北京大学")) == 7
        assert (backend.truncation, backend.padding) == before
    finally:
        backend.no_truncation()
        backend.no_padding()


def test_a_lone_surrogate_is_an_unknown_character(bert):
    encoding = WholeWordTokenizer(bert).encode("北\ud83d京")
    assert encoding.length == 3
    # BERT's normaliser drops U+FFFD, which stands in for the surrogate.
    assert encoding.offset_mapping.tolist() == [[0, 1], [2, 3]]


def test_electra_is_a_bert_tokenizer(bert):
    electra = ElectraTokenizer(vocab=bert.get_vocab())
    text = "我来到 Hello"
    assert shown(WholeWordTokenizer(electra), text) == shown(WholeWordTokenizer(bert), text)


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(TypeError, match="not a fast tokenizer"):
        WholeWordTokenizer(object())


# Given words, for tagging


def test_every_given_word_has_a_token_of_its_own(tokenizer):
    whole = WholeWordTokenizer(tokenizer)
    words = ["北", " ", "京", "", "1998", "\x00", "é", "hello", "\u200b", "👩\u200d👧", "人"]
    row = whole.encode_words(words)
    ids, positions = row["input_ids"], row["word_positions"]
    assert len(positions) == len(words) and (np.diff(positions) > 0).all()
    special = tokenizer("", add_special_tokens=True)["input_ids"]
    assert ids[0] == special[0] and ids[-1] == special[-1]
    assert positions[0] == 1 and positions[-1] < len(ids) - 1
    bare = whole.encode_words(words, add_special_tokens=False)
    assert bare["input_ids"].tolist() == ids[1:-1].tolist()
    assert bare["word_positions"].tolist() == (positions - 1).tolist()
    assert whole.word_widths(words).tolist() == np.diff([*positions, len(ids) - 1]).tolist()


def test_words_that_yield_nothing_get_unknown(bert):
    row = WholeWordTokenizer(bert).encode_words(["北", " ", "\x00", "", "hellolo"])
    assert bert.convert_ids_to_tokens(row["input_ids"]) == [
        "[CLS]", "北", "[UNK]", "[UNK]", "[UNK]", "hello", "##lo", "[SEP]",
    ]  # fmt: skip
    assert row["word_positions"].tolist() == [1, 2, 3, 4, 5]


def test_given_words_agree_with_hugging_face(bert):
    rows = [["我", "hellolo", "199898", "b", "京"], ["abc"], ["大学", "，", "C1"]]
    encoded = WholeWordTokenizer(bert).encode_words_many(rows)
    for place, row in enumerate(rows):
        expected = bert(row, is_split_into_words=True)
        words = expected.word_ids()
        assert encoded["input_ids"][place].tolist() == expected["input_ids"]
        assert encoded["word_positions"][place].tolist() == [words.index(n) for n in range(len(row))]


def test_chinese_given_words_carry_no_word_start_mark(tokenizers):
    for name in ("albert", "xlm-roberta", "deberta-v2", "byte-level-prefix"):
        row = WholeWordTokenizer(tokenizers[name]).encode_words(["我", "北"], add_special_tokens=False)
        assert not {"▁", "Ġ"} & set(tokenizers[name].convert_ids_to_tokens(row["input_ids"]))


def test_rows_may_be_empty_and_many(bert):
    whole = WholeWordTokenizer(bert)
    encoded = whole.encode_words_many([[], ["北"], []])
    assert [ids.tolist() for ids in encoded["input_ids"]] == [[2, 3], [2, bert.convert_tokens_to_ids("北"), 3], [2, 3]]
    assert [positions.tolist() for positions in encoded["word_positions"]] == [[], [1], []]
    assert whole.encode_words_many([]) == {"input_ids": [], "word_positions": []}


@settings(max_examples=50)
@given(st.lists(st.lists(texts, max_size=4), max_size=4))
def test_words_seen_before_are_encoded_as_the_first_time(tokenizers, rows):
    for name in ("bert", "albert", "byte-level"):
        again = WholeWordTokenizer(tokenizers[name])
        again.encode_words_many(rows[::-1])
        first = WholeWordTokenizer(tokenizers[name]).encode_words_many(rows)
        second = again.encode_words_many(rows)
        for key in first:
            assert [a.tolist() for a in first[key]] == [b.tolist() for b in second[key]]


def test_arrays_are_int64(bert):
    encoding = WholeWordTokenizer(BertTokenizer(vocab=bert.get_vocab())).encode("北京")
    assert {encoding.input_ids.dtype, encoding.offset_mapping.dtype, encoding.word_ids.dtype} == {np.dtype(np.int64)}
