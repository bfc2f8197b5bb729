"""SegmentPairs: two segments in one of an objective's relations, cut between lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from common.files import write_lines
from common.text.anonymised import anonymised_tokenizer
from common.text.sentence_pairs import ELSEWHERE, PRECEDES, SENTENCE_PAIRS, SegmentPairs
from common.text.token_store import build_token_store
from common.text.tokenization import WholeWordTokenizer
from tests.common.text.test_packing import BARE, CLS, HAN, PAD, SEP, TOKENIZER, WORDS, store_of


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


@settings(max_examples=60, deadline=None)
@given(documents=WORDS, max_length=st.integers(6, 24), seed=st.integers(0, 99))
def test_windows_are_the_documents_and_words_are_never_cut(tmp_path_factory, documents, max_length, seed):
    store = store_of(tmp_path_factory.mktemp("text"), documents)
    tokens = [TOKENIZER.piece_ids(document)[0].tolist() for document in documents]
    if all(len(document) < 2 for document in tokens):
        with pytest.raises(ValueError, match="no document has two tokens"):
            SegmentPairs(store, BARE, max_length)
        return
    pairs = SegmentPairs(store, BARE, max_length)
    assert (pairs.lengths + 3 <= max_length).all()
    rows = pairs.rows(range(len(pairs)), np.random.default_rng(seed))
    assert rows.input_ids.shape[1] == pairs.lengths.max() + 3
    assert (rows.attention_mask.sum(axis=1) == pairs.lengths + 3).all()
    text = []
    for ids, label, start, length in zip(
        rows.input_ids.tolist(), rows.labels, pairs.starts, pairs.lengths, strict=True
    ):
        a, b = parts_of(ids)
        left, right = (b, a) if label else (a, b)
        assert left and right
        whole, begins = store.read(int(start), int(start + length))
        assert left + right == whole.tolist()
        assert begins[len(left)] or not begins[1:].any()
        text += left + right
    # A window of one token, which cannot be cut, is a whole document here: no longer one is cut into such.
    assert text == [token for document in tokens if len(document) > 1 for token in document]
    for ids, types, words, mask in zip(
        rows.input_ids.tolist(), rows.token_type_ids.tolist(), rows.word_ids, rows.attention_mask, strict=True
    ):
        a, b = parts_of(ids)
        padding = [0] * (len(ids) - len(a) - len(b) - 3)
        assert types == [0] * (len(a) + 2) + [1] * (len(b) + 1) + padding
        assert mask.tolist() == [1] * (len(a) + len(b) + 3) + padding
        special = np.isin(ids, [PAD, CLS, SEP])
        assert ((words == -1) == special).all()
        inner = words[~special]
        assert inner[0] == 0 and set(np.diff(inner).tolist()) <= {0, 1}
        assert inner[len(a)] == inner[len(a) - 1] + 1


def test_the_generator_decides(tmp_path):
    pairs = SegmentPairs(store_of(tmp_path, [[HAN, HAN[:5]], [HAN]]), BARE, 32)
    one, two = (pairs.rows([0, 1], np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))


def test_too_short_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no room for two segments"):
        SegmentPairs(store_of(tmp_path, [[HAN]]), BARE, 4)


@pytest.mark.parametrize("objective", SENTENCE_PAIRS)
def test_relations_are_equally_likely_and_true(tmp_path, objective):
    # Every document has its own characters: one in its first line, and another in its second, of 1 to 7 of them.
    documents = [[HAN[2 * i] * 4, HAN[2 * i + 1] * (i + 1)] for i in range(len(HAN) // 2)]
    pairs = SegmentPairs(store_of(tmp_path, documents), BARE, 64, objective)
    relations, random = SENTENCE_PAIRS[objective], np.random.default_rng(0)
    lines = [[TOKENIZER.piece_ids([line])[0].tolist() for line in document] for document in documents]
    lengths: dict[str, list[int]] = {relation: [] for relation in relations}
    turns = 600
    for _ in range(turns):
        rows = pairs.rows(range(len(pairs)), random)
        for number, (ids, label) in enumerate(zip(rows.input_ids.tolist(), rows.labels, strict=True)):
            a, b = parts_of(ids)
            first, second = lines[number]
            relation = relations[label]
            if relation is PRECEDES:
                a, b = b, a
            assert a == first
            if relation is ELSEWHERE:
                others = [line for other, (_, line) in enumerate(lines) if other != number]
                assert any(b == line[: len(b)] for line in others) and b[0] not in second
            else:
                assert b == second[: len(b)]
                assert ELSEWHERE in relations or b == second
            lengths[relation].append(len(b))
    share, drawn = 1 / len(relations), turns * len(pairs)
    for found in lengths.values():
        assert abs(len(found) / drawn - share) < 4 * np.sqrt(share * (1 - share) / drawn)
    if ELSEWHERE in relations:
        # No length tells which relation it is: their distributions are the same.
        counts = np.array([np.bincount(found, minlength=8) for found in lengths.values()])
        assert chi2_contingency(counts[:, counts.any(axis=0)]).pvalue > 1e-4


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=6), min_size=1, max_size=3),
       held=st.integers(0, 5), seed=st.integers(0, 99))  # fmt: skip
def test_another_documents_segment_is_of_the_same_file_and_side(tmp_path_factory, sizes, held, seed):
    folder, files, text = tmp_path_factory.mktemp("text"), [], iter(range(10_000))
    # Every token says where it is: a document of n windows has n times 6 tokens, each with a number of its own.
    tokenizer = anonymised_tokenizer((f"{n}_{n + 1}" for n in range(2000)), 1)
    for number, documents in enumerate(sizes):
        files.append(folder / f"{number}.txt")
        lines = ["_".join(str(next(text)) for _ in range(6 * windows)) for windows in documents]
        write_lines(files[-1], [part for line in lines for part in (line, "")])
    store = build_token_store(files, WholeWordTokenizer(tokenizer), folder / "tokens")
    pairs = SegmentPairs(store, tokenizer, 9, "next")
    document = [(file, place) for file, own in enumerate(sizes) for place, windows in enumerate(own)
                for _ in range(windows)]  # fmt: skip
    assert len(pairs) == len(document) and (pairs.lengths == 6).all()
    file_of = np.array([file for file, _ in document])
    apart = np.concatenate([np.flatnonzero(file_of == file)[1:][-held:] if held else [] for file in range(len(sizes))])
    pairs.hold_out(apart.astype(np.int64))
    window_of = {}
    for number, start in enumerate(pairs.starts.tolist()):
        window_of |= dict.fromkeys(store.read(start, start + 6)[0].tolist(), number)
    random = np.random.default_rng(seed)
    for _ in range(5):
        rows = pairs.rows(range(len(pairs)), random)
        for number, ids in enumerate(rows.input_ids.tolist()):
            special = set(tokenizer.all_special_ids)
            a, b = ([window_of[token] for token in part if token not in special] for part in _segments(ids, tokenizer))
            assert set(a) == {number} and len(set(b)) == 1
            own, other = document[number], document[b[0]]
            if rows.labels[number]:
                assert own[0] == other[0] and own != other
                assert (number in apart) == (b[0] in apart)
            else:
                assert own == other and b[0] == number
                reachable = [n for n, place in enumerate(document)
                             if place[0] == own[0] and place != own and (n in apart) == (number in apart)]  # fmt: skip
                assert reachable or not rows.labels[number]


def _segments(ids, tokenizer):
    end = ids.index(tokenizer.sep_token_id)
    return ids[1:end], ids[end + 1 :]


def test_segments_of_other_documents_need_other_documents(tmp_path):
    with pytest.raises(ValueError, match="no text file has two documents"):
        SegmentPairs(store_of(tmp_path, [[HAN, HAN]]), BARE, 32, "next")
