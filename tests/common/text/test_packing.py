"""PackedRows: full rows that together are the text, with documents known and kept apart where that is wanted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.masking import Masker, MaskingConfig
from common.text.packing import PackedRows, attention_within_documents, positions_in_documents
from common.text.token_store import build_token_store
from common.text.tokenization import WholeWordTokenizer
from common.text.vocabulary import character_tokenizer

HAN = "我来到北京清华大学今天天气很好"
TOKENIZER = WholeWordTokenizer(character_tokenizer([HAN, f"{HAN}，。！”"], 1))
BARE = TOKENIZER.tokenizer
PAD, CLS, SEP = BARE.pad_token_id, BARE.cls_token_id, BARE.sep_token_id


def store_of(folder, documents: list[list[str]]):
    (folder / "a.txt").write_text("\n\n".join("\n".join(lines) for lines in documents), encoding="utf-8")
    return build_token_store([folder / "a.txt"], TOKENIZER, folder / "cache")


DOCUMENTS = [["我来到北京", "清华大学"], ["今天天气很好"], ["好"]]


def test_rows_are_full_and_know_their_documents(tmp_path):
    rows = PackedRows(store_of(tmp_path, DOCUMENTS), BARE, 10).rows([0, 1, 2])
    text = [BARE.convert_ids_to_tokens(row) for row in rows.input_ids]
    assert text == [
        ["[CLS]", *"我来到北京清华", "大", "[SEP]"],
        ["[CLS]", "学", "[SEP]", *"今天天气很好", "[SEP]"],
        ["[CLS]", "[SEP]", "好", "[SEP]", "[SEP]", *["[PAD]"] * 5],
    ]
    assert rows.document_ids.tolist() == [[0] * 10, [0, 0, 0, *[1] * 7], [0, 0, 1, 1, 1, -1, -1, -1, -1, -1]]
    assert rows.word_ids.tolist() == [
        [-1, 0, 1, 1, 2, 2, 3, 3, 3, -1],
        [-1, 0, -1, 1, 1, 1, 1, 2, 3, -1],
        [-1, -1, 0, -1, -1, -1, -1, -1, -1, -1],
    ]


WORDS = st.lists(st.lists(st.text(HAN, min_size=1, max_size=9), min_size=1, max_size=3), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(documents=WORDS, max_length=st.integers(3, 20), order=st.randoms(use_true_random=False))
def test_unpacked_rows_are_the_text(tmp_path_factory, documents, max_length, order):
    packed = PackedRows(store_of(tmp_path_factory.mktemp("text"), documents), BARE, max_length)
    indices = list(range(len(packed)))
    order.shuffle(indices)
    rows = packed.rows(indices)
    stream, words = {}, {}
    for index, ids, row_words, row_documents in zip(indices, *rows, strict=True):
        size = int((row_documents >= 0).sum())
        assert size == max_length or index == len(packed) - 1  # only the last one is short
        assert (ids[size:] == PAD).all() and ids[0] == CLS and ids[size - 1] == SEP
        assert (row_words[size:] == -1).all()
        stream[index], words[index] = ids[1 : size - 1].tolist(), row_words[1 : size - 1]
    tokens = [token for index in sorted(stream) for token in stream[index]]
    expected = [token for document in documents for token in (*TOKENIZER.piece_ids(document)[0].tolist(), SEP)]
    assert tokens == expected
    # The last row left out, nothing else is.
    full = PackedRows(packed.store, BARE, max_length, keep_last=False)
    assert len(full) == len(tokens) // (max_length - 2)
    for index in range(len(full)):
        # Words are those of the lines, but for one that the row cuts.
        ids, begins = packed.store.read(index * packed.capacity, (index + 1) * packed.capacity)
        begins[0] = True
        begins |= np.concatenate(([True], ids[:-1] == SEP))
        new = np.diff(words[index], prepend=-2) != 0
        assert (new | (ids == SEP)).tolist() == (begins | (ids == SEP)).tolist()


@settings(max_examples=60, deadline=None)
@given(documents=WORDS, max_length=st.integers(3, 20))
def test_documents_are_kept_apart(tmp_path_factory, documents, max_length):
    packed = PackedRows(store_of(tmp_path_factory.mktemp("text"), documents), BARE, max_length)
    rows = packed.rows(range(len(packed)))
    allowed, positions = attention_within_documents(rows.document_ids), positions_in_documents(rows.document_ids)
    for ids, row_documents, row_allowed, row_positions in zip(
        rows.input_ids.tolist(), rows.document_ids.tolist(), allowed, positions.tolist(), strict=True
    ):
        number, place = 0, 0
        for i, token in enumerate(ids):
            size = sum(document >= 0 for document in row_documents)
            if i >= size:
                assert row_documents[i] == -1
                continue
            new = i > 1 and ids[i - 1] == SEP and i < size - 1
            number, place = (number + 1, 0) if new else (number, place)
            assert (row_documents[i], row_positions[i]) == (number, place)
            place += 1
            assert token != PAD
        for i, row in enumerate(row_allowed):
            assert row.tolist() == [document == row_documents[i] for document in row_documents]
            assert row.any()


def test_packed_rows_are_masked_but_for_special_tokens(tmp_path):
    packed = PackedRows(store_of(tmp_path, DOCUMENTS * 200), BARE, 64)
    rows = packed.rows(range(len(packed)))
    out = Masker(MaskingConfig(), BARE)(rows.input_ids, rows.word_ids, np.random.default_rng(0))
    ordinary = (rows.input_ids >= 5).sum()
    assert not np.isin(out.labels, [PAD, CLS, SEP]).any()
    assert abs(len(out.positions) / ordinary - 0.15) < 0.01


def test_what_cannot_be_packed_is_named(tmp_path):
    store = store_of(tmp_path, DOCUMENTS)
    with pytest.raises(ValueError, match="leaves no room"):
        PackedRows(store, BARE, 2)
    with pytest.raises(IndexError, match="row 9 of 3"):
        PackedRows(store, BARE, 10).rows([9])
    other = character_tokenizer(["好好"])
    other.sep_token = "[CLS]"
    with pytest.raises(ValueError, match="build the store with this tokenizer"):
        PackedRows(store, other, 10)
