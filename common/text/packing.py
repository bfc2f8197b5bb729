"""Full-sentence packing: a corpus as rows that are full, with document boundaries known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.special_tokens import SpecialTokens, special_ids_of
from common.text.token_store import TokenStore


class Rows(NamedTuple):
    """A batch of packed rows, all int64 (rows, length).

    input_ids: tokens. word_ids: the whole word of each token, numbered from 0 in each row, -1 for special tokens and
    padding. document_ids: the document of each token, numbered from 0 in each row, -1 for padding.
    """

    input_ids: np.ndarray
    word_ids: np.ndarray
    document_ids: np.ndarray


class PackedRows:
    """Rows of `max_length` tokens that follow each other through a store, across lines and documents.

    store: the corpus. tokenizer: puts its special tokens for a single text around every row.
    max_length: tokens of a row, special tokens included. keep_last: the last tokens, too few for a row, become one that
        is padded; otherwise they are left out.

    Nothing else is lost, and nothing is twice. Documents are apart by the store's separator, which belongs to the one
    that it ends; a row ends wherever it is full.
    Raises ValueError when no token fits between the special ones, or the store was built with another tokenizer's
    separator, or the tokenizer cannot pad.
    Source: Liu et al. 2019, RoBERTa, section 4.2 (FULL-SENTENCES).
    """

    def __init__(
        self, store: TokenStore, tokenizer: PreTrainedTokenizerFast, max_length: int, keep_last: bool = True
    ) -> None:
        self.store, self.max_length = store, max_length
        self.before, self.after = SpecialTokens.of(tokenizer).single
        self.capacity = max_length - len(self.before) - len(self.after)
        if self.capacity < 1:
            raise ValueError(f"max_length={max_length} leaves no room between special tokens: expected 128, say")
        if store.separator != tokenizer.sep_token_id:
            raise ValueError(
                f"the store's documents end with token {store.separator}, those of this tokenizer with "
                f"{tokenizer.sep_token_id}: build the store with this tokenizer"
            )
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token: set tokenizer.pad_token")
        self.padding = int(tokenizer.pad_token_id)
        self.special = special_ids_of(tokenizer)
        self.full, rest = divmod(len(store), self.capacity)
        self.count = self.full + (1 if rest and keep_last else 0)

    def __len__(self) -> int:
        return self.count

    def rows(self, indices: Sequence[int]) -> Rows:
        """The rows of these numbers. Raises IndexError for a number that there is not."""
        shape = len(indices), self.max_length
        ids = np.full(shape, self.padding, dtype=np.int64)
        begins = np.ones(shape, dtype=bool)
        lengths = np.full(len(indices), self.max_length, dtype=np.int64)
        first = len(self.before)
        for row, index in enumerate(indices):
            if not 0 <= index < self.count:
                raise IndexError(f"row {index} of {self.count}")
            start = int(index) * self.capacity
            tokens, words = self.store.read(start, min(start + self.capacity, len(self.store)))
            stop = first + len(tokens)
            ids[row, :first], ids[row, first:stop] = self.before, tokens
            ids[row, stop : stop + len(self.after)] = self.after
            begins[row, first:stop] = words
            lengths[row] = stop + len(self.after)
        inside = np.arange(self.max_length)[None] < lengths[:, None]
        # The row's own last special token ends no document; there is nothing after it.
        ends = (ids == self.store.separator) & inside
        documents = np.cumsum(ends, axis=1) - ends
        last = (lengths - len(self.after))[:, None]
        if len(self.after):
            body_last = np.take_along_axis(documents, last - 1, axis=1)
            documents = np.where(np.arange(self.max_length)[None] >= last, body_last, documents)
        return Rows(ids, word_ids_of(ids, begins, self.special, inside), np.where(inside, documents, -1))


def word_ids_of(ids: np.ndarray, begins: np.ndarray, special: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Whole words of rows, numbered from 0 in each row, -1 for special tokens and padding; int64 (rows, length).

    ids: (rows, length). begins: bool (rows, length), where words begin. special: bool (vocabulary,).
    inside: bool (rows, length), false for padding.
    """
    words = inside & ~special[ids]
    begins = begins & words
    # What follows a special token or the row's start is a word of its own, even where the word began in the row before.
    begins[:, 1:] |= words[:, 1:] & ~words[:, :-1]
    return np.where(words, np.cumsum(begins, axis=1) - 1, -1)


def positions_in_documents(document_ids: np.ndarray) -> np.ndarray:
    """Position ids that begin at 0 in every document of a row.

    document_ids: (rows, length). Returns int64 (rows, length).
    """
    places = np.broadcast_to(np.arange(document_ids.shape[1]), document_ids.shape)
    first = np.ones(document_ids.shape, dtype=bool)
    first[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return places - np.maximum.accumulate(np.where(first, places, 0), axis=1)


def attention_within_documents(document_ids: np.ndarray) -> np.ndarray:
    """Which token may attend to which: those of its own document (padding to padding, so that no token has none).

    document_ids: (rows, length). Returns bool (rows, length, length), true where attention is allowed.
    """
    return document_ids[:, :, None] == document_ids[:, None, :]
