"""Truncation of pairs and model inputs: checked against Hugging Face and against definitions, token by token."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from common.text.tokenization import WholeWordTokenizer
from common.text.truncation import STRATEGIES, TruncationCount, encode_pairs, encode_texts, truncate_pairs

sizes = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=20)


def kept(pairs, budget, strategy, **settings):
    a, b = np.array(pairs).T
    return a, b, truncate_pairs(a, b, budget, strategy, **settings)


@pytest.fixture(scope="module")
def counting() -> Tokenizer:
    backend = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


@given(sizes, st.integers(1, 40))
def test_longest_first_keeps_what_hugging_face_keeps(counting, pairs, budget):
    _, _, result = kept(pairs, budget, "longest_first")
    counting.enable_truncation(budget, strategy="longest_first")
    for n, (a, b) in enumerate(pairs):
        encoding = counting.encode(" ".join("x" * a), " ".join("x" * b))
        sides = [encoding.type_ids.count(kind) for kind in (0, 1)]
        assert [result.head_a[n], result.head_b[n]] == sides
    assert not result.tail_a.any() and not result.tail_b.any()


def test_longest_first_takes_from_the_longer_text_one_by_one():
    for a in range(12):
        for b in range(12):
            for budget in range(14):
                x, y = a, b
                while x + y > budget:
                    x, y = (x - 1, y) if x > y else (x, y - 1)
                _, _, result = kept([(a, b)], budget, "longest_first")
                head_a, head_b = int(result.head_a[0]), int(result.head_b[0])
                assert head_a + head_b == x + y
                assert abs(head_a - x) <= 1


@given(sizes, st.integers(0, 40))
def test_balanced_gives_to_one_side_what_the_other_leaves(pairs, budget):
    a, b, result = kept(pairs, budget, "balanced")
    for n in range(len(a)):
        keep_a, keep_b = int(result.head_a[n]), int(result.head_b[n])
        assert keep_a + keep_b == min(int(a[n] + b[n]), budget)
        if keep_a < a[n]:
            assert keep_a >= budget / 2 and keep_b == min(b[n], budget // 2)
        if keep_b < b[n]:
            assert keep_b >= budget // 2 and keep_a == min(a[n], (budget + 1) // 2)


@given(sizes, st.integers(0, 40), st.floats(0, 1))
def test_head_tail_keeps_the_lengths_of_balanced_and_both_ends(pairs, budget, share):
    a, b, result = kept(pairs, budget, "head_tail", head_share=share)
    _, _, balanced = kept(pairs, budget, "balanced")
    for size, head, tail, keep in (
        (a, result.head_a, result.tail_a, balanced.head_a),
        (b, result.head_b, result.tail_b, balanced.head_b),
    ):
        assert (head + tail == keep).all()
        fits = keep == size
        assert (tail[fits] == 0).all()
        assert (np.abs(head - keep * share)[~fits] <= 0.5).all()


@pytest.mark.parametrize(
    ("budget", "strategy", "message"),
    [
        (4, "shortest", "expected one of longest_first, head_tail, balanced, matching"),
        (-1, "balanced", "max_length must be larger"),
    ],
)
def test_impossible_requests_are_refused(budget, strategy, message):
    with pytest.raises(ValueError, match=message):
        truncate_pairs(np.array([1]), np.array([1]), budget, strategy)


TEXTS = ["北京大学很好", "a", "", "今天1998 hello", "我来到北京清华大学，天气很好", "\x00"]


def test_model_inputs_equal_those_of_the_tokenizer_itself(tokenizer):
    sources, targets = zip(*[(a, b) for a in TEXTS for b in TEXTS], strict=True)
    for max_length in (7, 12, 100):
        ours = encode_pairs(tokenizer, sources, targets, max_length)
        theirs = tokenizer(
            list(sources), list(targets), truncation="longest_first", max_length=max_length, return_token_type_ids=True
        )
        assert [row.tolist() for row in ours["input_ids"]] == theirs["input_ids"]
        typed = any(any(row) for row in theirs["token_type_ids"])
        assert ("token_type_ids" in ours) == typed
        if typed:
            assert [row.tolist() for row in ours["token_type_ids"]] == theirs["token_type_ids"]
        single = tokenizer(TEXTS, truncation=True, max_length=max_length)["input_ids"]
        assert [row.tolist() for row in encode_texts(tokenizer, TEXTS, max_length)["input_ids"]] == single


def test_special_tokens_and_types_of_each_family(tokenizers):
    shown = {}
    for name in ("bert", "albert", "roformer", "deberta-v2", "xlm-roberta", "byte-level"):
        encoded = encode_pairs(tokenizers[name], ["北"], ["a"], 20)
        tokens = tokenizers[name].convert_ids_to_tokens(encoded["input_ids"][0])
        shown[name] = " ".join(tokens), encoded.get("token_type_ids", [np.array([])])[0].tolist()
    assert shown == {
        "bert": ("[CLS] 北 [SEP] a [SEP]", [0, 0, 0, 1, 1]),
        "roformer": ("[CLS] 北 [SEP] a [SEP]", [0, 0, 0, 1, 1]),
        "albert": ("[CLS] ▁ 北 [SEP] ▁a [SEP]", [0, 0, 0, 0, 1, 1]),
        "deberta-v2": ("[CLS] ▁ 北 [SEP] ▁a [SEP]", [0, 0, 0, 0, 1, 1]),
        "xlm-roberta": ("<s> ▁ 北 </s> </s> ▁a </s>", []),
        "byte-level": ("<s> åĮĹ </s> </s> a </s>", []),
    }


def test_head_and_tail_of_an_overlong_text_are_kept(bert):
    ids = encode_pairs(bert, ["abcdefghij".replace("", " ")], ["北京"], 11, "head_tail")["input_ids"][0]
    assert bert.convert_ids_to_tokens(ids) == ["[CLS]", *"abc", *"hij", "[SEP]", "北", "京", "[SEP]"]
    ids = encode_texts(bert, ["a b c d e f g h"], 6, "head_tail", head_share=0.25)["input_ids"][0]
    assert bert.convert_ids_to_tokens(ids) == ["[CLS]", "a", "f", "g", "h", "[SEP]"]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text("北京大学a1 ", max_size=12), st.text("北京大学a1 ", max_size=12)), max_size=8),
    st.integers(4, 20),
    st.sampled_from(STRATEGIES),
)
def test_no_pair_is_longer_than_allowed_and_short_ones_are_whole(bert, pairs, max_length, strategy):
    sources, targets = [a for a, _ in pairs], [b for _, b in pairs]
    encoded = encode_pairs(bert, sources, targets, max_length, strategy, count=TruncationCount())
    # As lists: called with two strings, transformers 5 takes an empty second text for no second text.
    theirs = bert(sources, targets) if pairs else {"input_ids": [], "token_type_ids": []}
    for place, (ids, types) in enumerate(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)):
        whole = {name: theirs[name][place] for name in encoded}
        assert len(ids) == len(types) == min(len(whole["input_ids"]), max_length)
        if len(ids) == len(whole["input_ids"]):
            assert (ids.tolist(), types.tolist()) == (whole["input_ids"], whole["token_type_ids"])


def test_a_whole_word_tokenizer_gives_the_same_inputs(bert):
    plain, whole = (encode_pairs(each, TEXTS, TEXTS[::-1], 9) for each in (bert, WholeWordTokenizer(bert)))
    assert [row.tolist() for row in plain["input_ids"]] == [row.tolist() for row in whole["input_ids"]]


def test_no_pairs_give_no_inputs(bert):
    assert encode_pairs(bert, [], [], 8) == {"input_ids": [], "token_type_ids": []}


def test_lists_of_different_lengths_and_too_short_inputs_are_refused(bert):
    with pytest.raises(ValueError, match="2 sources but 1 targets"):
        encode_pairs(bert, ["a", "b"], ["a"], 9)
    with pytest.raises(ValueError, match="max_length=3 leaves no room for text beside 3 special tokens"):
        encode_pairs(bert, ["a"], ["a"], 3)


def test_what_is_cut_is_said_once_in_one_line(bert, caplog):
    with caplog.at_level(logging.INFO):
        encode_pairs(bert, ["北京大学很好", "北"], ["京", "京"], 8, "balanced")
    assert [record.getMessage() for record in caplog.records] == ["pairs: 1 of 4 texts cut, 22.2% of tokens"]


def test_nothing_is_said_when_nothing_is_cut(bert, caplog):
    with caplog.at_level(logging.INFO):
        encode_pairs(bert, ["北"], ["京"], 8)
    assert not caplog.records


def test_a_count_adds_up_over_batches_and_is_said_by_its_owner(bert, caplog):
    count = TruncationCount()
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            count.add(np.array([10, 4]), np.array([6, 4]))
        encode_texts(bert, ["北"], 8, count=count)
        assert not caplog.records
        count.log("sources")
    assert caplog.records[0].getMessage() == "sources: 1,000 of 2,001 texts cut, 28.6% of tokens"
