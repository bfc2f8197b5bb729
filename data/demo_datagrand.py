"""A DataGrand-format demo set from the People's Daily of January 1998: characters as integers, names as entities.

The source is one paragraph a line of `word/tag` pairs. It has neither document ids nor composite names, so documents
are estimated (see `contiguous_blocks`) and "中国/ns 国际/n 广播/vn 电台/n" stays a place followed by plain words.
"""

import random
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from common.files import DataError, write_lines

SOURCE = "199801.txt"
ENTITY_TYPES = {"nr": "a", "ns": "b", "nt": "c"}  # person, place, organisation
COMPOUND_SURNAMES = frozenset(
    re.findall("..", "欧阳司马诸葛上官司徒令狐南宫夏侯皇甫尉迟公孙慕容东方端木长孙宇文西门独孤")
)
SENTENCE_END = re.compile(r"[。！？]+[”’』」）]*")
PARAGRAPH_ENDS = tuple("。！？…”’』」）》：；，、")
BLOCK_PARAGRAPHS = 100
GUARD_PARAGRAPHS = 8  # longer than most articles
MIN_SENTENCE, JOIN_BELOW = 4, 18  # characters
SHARES = {"train": 0.6, "test": 0.1, "corpus": 0.3}
DEMO_LINES = {"train": 3000, "test": 500, "corpus": 6000}


@dataclass(frozen=True)
class Sentence:
    """Characters and entities. spans: (start, end, type) in characters, end exclusive, in order, disjoint."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def parse_paragraph(line: str, number: int = 0) -> Sentence:
    """One line of `word/tag` pairs as characters and entities.

    A family name followed by a given name (two nr words) is one person: an nr word of one character, or a two-character
    family name, takes the nr word after it. Every other nr, ns or nt word is an entity of its own.
    Raises DataError for a word without a tag.
    """
    words = []
    for item in line.split():
        word, slash, tag = item.rpartition("/")
        if not slash or not word:
            raise DataError(f"{item!r} has no tag", SOURCE, number, expected="word/tag", action="check the archive")
        words.append((word, tag))
    spans, at, i = [], 0, 0
    while i < len(words):
        word, tag = words[i]
        surname = tag == "nr" and (len(word) == 1 or word in COMPOUND_SURNAMES)
        if surname and i + 1 < len(words) and words[i + 1][1] == "nr":
            i += 1
            word += words[i][0]
        if tag in ENTITY_TYPES:
            spans.append((at, at + len(word), ENTITY_TYPES[tag]))
        at += len(word)
        i += 1
    return Sentence("".join(word for word, _ in words), tuple(spans))


def sentences(paragraph: Sentence) -> list[Sentence]:
    """The paragraph cut after full stops, question and exclamation marks, never inside an entity.

    A piece shorter than JOIN_BELOW characters stays with the next one: lengths then resemble the contest's.
    """
    cuts, start = [], 0
    for match in SENTENCE_END.finditer(paragraph.text):
        cut = match.end()
        inside = any(first < cut < last for first, last, _ in paragraph.spans)
        if cut - start >= JOIN_BELOW and not inside and cut < len(paragraph.text):
            cuts.append(cut)
            start = cut
    bounds = [0, *cuts, len(paragraph.text)]
    return [
        Sentence(paragraph.text[low:high],
                 tuple((s - low, e - low, t) for s, e, t in paragraph.spans if low <= s and e <= high))
        for low, high in pairwise(bounds)
    ]  # fmt: skip


def contiguous_blocks(paragraphs: list[Sentence], size: int = BLOCK_PARAGRAPHS) -> list[list[Sentence]]:
    """Runs of about `size` neighbouring paragraphs that start at a headline.

    A headline is a paragraph that ends without punctuation and follows one that ends with it: where an article most
    likely begins.
    """
    blocks: list[list[Sentence]] = [[]]
    after_body = False
    for paragraph in paragraphs:
        body = paragraph.text.endswith(PARAGRAPH_ENDS)
        if after_body and not body and len(blocks[-1]) >= size:
            blocks.append([])
        blocks[-1].append(paragraph)
        after_body = body
    return blocks


def split_blocks(blocks: list[list[Sentence]], seed: int) -> dict[str, list[Sentence]]:
    """Paragraphs of each side. Where two neighbouring blocks go to different sides, the first GUARD_PARAGRAPHS of the
    second are dropped: an article that the estimate cut in two does not reach over."""
    order = list(range(len(blocks)))
    random.Random(f"{seed}-blocks").shuffle(order)
    test_end = max(1, round(len(blocks) * SHARES["test"]))
    corpus_end = test_end + max(1, round(len(blocks) * SHARES["corpus"]))
    side_of = {block: "test" if place < test_end else "corpus" if place < corpus_end else "train"
               for place, block in enumerate(order)}  # fmt: skip
    sides: dict[str, list[Sentence]] = {side: [] for side in SHARES}
    for index, block in enumerate(blocks):
        border = index > 0 and side_of[index] != side_of[index - 1]
        sides[side_of[index]] += block[GUARD_PARAGRAPHS:] if border else block
    return sides


def normalised(text: str) -> str:
    """What two sentences must differ in: letters and numbers, compatibility forms folded, every digit a 0."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join("0" if char.isdigit() else char for char in folded if char.isalnum())


def distinct_lines(sides: dict[str, list[Sentence]]) -> dict[str, list[Sentence]]:
    """Sentences of each side; every normalised text stands once in all three together, in train where it can."""
    seen: set[str] = set()
    lines: dict[str, list[Sentence]] = {}
    for side in ("train", "test", "corpus"):
        lines[side] = []
        for paragraph in sides[side]:
            for sentence in sentences(paragraph):
                key = normalised(sentence.text)
                if len(key) >= MIN_SENTENCE and key not in seen:
                    seen.add(key)
                    lines[side].append(sentence)
    return lines


def character_ids(characters: Iterable[str], seed: int) -> dict[str, int]:
    """A seeded one-to-one map of the distinct characters onto 1..N."""
    distinct = sorted(set(characters))
    numbers = random.Random(f"{seed}-ids").sample(range(1, len(distinct) + 1), len(distinct))
    return dict(zip(distinct, numbers, strict=True))


def plain_line(sentence: Sentence, ids: dict[str, int]) -> str:
    """`id_id_id`."""
    return "_".join(str(ids[char]) for char in sentence.text)


def labelled_line(sentence: Sentence, ids: dict[str, int]) -> str:
    """`id_id/a  id_id/o`: segments in order, two spaces apart, o between the entities."""
    segments, at = [], 0
    for start, end, type_ in (*sentence.spans, (len(sentence.text), len(sentence.text), "")):
        if start > at:
            segments.append((at, start, "o"))
        if end > start:
            segments.append((start, end, type_))
        at = end
    return "  ".join(f"{plain_line(Sentence(sentence.text[s:e], ()), ids)}/{type_}" for s, e, type_ in segments)


def build(tagged: str, folder: Path, seed: int, full: bool) -> list[tuple[str, int, str]]:
    """Writes train.txt, test.txt, corpus.txt and gold.txt into `folder`.

    tagged: the People's Daily file's text. full: every sentence; otherwise a seeded sample of DEMO_LINES.
    Returns rows for the closing table: (file, lines, remark).
    """
    paragraphs = [parse_paragraph(line, number) for number, line in enumerate(tagged.splitlines(), 1) if line.strip()]
    lines = distinct_lines(split_blocks(contiguous_blocks(paragraphs), seed))
    for side, chosen in lines.items():
        keep = len(chosen) if full else min(DEMO_LINES[side], len(chosen))
        lines[side] = random.Random(f"{seed}-{side}").sample(chosen, keep)
    # All of the source's characters, so that the demo and the full set share one numbering.
    ids = character_ids((char for paragraph in paragraphs for char in paragraph.text), seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for name, side, labelled in (("train", "train", True), ("test", "test", False), ("gold", "test", True),
                                 ("corpus", "corpus", False)):  # fmt: skip
        as_line = labelled_line if labelled else plain_line
        write_lines(folder / f"{name}.txt", (as_line(sentence, ids) for sentence in lines[side]))
        table.append((f"datagrand2019/{name}.txt", len(lines[side]), _remark(lines[side], labelled)))
    return table


def _remark(lines: list[Sentence], labelled: bool) -> str:
    lengths = sorted(len(sentence.text) for sentence in lines) or [0]
    remark = f"length median {lengths[len(lengths) // 2]}, p99 {lengths[int(0.99 * len(lengths))]}"
    types = [type_ for sentence in lines for *_, type_ in sentence.spans]
    return remark + ("; " + ", ".join(f"{type_} {types.count(type_)}" for type_ in "abc") if labelled else "")
