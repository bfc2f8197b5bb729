"""Answers are scored as CMRC 2018's own scorer scores them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer

from common.evaluation.reading import (
    answer_exact_match,
    answer_f1,
    answer_segments,
    longest_common_run,
    reading_scores,
)

texts = st.text(alphabet="中国人民ab1 .,-。，…'")


@pytest.mark.parametrize(
    "text, segments",
    [
        ("北京大学", list("北京大学")),
        ("2008年8月8日", ["2008", "年", "8", "月", "8", "日"]),
        ("iPhone 6s手机", ["iphone", "6s", "手", "机"]),
        ("《红楼梦》，曹雪芹。", list("红楼梦曹雪芹")),
        ("3.5%以上", ["3.5", "%", "以", "上"]),
        ("10,000人", ["10,000", "人"]),
        ("Wi-Fi 网络", ["wifi", "网", "络"]),  # "-" is dropped, and what it joined is one word
        ("a b中c", ["a", "b", "中", "c"]),
        ("等等……", ["等", "等", "……"]),  # the scorer means to drop this sign and does not
        ("Stop. Go!", ["stop", ".", "go", "!"]),
        ("I cannot", ["i", "can", "not"]),
        ("……", ["……"]),
        ("，。", []),
        ("  ", []),
        ("", []),
    ],
)
def test_chinese_goes_by_characters_and_the_rest_by_words(text: str, segments: list[str]) -> None:
    assert answer_segments(text) == segments


@given(st.text(alphabet=st.characters(categories=["Ll", "Nd", "Zs"], exclude_characters="\u00a0")))
def test_plain_words_need_no_tokenizer(text: str) -> None:
    """The way round nltk gives what nltk gives."""
    text = "".join(char for char in text if not "\u4e00" <= char <= "\u9fa5")
    assert answer_segments(text) == NLTKWordTokenizer().tokenize(text.lower().strip())


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_the_longest_common_run_is_that_of_all_slices(one: list[str], other: list[str]) -> None:
    def slices(items: list[str]) -> set[tuple[str, ...]]:
        return {tuple(items[a:b]) for a in range(len(items) + 1) for b in range(a, len(items) + 1)}

    assert longest_common_run(one, other) == max(map(len, slices(one) & slices(other)))


def test_f1_counts_one_run_and_no_scattered_characters() -> None:
    assert answer_f1(["北京大学"], "北京大学") == 1
    assert answer_f1(["北京大学"], "北京") == pytest.approx(2 * 2 / 6)
    assert answer_f1(["北京大学"], "北方大学") == pytest.approx(2 * 2 / 8), "北 and 大学 are not one run"
    assert answer_f1(["北京", "北京大学"], "大学") == pytest.approx(2 * 2 / 6), "the best answer counts"
    assert answer_f1(["北京"], "上海") == answer_f1(["北京"], "") == 0
    assert answer_f1(["1998年"], "1998 年。") == 1


def test_exact_match_ignores_case_and_punctuation_but_not_spaces() -> None:
    assert answer_exact_match(["《红楼梦》"], "红楼梦。") == 1
    assert answer_exact_match(["NBA", "美国职业篮球联赛"], " nba ") == 1
    assert answer_exact_match(["iPhone 6"], "iPhone6") == 0
    assert answer_exact_match(["等等…"], "等等") == 0
    assert answer_exact_match(["，"], "") == 1, "an answer of punctuation alone is empty to the scorer"


@given(st.lists(texts, min_size=1, max_size=3), texts)
def test_scores_are_those_of_a_straightforward_count(answers: list[str], prediction: str) -> None:
    """A second way to the same numbers: strings cut character by character, runs found by trying every length."""

    def cut(text: str) -> list[str]:
        kept = [char for char in text.lower().strip() if char not in "-。，"]
        parts, run = [], ""
        for char in [*kept, "中"]:
            if char in "中国人民":
                for sentence in sentences(run):
                    parts += NLTKWordTokenizer().tokenize(sentence)
                parts, run = [*parts, char], ""
            else:
                run += char
        return parts[:-1]

    def sentences(run: str) -> list[str]:
        for place in range(1, len(run)):
            if run[place] == " " and run[place - 1] in ".!?":
                return [run[:place], *sentences(run[place:].lstrip())]
        return [run]

    def f1(answer: str) -> float:
        one, two = cut(answer), cut(prediction)
        for size in range(min(len(one), len(two)), 0, -1):
            starts = range(len(one) - size + 1), range(len(two) - size + 1)
            if any(one[a : a + size] == two[b : b + size] for a in starts[0] for b in starts[1]):
                precision, recall = size / len(two), size / len(one)
                return 2 * precision * recall / (precision + recall)
        return 0.0

    assert answer_f1(answers, prediction) == pytest.approx(max(map(f1, answers)))
    bare = [text.lower().strip() for text in (*answers, prediction)]
    *bare, last = ("".join(char for char in text if char not in "-。，") for text in bare)
    assert answer_exact_match(answers, prediction) == (last in bare)


def test_a_contest_averages_over_questions_and_counts_what_is_left_out() -> None:
    gold = [["北京大学"], ["北京大学", "北大"], ["上海"], []]
    found = reading_scores(gold, ["北京", "北大。", None, ""])
    assert found["f1"] == pytest.approx((2 / 3 + 1 + 0 + 1) / 4) and found["exact_match"] == 2 / 4
    assert found["score"] == pytest.approx((found["f1"] + found["exact_match"]) / 2)
    assert reading_scores([[]], ["北京"])["score"] == 0, "an answer where there is none"
    assert reading_scores([], [])["score"] == 0
    with pytest.raises(ValueError, match="2 questions but 1"):
        reading_scores([[], []], [""])
