"""Truncation by what two texts share: checked token by token against a definition in plain loops."""

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.text import passages
from common.text.anonymised import anonymised_tokenizer
from common.text.passages import matching_tokens, sentence_ends
from common.text.tokenization import WholeWordTokenizer
from common.text.truncation import encode_pairs, encode_texts

END, SPECIAL, LONGEST = 9, 0, 5
texts = st.lists(st.sampled_from([SPECIAL, 1, 2, 3, 4, END]), max_size=24)
cuts = st.integers(0, 24)


def shared(own: list[int], other: list[int], place: int) -> int:
    """The longest n-gram of `own` around a place that `other` has too."""
    best = 0
    for size in range(1, passages.LONGEST_SHARED + 1):
        for start in range(max(0, place - size + 1), min(place, len(own) - size) + 1):
            gram = own[start : start + size]
            if SPECIAL not in gram and any(other[at : at + size] == gram for at in range(len(other) - size + 1)):
                best = size
    return best


def kept_of(own: list[int], other: list[int], keep: int) -> list[bool]:
    sentences: list[list[int]] = []
    for place, token in enumerate(own):
        if place == 0 or (own[place - 1] == END != token) or len(sentences[-1]) == LONGEST:
            sentences.append([])
        sentences[-1].append(place)

    def score(sentence: list[int]) -> float:
        return sum(max(0, shared(own, other, place) - 1) for place in sentence) / len(sentence)

    chosen: list[int] = []
    for sentence in [*sentences[:1], *sorted(sentences[1:], key=score, reverse=True)]:
        chosen += sentence[: max(0, keep - len(chosen))]
    return [place in chosen for place in range(len(own))]


@given(st.lists(st.tuples(texts, texts, cuts, cuts), min_size=1, max_size=4))
def test_the_sentences_that_share_most_stay(pairs):
    first, second, *limits = zip(*pairs, strict=True)
    lengths = np.array([len(text) for text in first + second])
    keep = np.minimum(lengths, limits[0] + limits[1])
    ids = np.array([token for text in first + second for token in text], dtype=np.int64)
    with mock.patch.object(passages, "LONGEST_SENTENCE", LONGEST):
        found = matching_tokens(ids, lengths, keep, np.array([END]), np.array([SPECIAL]))
    expected = map(kept_of, first + second, second + first, keep.tolist())
    assert found.tolist() == [stays for text in expected for stays in text]


def decoded(tokenizer, ids) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def test_a_pair_keeps_its_first_sentences_and_the_one_that_both_have(tokenizers):
    tokenizer = tokenizers["bert"]
    source, target = "我很好。天气很好。我来到北京大学。", "今天好。北京大学很大。天。"
    for strategy, shown in (
        ("balanced", "[CLS]我很好。天气很好[SEP]今天好。北京大学[SEP]"),
        ("matching", "[CLS]我很好。我来到北[SEP]今天好。北京大学[SEP]"),
    ):
        for reader in (tokenizer, WholeWordTokenizer(tokenizer)):
            rows = encode_pairs(reader, [source, "我"], [target, "好"], 19, strategy)["input_ids"]
            assert [decoded(tokenizer, row) for row in rows] == [shown, "[CLS]我[SEP]好[SEP]"]


def test_texts_that_fit_and_single_texts_are_as_with_balanced(tokenizer):
    texts = ["北京大学很好。我来到北京", "a", "", "今天1998 hello", "\x00"]
    sources, targets = zip(*[(a, b) for a in texts for b in texts], strict=True)
    for balanced, matching in (
        [encode_pairs(tokenizer, sources, targets, 200, name) for name in ("balanced", "matching")],
        [encode_texts(tokenizer, texts, 6, name) for name in ("balanced", "matching")],
    ):
        for key, rows in balanced.items():
            assert [row.tolist() for row in rows] == [row.tolist() for row in matching[key]]


def test_what_is_cut_is_as_long_as_with_balanced(tokenizer):
    texts = ["北京大学很好。我来到北京。天气", "天气很好；北京大学很好！", "", "今天1998 hello"]
    sources, targets = zip(*[(a, b) for a in texts for b in texts], strict=True)
    for max_length in (6, 9, 14):
        balanced, matching = (
            encode_pairs(tokenizer, sources, targets, max_length, name) for name in ("balanced", "matching")
        )
        for key, rows in balanced.items():
            assert list(map(len, rows)) == list(map(len, matching[key]))


def test_ends_of_sentences_are_looked_for_as_far_as_the_vocabulary_has_them(tokenizers):
    assert "。" in tokenizers["bert"].convert_ids_to_tokens(sentence_ends(tokenizers["bert"]))
    for tokenizer in tokenizers.values():
        assert tokenizer.unk_token_id not in sentence_ends(tokenizer)
    numbers = anonymised_tokenizer(["1_2_3", "2_3"])
    assert sentence_ends(numbers).size == 0


def test_an_end_is_known_as_it_is_inside_a_text():
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("a", -2.0), ("▁a", -2.0), ("?", -2.0), ("▁?", -2.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert tokenizer.convert_ids_to_tokens(sentence_ends(tokenizer)) == ["?"]
