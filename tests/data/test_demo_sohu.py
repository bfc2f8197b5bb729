"""The Sohu demo set: official folders and keys, labels by the written rule, and nothing on two sides."""

import json
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import DataError
from data.demo_sohu import (
    COPY,
    DUPLICATE,
    HARD,
    SUBTASKS,
    TOPIC,
    Article,
    build,
    halves,
    make_packs,
    neighbours,
    normalised,
    overlap,
    read_article,
    short_and_target,
)  # fmt: skip


def word(place: int) -> str:
    """A word of three characters that shares no character pair with any other."""
    return "".join(chr(0x4E00 + 3 * place + i) for i in range(3))


def written(topic: int, every: int, rng: random.Random) -> tuple[str, str]:
    """(title, body) of an article: one word in `every` is of its topic's twelve, the others of twelve chosen for it."""
    own = rng.sample(range(1500, 3500), 12)

    def phrase(count):
        places = [rng.choice(own) if i % every else 12 * topic + rng.randrange(12) for i in range(count)]
        return "".join(map(word, places))

    return phrase(5), "".join(phrase(rng.randint(6, 12)) + "。" for _ in range(14))


@pytest.fixture(scope="module")
def news():
    rng = random.Random(1)
    close = [written(number % 30, 2, rng) for number in range(120)]
    distant = [written(30 + number % 40, 6, rng) for number in range(280)]
    made = close + distant
    copies = [(title + "_甲乙网", body) for title, body in made[:10]]
    reworded = [(f"新{title}", body + "转载本文。") for title, body in made[10:20]]
    return made + copies + reworded


@pytest.fixture(scope="module")
def built(news, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sohu")
    return folder, build(news, folder, seed=5, full=True)


def rows(folder, subtask: str, file: str) -> list[dict]:
    return [json.loads(line) for line in (folder / subtask / file).read_text(encoding="utf-8").splitlines()]


def everything(folder):
    for name, *_ in SUBTASKS:
        for file in ("train.txt", "valid.txt", "test_with_id.txt"):
            yield name, file, rows(folder, name, file)


def test_the_six_folders_hold_the_official_keys_and_string_labels(built):
    folder, table = built
    counts = {f"sohu2021/{name}/{file}": len(found) for name, file, found in everything(folder)}
    assert counts == {file: lines for file, lines, _ in table if not file.endswith("gold.csv")}
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(name for name, *_ in SUBTASKS)
    for name, file, found in everything(folder):
        key = "labelA" if "A" in name else "labelB"
        assert found, f"{name}/{file} is empty"
        for row in found:
            assert set(row) == {"source", "target", "id" if file == "test_with_id.txt" else key}
            assert row["source"].strip() and row["target"].strip() and row["source"] != row["target"]
            assert row.get(key, "0") in {"0", "1"}


def test_gold_has_the_ids_of_the_six_test_files_in_order(built):
    folder, _ = built
    header, *lines = (folder / "gold.csv").read_text(encoding="utf-8").splitlines()
    ids = [row["id"] for name, *_ in SUBTASKS for row in rows(folder, name, "test_with_id.txt")]
    assert header == "id,label"
    assert [line.split(",")[0] for line in lines] == ids and len(set(ids)) == len(ids)
    assert {line.split(",")[1] for line in lines} == {"0", "1"}
    for name, *_ in SUBTASKS:
        assert {row["id"][-1] for row in rows(folder, name, "test_with_id.txt")} == {"a" if "A" in name else "b"}


def test_no_text_and_no_article_stands_on_two_sides(news, built):
    folder, _ = built
    article_of: dict[str, set[str]] = {}
    for title, body in news:
        if article := read_article(title, body):
            for text in (article.title, *halves(article), *article.sentences):
                article_of.setdefault(normalised(text), set()).add(article.title)
    texts: dict[str, set[str]] = {}
    articles: dict[str, set[str]] = {}
    for _, file, found in everything(folder):
        for row in found:
            for text in (normalised(row["source"]), normalised(row["target"])):
                texts.setdefault(file, set()).add(text)
                if len(article_of[text]) == 1:
                    articles.setdefault(file, set()).update(article_of[text])
    files = ("train.txt", "valid.txt", "test_with_id.txt")
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not texts[files[first]] & texts[files[second]]
        assert not articles[files[first]] & articles[files[second]]


def test_both_labels_are_common_and_tell_nothing_by_length(built):
    folder, _ = built
    for name, *_ in SUBTASKS:
        key = "labelA" if "A" in name else "labelB"
        found = rows(folder, name, "train.txt")
        positive = [row for row in found if row[key] == "1"]
        assert 0.2 <= len(positive) / len(found) <= 0.6
        lengths = {label: [len(row["target"]) for row in found if row[key] == label] for label in "01"}
        assert 0.7 < fmean(lengths["0"]) / fmean(lengths["1"]) < 1.4


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_pairs(news, built, tmp_path):
    folder, _ = built
    build(news, tmp_path / "same", seed=5, full=True)
    build(news, tmp_path / "other", seed=6, full=True)

    def read(root):
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert read(folder) == read(tmp_path / "same") != read(tmp_path / "other")


def test_the_demo_size_bounds_every_file(news, tmp_path, monkeypatch):
    monkeypatch.setattr("data.demo_sohu.DEMO_PAIRS", {"train": 10, "valid": 3, "test": 4})
    build(news, tmp_path, seed=1, full=False)
    for _, file, found in everything(tmp_path):
        assert len(found) <= {"train.txt": 10, "valid.txt": 3, "test_with_id.txt": 4}[file]


def test_near_duplicates_leave_one_article_and_each_article_joins_one_pack(news):
    articles = list(dict.fromkeys(article for title, body in news if (article := read_article(title, body))))
    similar = neighbours(articles)
    packs = make_packs(len(articles), similar)
    used = [place for pack in packs for place in (pack.first, pack.second)]
    assert len(used) == len(set(used))
    value = {(first, second): cosine for cosine, first, second in similar}
    assert any(cosine >= DUPLICATE for cosine in value.values())
    assert not any(
        cosine >= DUPLICATE and first in used and second in used for (first, second), cosine in value.items()
    )
    for pack in packs:
        low, high = (TOPIC, DUPLICATE) if pack.related else (0, HARD)
        assert low <= value[pack.first, pack.second] < high


def test_neighbours_are_the_cosines_of_a_plain_computation(news):
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    articles = [article for title, body in news[:60] if (article := read_article(title, body))]
    texts = [(article.title + " " + "".join(article.sentences))[:800] for article in articles]
    rows_ = TfidfVectorizer(analyzer="char", ngram_range=(2, 2), sublinear_tf=True, min_df=2,
                            max_df=20 / len(articles)).fit_transform(texts).toarray()  # fmt: skip
    dense = rows_ @ rows_.T
    similar = neighbours(articles)
    assert [item[0] for item in similar] == sorted((item[0] for item in similar), reverse=True)
    for cosine, first, second in similar:
        assert cosine == pytest.approx(dense[first, second], abs=1e-5)
    best = np.argmax(dense - 2 * np.eye(len(dense)), axis=1)
    found = {frozenset(item[1:]) for item in similar}
    assert all(frozenset((row, int(column))) in found for row, column in enumerate(best))


def test_a_short_target_is_a_sentence_that_does_not_copy_the_headline():
    title = "甲乙丙丁戊己庚辛"
    body = [f"{title}一二三四五六七。", "甲乙丙丁子丑寅卯辰巳午未。", *("天地玄黄宇宙洪荒日月盈昃。" * 24).split("。")]
    article = read_article(title, "。".join(part.rstrip("。") for part in body if part))
    assert article and all(overlap(title, text) <= COPY for text in article.sentences)
    targets = {short_and_target(article, article, ("short", "short"), random.Random(i))[1] for i in range(30)}
    assert targets and all(overlap(title, text) <= COPY and len(text) >= 12 for text in targets)
    assert any("甲乙丙丁子" in text for text in targets)


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("某地举行某某活动大会_某某网", "某地举行某某活动大会"),
        ("某地举行某某活动大会 - 某地新闻网 - 某...", "某地举行某某活动大会"),
        ("某地举行“三–四”活动大会", "某地举行“三–四”活动大会"),
    ],
)
def test_the_site_name_is_taken_off_a_headline(title, kept):
    body = "".join(f"正文第{chr(0x4E10 + 2 * i)}句话写得相当长一些。" for i in range(40))
    assert read_article(title, body).title == kept


def test_markup_and_lost_characters_are_not_kept_as_sentences():
    good = "".join(f"正文第{chr(0x4E10 + 2 * i)}句话写得相当长一些。" for i in range(40))
    article = read_article(
        "某地举行某某活动大会", good + '<img src="https://example.org/picture.jpg">。????????????????。'
    )
    assert article and not any("img" in text or "??" in text for text in article.sentences)


@pytest.mark.parametrize(
    ("title", "body"), [("", "正文。" * 200), ("短", "正文。" * 200), ("某地举行活动大会", "太短。")]
)
def test_articles_that_cannot_serve_every_subtask_are_left_out(title, body):
    assert read_article(title, body) is None


@given(st.lists(st.text("甲乙丙。", min_size=1, max_size=30), max_size=40))
def test_halves_are_disjoint_runs_of_whole_sentences(parts):
    first, second = halves(Article("题", tuple(parts)))
    whole = "".join(parts)
    assert len(first) <= 500 and len(second) <= 500
    if len(whole) <= 500:
        assert first + second == whole


def test_too_few_articles_are_an_error(tmp_path):
    with pytest.raises(DataError, match="0 usable news articles"):
        build([("题", "文")] * 30, tmp_path, seed=1, full=False)
