"""Features of text pairs: order, overlap and numbers, each against a plain reference."""

import json
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.lexical import PairFeatures, character_grams, common_subsequence, common_substring, direction

SOURCES = ["今天北京下了大雪", "苹果发布新手机iPhone12", "球队三比一获胜", "股市今日上涨", "他喜欢喝茶"]
TARGETS = ["北京迎来一场大雪", "新手机iPhone12今日发布", "今天股市下跌", "大盘上涨2.5%", ""]


@pytest.fixture(scope="module")
def features() -> PairFeatures:
    return PairFeatures().fit(SOURCES, TARGETS)


def subsequence_by_table(first: str, second: str) -> int:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def substring_by_trying(first: str, second: str) -> int:
    pieces = {first[a:b] for a in range(len(first)) for b in range(a, len(first) + 1)}
    return max((len(piece) for piece in pieces if piece in second), default=0)


@given(st.text("甲乙丙x", max_size=25), st.text("甲乙丙x", max_size=25))
@settings(max_examples=200)
def test_common_subsequence_and_substring_equal_their_definitions(first, second):
    assert common_subsequence(first, second) == subsequence_by_table(first, second)
    assert common_substring(first, second) == substring_by_trying(first, second)


def test_character_grams_do_not_cross_punctuation():
    assert character_grams("大雪，北京2", 2) == ["大雪", "北京", "京2"]
    assert character_grams("大雪", 3) == []


def test_swapping_the_texts_changes_nothing(features):
    there, back = features.transform(SOURCES, TARGETS), features.transform(TARGETS, SOURCES)
    np.testing.assert_allclose(there.to_numpy(), back.to_numpy(), atol=1e-12)


def test_width_case_and_white_space_do_not_count(features):
    plain = features.transform(["iPhone12发布了"], ["今日发布iphone12"])
    other = features.transform(["ｉＰｈｏｎｅ１２ 发布了"], ["今日\t发布 IPHONE12\n"])
    np.testing.assert_array_equal(plain.to_numpy(), other.to_numpy())


def test_features_say_what_they_are_called(features):
    row = features.transform(["2021年3月大雪iphone"], ["iphone在2021年5月"]).iloc[0]
    assert row["shared_numbers"] == 1 and row["other_numbers"] == 0 and row["shared_latin"] == 1
    assert features.transform(["涨3.5%"], ["涨4.5%"]).iloc[0]["other_numbers"] == 1
    assert row["length_ratio"] == pytest.approx(14 / 15)
    same = features.transform(["今天北京下了大雪"], ["今天北京下了大雪"]).iloc[0]
    for name in (
        "word_tfidf_cosine",
        "bigram_jaccard",
        "general_cosine",
        "subsequence_of_both",
        "substring_of_shorter",
    ):
        assert same[name] == pytest.approx(1), name


def test_a_match_has_more_of_every_overlap_than_strangers(features):
    match = features.transform(["北京今天大雪"], ["大雪今天落在北京"]).iloc[0]
    strangers = features.transform(["北京今天大雪"], ["股票行情怎样看"]).iloc[0]
    for name in match.index:
        if direction(name) > 0:
            assert match[name] >= strangers[name], name


def test_any_text_gives_finite_features(features):
    odd = ["", " ", "，。！", "😀👍🏽", "a", "\u0000\u200b", "é́", "龘", "1" * 50]
    table = features.transform(odd, odd[::-1])
    assert len(table) == len(odd) and np.isfinite(table.to_numpy()).all()
    assert len(features.transform([], [])) == 0


def test_state_is_plain_json_and_restores_the_same_features(features):
    again = PairFeatures.restore(json.loads(json.dumps(features.state(), ensure_ascii=False)))
    expected, found = features.transform(SOURCES, TARGETS), again.transform(SOURCES, TARGETS)
    assert list(expected) == list(found)
    np.testing.assert_array_equal(expected.to_numpy(), found.to_numpy())


def test_transform_before_fit_says_so():
    with pytest.raises(RuntimeError, match="before fit"):
        PairFeatures().transform(["a"], ["b"])


def test_long_texts_are_fast(features):
    random = np.random.default_rng(0)
    texts = ["".join(map(chr, random.integers(0x4E00, 0x5200, 20_000))) for _ in range(20)]
    features.transform(texts[:1], texts[1:2])
    started = perf_counter()
    features.transform(texts[:10], texts[10:])
    assert perf_counter() - started < 5
