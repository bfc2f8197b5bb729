"""The DataGrand demo set: tags become entities, characters become integers, and nothing stands on two sides."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import DataError
from data.demo_datagrand import (
    Sentence,
    build,
    character_ids,
    contiguous_blocks,
    distinct_lines,
    labelled_line,
    normalised,
    parse_paragraph,
    sentences,
    split_blocks,
)  # fmt: skip


def named(sentence: Sentence) -> list[tuple[str, str]]:
    return [(sentence.text[start:end], type_) for start, end, type_ in sentence.spans]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("甲/nr  乙丙/nr  在/p  丁市/ns  。/w", [("甲乙丙", "a"), ("丁市", "b")]),
        ("甲/nr  乙/nr  丙/nr  丁戊/nr", [("甲乙", "a"), ("丙丁戊", "a")]),  # two people side by side
        ("欧阳/nr  甲/nr", [("欧阳甲", "a")]),  # a family name of two characters
        ("乙丙丁/nr  戊己庚/nr", [("乙丙丁", "a"), ("戊己庚", "a")]),  # two foreign names
        ("甲/nr  、/w  乙/nr", [("甲", "a"), ("乙", "a")]),
        ("丁省/ns  戊市/ns", [("丁省", "b"), ("戊市", "b")]),
        ("己社/nt  记者/n", [("己社", "c")]),
        ("１／２/m  ，/w", []),
        ("", []),
    ],
)
def test_name_tags_become_entities_and_family_plus_given_name_one_person(line, expected):
    assert named(parse_paragraph(line)) == expected


def test_a_word_without_a_tag_is_an_error_that_names_the_line():
    with pytest.raises(DataError, match=r"199801\.txt:7: '甲' has no tag"):
        parse_paragraph("乙/n  甲", 7)


def test_a_paragraph_is_cut_after_full_stops_with_their_quotes_and_short_pieces_are_joined():
    text = "一" * 20 + "。”" + "二。" + "三" * 20 + "！" + "四" * 3
    cut = [piece.text for piece in sentences(Sentence(text, ()))]
    assert cut == ["一" * 20 + "。”", "二。" + "三" * 20 + "！", "四" * 3]


spanned = st.lists(st.tuples(st.text("甲乙丙。！？”，", min_size=1, max_size=12), st.sampled_from("abc-")), max_size=12)


def sentence_of(parts: list[tuple[str, str]]) -> Sentence:
    spans, at = [], 0
    for text, type_ in parts:
        if type_ != "-":
            spans.append((at, at + len(text), type_))
        at += len(text)
    return Sentence("".join(text for text, _ in parts), tuple(spans))


@given(spanned)
def test_cutting_loses_no_character_and_no_entity(parts):
    whole = sentence_of(parts)
    pieces = sentences(whole)
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [item for piece in pieces for item in named(piece)] == named(whole)


@given(spanned.filter(bool), st.integers(0, 5))
def test_a_labelled_line_reads_back_to_the_same_characters_and_entities(parts, seed):
    whole = sentence_of(parts)
    ids = character_ids(whole.text, seed)
    back = {str(number): char for char, number in ids.items()}
    found, at = [], 0
    for segment in labelled_line(whole, ids).split("  "):
        numbers, type_ = segment.split("/")
        text = "".join(back[number] for number in numbers.split("_"))
        assert text == whole.text[at : at + len(text)]
        found += [(text, type_)] if type_ != "o" else []
        at += len(text)
    assert (at, found) == (len(whole.text), named(whole))


@given(st.text(max_size=80), st.integers())
def test_character_numbers_are_a_bijection_onto_1_to_n_that_only_the_seed_decides(text, seed):
    ids = character_ids(text, seed)
    assert set(ids) == set(text)
    assert sorted(ids.values()) == list(range(1, len(set(text)) + 1))
    assert ids == character_ids(reversed(text), seed)


def test_another_seed_gives_other_numbers():
    text = [chr(0x4E00 + i) for i in range(200)]
    assert character_ids(text, 1) != character_ids(text, 2)


def newspaper(articles: int, rng: random.Random) -> list[list[str]]:
    """Articles as tagged lines: a headline, then 2-7 paragraphs; every article also has one sentence that all share."""
    made = []
    for number in range(articles):

        def words(count, mark=number):
            return "  ".join(f"{chr(0x4E00 + rng.randrange(300))}{chr(0x5E00 + mark)}/n" for _ in range(count))

        body = [f"甲/nr  乙{chr(0x6E00 + number)}/nr  {words(12)}  。/w" for _ in range(rng.randint(2, 7))]
        made.append(
            [words(5), *body, "  ".join(f"{char}/n" for char in "本报今日共四版各地均可订阅欢迎选购") + "  。/w"]
        )
    return made


def test_blocks_start_at_headlines_and_keep_every_paragraph_in_order():
    paragraphs = [parse_paragraph(line) for article in newspaper(60, random.Random(1)) for line in article]
    blocks = contiguous_blocks(paragraphs, size=20)
    assert [paragraph for block in blocks for paragraph in block] == paragraphs
    assert len(blocks) > 5 and all(len(block) >= 20 for block in blocks[:-1])
    assert all(not block[0].text.endswith("。") for block in blocks)


@pytest.mark.parametrize("seed", range(4))
def test_no_document_and_no_repeated_sentence_stands_on_two_sides(seed):
    articles = newspaper(150, random.Random(seed))
    article_of = {
        parse_paragraph(line).text: number for number, article in enumerate(articles) for line in article[:-1]
    }
    paragraphs = [parse_paragraph(line) for article in articles for line in article]
    sides = split_blocks(contiguous_blocks(paragraphs, size=20), seed)
    documents = {side: {article_of[p.text] for p in kept if p.text in article_of} for side, kept in sides.items()}
    assert all(documents.values())
    lines = distinct_lines(sides)
    texts = {side: [normalised(line.text) for line in kept] for side, kept in lines.items()}
    for first, second in (("train", "test"), ("train", "corpus"), ("test", "corpus")):
        assert not documents[first] & documents[second]
        assert not set(texts[first]) & set(texts[second])
    shared = normalised("本报今日共四版各地均可订阅欢迎选购。")
    assert sum(kept.count(shared) for kept in texts.values()) == 1


def test_an_article_that_the_estimate_cuts_in_two_does_not_reach_over_to_another_side():
    # One article of 12 paragraphs whose fourth looks like a headline, right where the second block starts.
    blocks = [[Sentence(f"前文{i}。", ()) for i in range(40)], [Sentence(f"后文{i}。", ()) for i in range(40)]]
    for seed in range(20):
        sides = split_blocks(blocks, seed)
        used = [side for side, kept in sides.items() if kept]
        if len(used) == 2:
            assert all(f"后文{i}。" not in {p.text for kept in sides.values() for p in kept} for i in range(8))
            return
    pytest.fail("no seed put the two blocks on two sides")


@pytest.mark.parametrize(("one", "other"), [("１月２日电", "3月4日电"), ("ＡＢ，甲", "ab甲。"), ("甲 乙", "甲乙")])
def test_sentences_that_differ_only_in_form_or_digits_count_as_repeated(one, other):
    assert normalised(one) == normalised(other)


def test_files_parse_agree_with_gold_and_follow_the_seed(tmp_path):
    tagged = "\n".join(line for article in newspaper(400, random.Random(3)) for line in article)
    table = build(tagged, tmp_path / "one", seed=5, full=False)
    build(tagged, tmp_path / "two", seed=5, full=False)
    build(tagged, tmp_path / "three", seed=6, full=False)
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "two").iterdir()}
    assert files["train.txt"] != (tmp_path / "three/train.txt").read_text(encoding="utf-8")
    assert {f"datagrand2019/{name}": len(text.splitlines()) for name, text in files.items()} == {
        r[0]: r[1] for r in table
    }
    for line in (files["train.txt"] + files["gold.txt"]).splitlines():
        assert all(part.split("/")[1] in "abco" and "__" not in part for part in line.split("  "))
    plain = ["_".join(part.split("/")[0] for part in line.split("  ")) for line in files["gold.txt"].splitlines()]
    assert plain == files["test.txt"].splitlines()
    assert all(number.isdigit() for line in files["corpus.txt"].splitlines() for number in line.split("_"))
