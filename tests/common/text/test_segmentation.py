"""Segmenter: nothing is lost, rjieba agrees with jieba, and what counts as a whole word."""

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import jieba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.text import segmentation
from common.text.segmentation import Segmenter, jieba_cutter


class ByJieba(Segmenter):
    """The segmenter as it is where rjieba is not installed."""

    def cut_many(self, texts):
        return [JIEBA(text) for text in texts]


JIEBA = jieba_cutter()


def words_of(text: str, segmenter: Segmenter | None = None) -> list[str]:
    starts = np.flatnonzero((segmenter or Segmenter()).word_starts([text])).tolist()
    return [text[start:stop] for start, stop in pairwise([*starts, len(text)])]


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """10,000 strings of words from jieba's dictionary, signs, letters and digits."""
    lines = (Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines()
    words, choose = [line.split(" ")[0] for line in lines], random.Random(7)

    def part() -> str:
        kind = choose.random()
        if kind < 0.75:
            return choose.choice(words)
        if kind < 0.85:
            return choose.choice("，。！？；：、（）《》“”…— 　")
        if kind < 0.92:
            return str(choose.randint(0, 99999))
        return "".join(choose.choices("abcdeXYZ", k=choose.randint(1, 8)))

    return ["".join(part() for _ in range(choose.randint(2, 12))) for _ in range(10_000)]


def test_rjieba_and_jieba_agree_on_10000_sentences(sentences):
    rjieba = pytest.importorskip("rjieba")
    assert [text for text in sentences if rjieba.cut(text) != JIEBA(text)] == []
    assert (Segmenter().word_starts(sentences) == ByJieba().word_starts(sentences)).all()


@pytest.mark.parametrize("text", ["5-6", "CD-ROM", "Node.js"])
def test_they_differ_where_a_sign_joins_letters_and_whole_words_do_not(text):
    rjieba = pytest.importorskip("rjieba")
    assert rjieba.cut(text) == [text] != JIEBA(text)
    assert words_of(text) == words_of(text, ByJieba()) == JIEBA(text)


def test_they_differ_where_two_cuts_are_almost_equally_probable():
    rjieba = pytest.importorskip("rjieba")
    assert rjieba.cut("常在向我们") == ["常在", "向", "我们"]
    assert JIEBA("常在向我们") == ["常", "在", "向", "我们"]


@given(st.text(max_size=30))
def test_words_joined_give_the_text_again(text):
    assert "".join(Segmenter().cut(text)) == text
    assert "".join(ByJieba().cut(text)) == text
    assert "".join(words_of(text)) == text


def test_a_lone_surrogate_keeps_its_place():
    assert "".join(Segmenter().cut("北京\ud83d大学")) == "北京\ud83d大学"


def test_empty_text_has_no_words():
    assert Segmenter().cut("") == []
    assert not len(Segmenter().word_starts(["", ""]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我来到北京清华大学", ["我", "来到", "北京", "清华大学"]),
        ("abc123.5", ["abc", "123", ".", "5"]),
        ("１９９８年ＡＢＣ", ["１９９８", "年", "ＡＢＣ"]),
        ("买T恤", ["买", "T恤"]),
        ("cafe\u0301 é", ["cafe\u0301", " ", "é"]),
        ("！！", ["！", "！"]),
        ("😀\u200d😀", ["😀\u200d", "😀"]),
        ("привет мир", ["привет", " ", "мир"]),
    ],
)
def test_whole_words(text, words):
    assert words_of(text) == words


@example(["1", "\u03011"])
@given(st.lists(st.text(alphabet="北京大学ab1 ，\u0301", max_size=8), max_size=6))
def test_word_starts_of_many_texts_are_those_of_each(texts):
    each = [Segmenter().word_starts([text]) for text in texts]
    assert Segmenter().word_starts(texts).tolist() == [flag for starts in each for flag in starts]


def test_user_dictionary_adds_words_for_this_segmenter_only(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("京清华 1000000000\n", encoding="utf-8")
    assert "京清华" in Segmenter(path).cut("北京清华大学")
    assert "京清华" not in Segmenter().cut("北京清华大学")
    assert "京清华" not in jieba.lcut("北京清华大学")


def test_a_missing_user_dictionary_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt.*one word a line"):
        Segmenter(tmp_path / "nowhere.txt")


def test_a_user_dictionary_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "gbk.txt"
    path.write_bytes("清华".encode("gbk"))
    with pytest.raises(ValueError, match=r"gbk\.txt.*UTF-8"):
        Segmenter(path).cut("清华")


def test_jieba_is_silent_and_imported_only_when_it_cuts():
    code = (
        "import sys; from common.text.segmentation import Segmenter, jieba_cutter; s = Segmenter();"
        "assert not {'jieba', 'rjieba'} & set(sys.modules); jieba_cutter()('我们'); s.cut('我们')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_jieba_cuts_where_rjieba_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    segmentation._cutter.cache_clear()
    try:
        assert Segmenter().cut("买CD-ROM") == ["买", "CD", "-", "ROM"]
    finally:
        segmentation._cutter.cache_clear()
