"""SegmentPairs: windows of whole sentences, and two segments in a relation that neither lengths nor marks tell."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from common.files import write_lines
from common.text import sentence_windows
from common.text.anonymised import anonymised_tokenizer
from common.text.sentence_pairs import ELSEWHERE, NO_RELATION, PRECEDES, SENTENCE_PAIRS, SegmentPairs
from common.text.token_store import build_token_store
from common.text.tokenization import WholeWordTokenizer
from tests.common.text.test_packing import BARE, CLS, HAN, PAD, SEP, TOKENIZER, store_of

SENTENCES = st.lists(
    st.lists(st.text(f"{HAN}。。，”", min_size=1, max_size=12), min_size=1, max_size=3), min_size=1, max_size=6
)


def sentences_of(document: list[str]) -> list[str]:
    """A document's sentences, by a regular expression over its characters."""
    ends = "(?<=。)(?![。”])|(?<=。”)(?![。”])|(?<=。””)(?![。”])"
    return [found for line in document for found in re.split(ends, line) if found]


def windows_of(documents: list[list[str]], capacity: int) -> list[tuple[int, int, int]]:
    """First token, length and number of sentences of every window, one by one. All characters are tokens."""
    found, start = [], 0
    for document in documents:
        parts, whole = [], []
        for sentence in sentences_of(document):
            many = -(-len(sentence) // capacity)
            cuts = [len(sentence) * number // many for number in range(many + 1)]
            parts += [after - before for before, after in pairwise(cuts)]
            whole += [True] + [False] * (many - 1)
        backwards = start % 2 == 0
        windows: list[list[int]] = []
        for number in reversed(range(len(parts))) if backwards else range(len(parts)):
            if not windows or sum(parts[own] for own in windows[-1]) + parts[number] > capacity:
                windows.append([])
            windows[-1].append(number)
        for window in sorted(sorted(window) for window in windows):
            first, size = start + sum(parts[: window[0]]), sum(parts[own] for own in window)
            if size > 1:
                found.append((first, size, 1 + sum(whole[own] for own in window[1:])))
        start += sum(parts) + 1
    return found


def parts_of(ids: list[int]) -> tuple[list[int], list[int]]:
    """The two segments of a row."""
    body = [token for token in ids if token != PAD]
    assert body[0] == CLS and body[-1] == SEP and body.count(SEP) == 2
    middle = body.index(SEP)
    return body[1:middle], body[middle + 1 : -1]


def test_half_of_the_rows_are_swapped_anew_at_every_pass(tmp_path):
    documents = [[HAN[i % 7 : i % 7 + 4], HAN[i % 5 : i % 5 + 3], HAN[:6]] for i in range(2000)]
    pairs = SegmentPairs(store_of(tmp_path, documents), BARE, 64)
    random = np.random.default_rng(0)
    first, second = (pairs.rows(range(len(pairs)), random) for _ in range(2))
    assert len(pairs) == 2000
    for rows in (first, second):
        assert abs(rows.labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    assert abs((first.labels == second.labels).mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    lines = [[TOKENIZER.piece_ids([line])[0].tolist() for line in document] for document in documents]
    cuts = []
    for ids, label, document in zip(first.input_ids.tolist(), first.labels, lines, strict=True):
        a, b = parts_of(ids)
        left, right = (b, a) if label else (a, b)
        assert left + right == [token for line in document for token in line]
        cuts.append(len(left) == len(document[0]))
        assert cuts[-1] or len(left) == len(document[0]) + len(document[1])
    assert abs(np.mean(cuts) - 0.5) < 4 * 0.5 / np.sqrt(2000)


@settings(max_examples=150, deadline=None)
@given(documents=SENTENCES, max_length=st.integers(6, 24), seed=st.integers(0, 99), block=st.sampled_from([30, 10**6]))
def test_windows_are_whole_sentences_and_all_of_the_text(tmp_path_factory, documents, max_length, seed, block):
    store, capacity = store_of(tmp_path_factory.mktemp("text"), documents), max_length - 3
    expected = windows_of(documents, capacity)
    before, sentence_windows.BLOCK = sentence_windows.BLOCK, block
    try:
        if all(sentences < 2 for *_, sentences in expected):
            with pytest.raises(ValueError, match="no document has two sentences"):
                SegmentPairs(store, BARE, max_length)
            return
        pairs = SegmentPairs(store, BARE, max_length)
    finally:
        sentence_windows.BLOCK = before
    if block > len(store):  # a document that goes on in another block is cut there
        assert list(zip(pairs.starts.tolist(), pairs.lengths.tolist(), strict=True)) == [own[:2] for own in expected]
        assert pairs.whole.tolist() == [number for number, own in enumerate(expected) if own[2] > 1]
    rows = pairs.rows(range(len(pairs)), np.random.default_rng(seed))
    assert (pairs.lengths <= capacity).all() and rows.input_ids.shape[1] == pairs.lengths.max() + 3
    for ids, label, start, length, types, words, mask in zip(
        rows.input_ids.tolist(), rows.labels, pairs.starts, pairs.lengths, rows.token_type_ids.tolist(),
        rows.word_ids, rows.attention_mask.tolist(), strict=True,
    ):  # fmt: skip
        a, b = parts_of(ids)
        left, right = (b, a) if label == 1 else (a, b)
        whole, begins = store.read(int(start), int(start + length))
        assert left and right and left + right == whole.tolist()
        cut = start + len(left)
        inner = [place for place in _sentence_starts(documents) if start < place < start + length]
        assert (label != NO_RELATION) == bool(inner) and (cut in inner if inner else begins[len(left)] or length == 2
                                                           or not begins[1:].any())  # fmt: skip
        padding = [0] * (len(ids) - len(a) - len(b) - 3)
        assert types == [0] * (len(a) + 2) + [1] * (len(b) + 1) + padding
        assert mask == [1] * (len(a) + len(b) + 3) + padding
        special = np.isin(ids, [PAD, CLS, SEP])
        assert ((words == -1) == special).all()
        own = words[~special]
        assert own[0] == 0 and set(np.diff(own).tolist()) <= {0, 1} and own[len(a)] == own[len(a) - 1] + 1
    # Windows of one token, which cannot be cut, are all that is left out.
    covered = np.zeros(len(store), dtype=bool)
    for start, length in zip(pairs.starts, pairs.lengths, strict=True):
        assert not covered[start : start + length].any()
        covered[start : start + length] = True
    left_out = np.flatnonzero(~covered & (store.read(0, len(store))[0] != SEP))
    assert not (np.diff(left_out) == 1).any() or block < len(store) or capacity < 4


def _sentence_starts(documents: list[list[str]]) -> list[int]:
    found, start = [], 0
    for document in documents:
        for sentence in sentences_of(document):
            found.append(start)
            start += len(sentence)
        start += 1
    return found


def test_the_generator_decides(tmp_path):
    pairs = SegmentPairs(store_of(tmp_path, [[HAN[:9], HAN[:5]], [HAN]]), BARE, 32)
    one, two = (pairs.rows([0, 1], np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))


def test_too_short_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no room for two segments"):
        SegmentPairs(store_of(tmp_path, [[HAN]]), BARE, 4)


@pytest.fixture(scope="module")
def many_sentences(tmp_path_factory):
    """A store of documents of random sentences, some of them lines, that end with one of two marks or with none."""
    draw = np.random.default_rng(0)
    documents = []
    for _ in range(6000):
        sentences = ["".join(draw.choice(list(HAN), draw.integers(2, 30))) + draw.choice(["。", "！", "。”"])
                     for _ in range(draw.integers(1, 9))]  # fmt: skip
        documents.append("".join(sentence + "\n" * int(draw.random() < 0.3) for sentence in sentences).split("\n"))
    return store_of(tmp_path_factory.mktemp("text"), [[line for line in lines if line] for lines in documents])


@pytest.mark.parametrize("objective", SENTENCE_PAIRS)
def test_relations_are_equally_likely_and_neither_lengths_nor_ends_tell_which(many_sentences, objective):
    pairs, random = SegmentPairs(many_sentences, BARE, 64, objective), np.random.default_rng(0)
    facts, labels = [], []
    rows = pairs.rows(range(len(pairs)), random)
    for ids, label in zip(rows.input_ids.tolist(), rows.labels.tolist(), strict=True):
        a, b = parts_of(ids)
        if label != NO_RELATION:
            facts.append([len(a), len(b), a[-1], b[-1]])
            labels.append(label)
    share, facts, labels = 1 / len(SENTENCE_PAIRS[objective]), np.array(facts), np.array(labels)
    for number in range(len(SENTENCE_PAIRS[objective])):
        assert abs((labels == number).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(labels))
    assert len(labels) > 0.8 * len(pairs.whole), "most windows find a segment of their length"
    order = random.permutation(len(labels))
    fitted, scored = order[: len(order) // 2], order[len(order) // 2 :]
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=50, random_state=0).fit(facts[fitted], labels[fitted])
    assert tree.score(facts[scored], labels[scored]) < share + 0.03


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=6), min_size=1, max_size=3),
       held=st.integers(0, 5), seed=st.integers(0, 99), objective=st.sampled_from(["next", "structure"]))  # fmt: skip
def test_another_documents_segment_is_of_the_same_file_and_side(tmp_path_factory, sizes, held, seed, objective):
    folder, files, text = tmp_path_factory.mktemp("text"), [], iter(range(10_000))
    # Every token says where it is: a document of n windows has n times 6 tokens, each with a number of its own.
    tokenizer = anonymised_tokenizer((f"{n}_{n + 1}" for n in range(2000)), 1)
    for number, documents in enumerate(sizes):
        files.append(folder / f"{number}.txt")
        lines = ["_".join(str(next(text)) for _ in range(6 * windows)) for windows in documents]
        write_lines(files[-1], [part for line in lines for part in (line, "")])
    store = build_token_store(files, WholeWordTokenizer(tokenizer), folder / "tokens")
    pairs = SegmentPairs(store, tokenizer, 9, objective)
    document = [(file, place) for file, own in enumerate(sizes) for place, windows in enumerate(own)
                for _ in range(windows)]  # fmt: skip
    assert len(pairs) == len(document) and (pairs.lengths == 6).all()
    file_of = np.array([file for file, _ in document])
    apart = np.concatenate([np.flatnonzero(file_of == file)[1:][-held:] if held else [] for file in range(len(sizes))])
    pairs.hold_out(apart.astype(np.int64))
    place_of = {}
    for number, start in enumerate(pairs.starts.tolist()):
        place_of |= {token: (number, place) for place, token in enumerate(store.read(start, start + 6)[0].tolist())}
    random, relations = np.random.default_rng(seed), SENTENCE_PAIRS[objective]
    for _ in range(8):
        rows = pairs.rows(range(len(pairs)), random)
        for number, (ids, label) in enumerate(zip(rows.input_ids.tolist(), rows.labels.tolist(), strict=True)):
            a, b = ([place_of[token] for token in part] for part in _segments(ids, tokenizer))
            assert all({place for place, _ in part} == {part[0][0]} for part in (a, b)), "a segment is of one window"
            if label != NO_RELATION and relations[label] is ELSEWHERE:
                assert number in (a[0][0], b[0][0]) and a[0][0] != b[0][0]
                # First halves begin where their window does, second ones end there: each side is there once.
                sides = [(part[0][1] == 0, part[-1][1] == 5) for part in (a, b)]
                assert sides in ([(True, False), (False, True)], [(False, True), (True, False)])
                assert relations == SENTENCE_PAIRS["structure"] or sides[0][0]
                other = b[0][0] if a[0][0] == number else a[0][0]
                assert document[other][0] == document[number][0] and document[other] != document[number]
                assert (number in apart) == (other in apart)
            else:
                if label != NO_RELATION and relations[label] is PRECEDES:
                    a, b = b, a
                assert a + b == [(number, place) for place in range(6)]
                reachable = [n for n, place in enumerate(document)
                             if place[0] == document[number][0] and place != document[number]
                             and (n in apart) == (number in apart)]  # fmt: skip
                assert reachable or label != NO_RELATION


def _segments(ids, tokenizer):
    end = ids.index(tokenizer.sep_token_id)
    return ids[1:end], ids[end + 1 : ids.index(tokenizer.sep_token_id, end + 1)]


def test_segments_of_other_documents_need_other_documents(tmp_path):
    with pytest.raises(ValueError, match="no text file has two documents"):
        SegmentPairs(store_of(tmp_path, [[HAN[:9], HAN]]), BARE, 32, "next")
