"""Six Sohu-format demo subtasks from 7,353 web news. The labels are weak: a rule made them, nobody read the pairs.

Articles are put in packs of two near neighbours, an article in one pack only. A pack gives at most one pair to a
subtask: two parts of one article (same event), or one part of each. Both kinds are built in the same way, so a pair's
form does not give its label away, and packs never straddle train, valid and test.
"""

import hashlib
import json
import random
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from common.files import DataError, write_lines

# (folder, standard, source, target): "short" is a headline or a sentence, "long" half a body.
SUBTASKS = (
    ("短短匹配A类", "A", "short", "short"), ("短短匹配B类", "B", "short", "short"),
    ("短长匹配A类", "A", "short", "long"), ("短长匹配B类", "B", "short", "long"),
    ("长长匹配A类", "A", "long", "long"), ("长长匹配B类", "B", "long", "long"),
)  # fmt: skip
SPLITS = {"train": 0.65, "valid": 0.13, "test": 0.22}
DEMO_PAIRS = {"train": 300, "valid": 60, "test": 100}
# Cosine of character-bigram TF-IDF: the same text, the same topic, or only neighbours. Between TOPIC and HARD nobody
# could say without reading, so such pairs are not used.
DUPLICATE, TOPIC, HARD = 0.5, 0.2, 0.15
NEIGHBOURS = 15
COMPARED_CHARACTERS = 800
RELATED_SHARE = 0.2  # of the A pairs: neighbours of one topic
SAME_ARTICLE = {"A": 0.28, "B": 0.42}  # of the other pairs
COPY = 0.55  # a sentence that holds more than this share of the headline's bigrams is a copy of it
SENTENCE_LENGTH, HALF_LENGTH, MIN_HALF, TITLE_LENGTH = (12, 100), 500, 100, (8, 60)
HAN = re.compile("[\u4e00-\u9fff]")
SITE_WORDS = "网|网站|搜狐|贴吧|知道|博客|财经|新闻|在线|资讯|百科|频道|推荐"
SITE_TAIL = re.compile(rf"\s*[_|｜–-]+\s*[^_|｜–-]{{0,18}}(?:{SITE_WORDS}|\.\.\.)\s*$")


@dataclass(frozen=True)
class Article:
    """title: the headline without the site's name. sentences: of the body, without those that copy the headline."""

    title: str
    sentences: tuple[str, ...]


def bigrams(text: str) -> set[str]:
    """Neighbouring pairs of letters and digits."""
    return {first + second for first, second in pairwise(normalised(text))}


def overlap(title: str, text: str) -> float:
    """Share of the headline's bigrams that stand in the text, 0 to 1."""
    wanted = bigrams(title)
    return len(wanted & bigrams(text)) / max(1, len(wanted))


def normalised(text: str) -> str:
    """Letters and digits alone, lower case: what two texts must differ in."""
    return "".join(char for char in text.lower() if char.isalnum())


def clean(text: str) -> str:
    """White space, also written as backslash-n, as single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\\[nrt]", " ", text)).strip()


def read_article(title: str, body: str) -> Article | None:
    """An article that can serve both sides of every subtask, or None when headline or body is too short."""
    title, before = clean(title), None
    while title != before:
        before, title = title, SITE_TAIL.sub("", title)
    parts = [part.strip() for part in re.split(r"(?<=[。！？!?；])|(?<=\S) (?=\S{8})", clean(body))]
    text = [part for part in parts if part and len(HAN.findall(part)) >= len(part) / 2]  # not markup, not "????"
    kept = tuple(part for part in text if overlap(title, part) <= COPY)
    usable = TITLE_LENGTH[0] <= len(title) <= TITLE_LENGTH[1]
    article = Article(title, kept)
    if not usable or not _short_sentences(article) or min(map(len, halves(article))) < MIN_HALF:
        return None
    return article


def _short_sentences(article: Article) -> list[str]:
    return [text for text in article.sentences if SENTENCE_LENGTH[0] <= len(text) <= SENTENCE_LENGTH[1]]


def halves(article: Article) -> tuple[str, str]:
    """The body's two halves by characters, whole sentences, each cut at HALF_LENGTH."""
    middle, at, first = sum(map(len, article.sentences)) / 2, 0, 0
    while first < len(article.sentences) and at < middle:
        at += len(article.sentences[first])
        first += 1
    return "".join(article.sentences[:first])[:HALF_LENGTH], "".join(article.sentences[first:])[:HALF_LENGTH]


def neighbours(articles: list[Article]) -> list[tuple[float, int, int]]:
    """Pairs of similar articles: (cosine of character-bigram TF-IDF, i, j) with i < j, most similar first."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 2), sublinear_tf=True, dtype=np.float32,
                                 min_df=2, max_df=max(0.05, 20 / len(articles)))  # fmt: skip
    rows = vectorizer.fit_transform((a.title + " " + "".join(a.sentences))[:COMPARED_CHARACTERS] for a in articles)
    columns, count = rows.T.tocsr(), min(NEIGHBOURS, len(articles) - 1)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(articles), 500):  # chunks bound the memory
        similar = (rows[start : start + 500] @ columns).toarray()
        mine = np.arange(len(similar))
        similar[mine, mine + start] = -1
        keep = similar >= DUPLICATE  # all of these, however many: advertisements come in the dozens
        np.put_along_axis(keep, np.argpartition(-similar, count - 1, axis=1)[:, :count], True, axis=1)
        for row, other in zip(*map(np.ndarray.tolist, np.nonzero(keep)), strict=True):
            pair = (min(start + row, other), max(start + row, other))
            found[pair] = round(float(similar[row, other]), 6)
    return sorted(((value, *pair) for pair, value in found.items()), key=lambda item: (-item[0], item[1:]))


@dataclass(frozen=True)
class Pack:
    """Two different articles. related: they share a topic; otherwise they are near but of different topics."""

    first: int
    second: int
    related: bool


def make_packs(count: int, similar: list[tuple[float, int, int]]) -> list[Pack]:
    """Articles in twos: neighbours of one topic first, then the nearest that are not; each article at most once.

    count: number of articles. similar: as `neighbours` returns it. Near-duplicates of an article are dropped.
    """
    used: set[int] = set()
    for value, first, second in similar:
        if value >= DUPLICATE and first not in used:
            used.add(second)
    packs = []
    for related, low, high in ((True, TOPIC, DUPLICATE), (False, 0.0, HARD)):
        for value, first, second in similar:
            if low <= value < high and first not in used and second not in used:
                used |= {first, second}
                packs.append(Pack(first, second, related))
    return packs


def short_and_target(anchor: Article, other: Article, form: tuple[str, str], rng: random.Random) -> tuple[str, str]:
    """Source from `anchor`, target from `other`, which may be the same article.

    form: ("short" | "long", "short" | "long"). A short target is one of the three sentences of `other` that
    say most of the headline without copying it.
    """
    source = anchor.title if form[0] == "short" else halves(anchor)[0]
    if form[1] == "long":
        return source, halves(other)[1]
    candidates = [text for text in _short_sentences(other) if overlap(anchor.title, text) <= COPY]
    best = sorted(candidates or _short_sentences(other), key=lambda text: -overlap(anchor.title, text))[:3]
    return source, rng.choice(best)


def subtask_pairs(packs: list[Pack], articles: list[Article], subtask: tuple[str, str, str, str], seed: int,
                  limit: int | None) -> list[tuple[str, str, str]]:  # fmt: skip
    """(source, target, label) of one subtask and one side, at most `limit` (None: one from every pack that fits).

    Same event: parts of one article (label 1 for A and B). Same topic: parts of two related articles (A only: 1).
    Neighbours of different topics: 0. Related articles are left out of B: no rule tells one event from two.
    """
    folder, standard, *form = subtask
    rng = random.Random(f"{seed}-{folder}")
    packs = rng.sample(packs, len(packs))
    related = [pack for pack in packs if pack.related] if standard == "A" else []
    others = [pack for pack in packs if not pack.related]
    total = round(len(others) / (1 - RELATED_SHARE)) if limit is None else limit
    related = related[: round(total * RELATED_SHARE)]
    others = others[: total - len(related)]
    same = set(rng.sample(range(len(others)), round(len(others) * SAME_ARTICLE[standard])))
    pairs = []
    for place, pack in enumerate(others + related):
        anchor, other = rng.sample((pack.first, pack.second), 2)
        other = anchor if place in same else other
        label = "1" if pack.related or place in same else "0"
        pairs.append((*short_and_target(articles[anchor], articles[other], (form[0], form[1]), rng), label))
    rng.shuffle(pairs)
    return pairs


def build(news: list[tuple[str, str]], folder: Path, seed: int, full: bool) -> list[tuple[str, int, str]]:
    """Writes the six subtask folders and gold.csv into `folder`.

    news: (title, body). full: a pair from every pack; otherwise DEMO_PAIRS a subtask.
    Returns rows for the closing table: (file, lines, remark). Raises DataError when too few articles are usable.
    """
    distinct = dict.fromkeys(article for title, body in news if (article := read_article(title, body)))
    articles = list({article.title: article for article in distinct}.values())
    if len(articles) < 20:
        raise DataError(f"{len(articles)} usable news articles", expected="at least 20", action="check the archive")
    packs = make_packs(len(articles), neighbours(articles))
    random.Random(f"{seed}-packs").shuffle(packs)
    bounds = [0, round(len(packs) * SPLITS["train"]), round(len(packs) * (1 - SPLITS["test"])), len(packs)]
    sides = {
        side: packs[low:high] for side, low, high in zip(SPLITS, *zip(*pairwise(bounds), strict=True), strict=True)
    }
    gold, table = ["id,label"], []
    side_of: dict[str, str] = {}  # a sentence that many articles share stays on the side that has it first
    for subtask in SUBTASKS:
        name, key = subtask[0], f"label{subtask[1]}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        for side, members in sides.items():
            made = subtask_pairs(members, articles, subtask, seed, None if full else DEMO_PAIRS[side])
            pairs = [pair for pair in made
                     if all(side_of.setdefault(normalised(text), side) == side for text in pair[:2])]  # fmt: skip
            rows = [{"source": source, "target": target, key: label} for source, target, label in pairs]
            if side == "test":
                for number, row in enumerate(rows):
                    digest = hashlib.blake2b(f"{seed}/{name}/{number}".encode(), digest_size=16).hexdigest()
                    row["id"] = digest + subtask[1].lower()
                    gold.append(f"{row['id']},{row.pop(key)}")
            file = "test_with_id.txt" if side == "test" else f"{side}.txt"
            write_lines(folder / name / file, (json.dumps(row, ensure_ascii=False) for row in rows))
            share = sum(label == "1" for *_, label in pairs) / max(1, len(pairs))
            table.append((f"sohu2021/{name}/{file}", len(pairs), f"label 1: {share:.0%}"))
    write_lines(folder / "gold.csv", gold)
    table.append(("sohu2021/gold.csv", len(gold) - 1, "id,label of the six test files"))
    return table
