"""Sentence order prediction: two neighbouring segments of a document, in their order or swapped."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.packing import word_ids_of
from common.text.special_tokens import SpecialTokens, special_ids_of
from common.text.token_store import TokenStore


class OrderedRows(NamedTuple):
    """A batch of segment pairs, all int64 (rows, length) but the labels.

    input_ids: tokens. word_ids: the whole word of each token, -1 for special tokens and padding. token_type_ids: as the
    tokenizer gives them for a pair. attention_mask: 0 for padding. labels: int64 (rows,), 1 where the second segment
    comes first.
    """

    input_ids: np.ndarray
    word_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray


class SegmentPairs:
    """Windows of single documents, each cut in two anew at every pass and swapped with probability 0.5.

    store: the corpus. tokenizer: puts its special tokens for a pair around the segments.
    max_length: tokens of the longest row, special tokens included.

    A document that does not fit is cut into windows of nearly the same length. A window is cut at the start of one of
    its lines, or where it has only one, at the start of one of its words. Windows of one token are left out.
    lengths: int64 (windows,), tokens of each without special tokens, for batches of rows of similar length.
    Raises ValueError when a pair does not fit, the tokenizer cannot pad, or no document has two tokens.
    Source: Lan et al. 2020, ALBERT, section 3.1 (inter-sentence coherence loss).
    """

    def __init__(self, store: TokenStore, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        special = SpecialTokens.of(tokenizer)
        self.store, self.parts, self.types = store, special.pair, (special.pair_types, special.text_types)
        capacity = max_length - sum(map(len, self.parts))
        if capacity < 2:
            raise ValueError(f"max_length={max_length} leaves no room for two segments: expected 128, say")
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token: set tokenizer.pad_token")
        self.padding, self.special = int(tokenizer.pad_token_id), special_ids_of(tokenizer)
        self.lines = store.line_starts()
        starts = store.document_starts()
        sizes = np.diff(starts, append=len(store)) - 1  # without the separator
        windows = -(-sizes // capacity)
        number = np.arange(int(windows.sum())) - np.repeat(np.cumsum(windows) - windows, windows)
        size, count = np.repeat(sizes, windows), np.repeat(windows, windows)
        first, stop = size * number // count, size * (number + 1) // count
        self.starts, self.lengths = np.repeat(starts, windows) + first, stop - first
        splittable = self.lengths > 1
        self.starts, self.lengths = self.starts[splittable], self.lengths[splittable]
        if not len(self.starts):
            raise ValueError("no document has two tokens: sentence order needs documents of several sentences")

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, indices: Sequence[int], random: np.random.Generator) -> OrderedRows:
        """The windows of these numbers, cut and swapped by `random`, padded to the longest of them."""
        indices = np.asarray(indices)
        starts, lengths = self.starts[indices], self.lengths[indices]
        labels = (random.random(len(indices)) < 0.5).astype(np.int64)
        draws = random.random(len(indices))
        first, stop = (
            np.searchsorted(self.lines, places, side=side)
            for places, side in ((starts, "right"), (starts + lengths, "left"))
        )
        shape = len(indices), int(lengths.max()) + sum(map(len, self.parts))
        ids = np.full(shape, self.padding, dtype=np.int64)
        begins, inside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        types = np.zeros(shape, dtype=np.int64)
        (before, between, after), ((type_0, type_1, type_2), text_types) = self.parts, self.types
        for row, (start, length, draw, swapped) in enumerate(zip(starts, lengths, draws, labels, strict=True)):
            tokens, words = self.store.read(int(start), int(start + length))
            words[0] = True
            if stop[row] > first[row]:
                cut = int(self.lines[first[row] + int(draw * (stop[row] - first[row]))] - start)
            else:
                choices = np.flatnonzero(words[1:]) + 1
                cut = int(choices[int(draw * len(choices))]) if len(choices) else 1 + int(draw * (length - 1))
            segments = [(tokens[:cut], words[:cut]), (tokens[cut:], words[cut:])]
            (a, a_words), (b, b_words) = reversed(segments) if swapped else segments
            layout = (
                (before, False, type_0), (a, a_words, text_types[0]), (between, False, type_1),
                (b, b_words, text_types[1]), (after, False, type_2),
            )  # fmt: skip
            place = 0
            for part, part_words, kind in layout:
                where = slice(place, place + len(part))
                ids[row, where], begins[row, where], types[row, where] = part, part_words, kind
                place += len(part)
            inside[row, :place] = True
        return OrderedRows(ids, word_ids_of(ids, begins, self.special, inside), types, inside.astype(np.int64), labels)
