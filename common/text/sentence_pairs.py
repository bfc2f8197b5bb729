"""Pairs of segments for a second objective: in their order, swapped, or of two documents."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.packing import word_ids_of
from common.text.special_tokens import SpecialTokens, special_ids_of
from common.text.token_store import TokenStore

# What the labels of an objective stand for.
FOLLOWS, PRECEDES, ELSEWHERE = "the second segment follows", "it stands before the first", "it is of another document"
SENTENCE_PAIRS = {
    "order": (FOLLOWS, PRECEDES),  # Lan et al. 2020, ALBERT, section 3.1
    "next": (FOLLOWS, ELSEWHERE),  # Devlin et al. 2019, BERT, section 3.1
    "structure": (FOLLOWS, PRECEDES, ELSEWHERE),  # Wang et al. 2020, StructBERT, the sentence structural objective
}


class PairRows(NamedTuple):
    """A batch of segment pairs, all int64 (rows, length) but the labels.

    input_ids: tokens. word_ids: the whole word of each token, -1 for special tokens and padding. token_type_ids: as the
    tokenizer gives them for a pair. attention_mask: 0 for padding. labels: int64 (rows,), numbers of the objective's
    classes in SENTENCE_PAIRS.
    """

    input_ids: np.ndarray
    word_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray


class Reach(NamedTuple):
    """Which other windows each window may take a segment from: some in a row, less those of its own document.

    All int64 (windows,). first: number of the first of them. own_first, own: number of the first of its own document
    among them, and how many those are. others: how many are left.
    """

    first: np.ndarray
    own_first: np.ndarray
    own: np.ndarray
    others: np.ndarray

    def other(self, window: int, draw: float) -> int:
        """The number of one of them. draw: which, from 0 up to 1."""
        number = int(self.first[window]) + int(draw * self.others[window])
        return number + int(self.own[window]) * (number >= self.own_first[window])


class SegmentPairs:
    """Windows of single documents, each cut in two anew at every pass; the halves in one of an objective's relations,
    all equally likely.

    store: the corpus. tokenizer: puts its special tokens for a pair around the segments.
    max_length: tokens of the longest row, special tokens included. objective: of SENTENCE_PAIRS.

    A document that does not fit is cut into windows of nearly the same length. A window is cut at the start of one of
    its lines, or where it has only one, at the start of one of its words. Windows of one token are left out.
    A segment of another document is the second half of another window of the same text file. Where an objective has
    such segments, every second half is cut to the shorter of its own and another's, so that no length tells which it
    is. Windows held out (`hold_out`) and the others never lend each other segments; a window with no other document in
    reach is a pair that follows.
    lengths: int64 (windows,), most tokens of each without special tokens, for batches of rows of similar length.
    Raises ValueError when a pair does not fit, the tokenizer cannot pad, no document has two tokens, or an objective
    wants segments of other documents and no text file has two.
    """

    def __init__(
        self, store: TokenStore, tokenizer: PreTrainedTokenizerFast, max_length: int, objective: str = "order"
    ) -> None:
        special = SpecialTokens.of(tokenizer)
        self.store, self.parts, self.types = store, special.pair, (special.pair_types, special.text_types)
        self.relations = SENTENCE_PAIRS[objective]
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
        document = np.repeat(starts, windows)
        self.starts, self.lengths = document + first, stop - first
        splittable = self.lengths > 1
        self.starts, self.lengths, document = self.starts[splittable], self.lengths[splittable], document[splittable]
        if not len(self.starts):
            raise ValueError("no document has two tokens: pairs of segments need documents of several sentences")
        self.document = document
        self.reach: Reach | None = None
        if ELSEWHERE in self.relations:
            self.hold_out(np.zeros(0, dtype=np.int64))
            if not self.reach.others.any():
                raise ValueError("no text file has two documents: an empty line ends a document")

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, indices: Sequence[int], random: np.random.Generator) -> PairRows:
        """The windows of these numbers, cut and related by `random`, padded to the longest that they can be."""
        indices = np.asarray(indices)
        lengths = self.lengths[indices]
        draws = random.random((4, len(indices)))
        labels = (draws[0] * len(self.relations)).astype(np.int64)
        shape = len(indices), int(lengths.max()) + sum(map(len, self.parts))
        ids = np.full(shape, self.padding, dtype=np.int64)
        begins, inside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        types = np.zeros(shape, dtype=np.int64)
        (before, between, after), ((type_0, type_1, type_2), text_types) = self.parts, self.types
        for row, (window, draw, choice, cut) in enumerate(zip(indices, *draws[1:], strict=True)):
            (a, a_words), (b, b_words) = self._halves(window, draw)
            relation = self.relations[labels[row]]
            if self.reach is not None and self.reach.others[window]:
                _, (c, c_words) = self._halves(self.reach.other(window, choice), cut)
                shorter = min(len(b), len(c))
                b, b_words = (c, c_words) if relation is ELSEWHERE else (b, b_words)
                b, b_words = b[:shorter], b_words[:shorter]
            elif relation is ELSEWHERE:
                labels[row] = self.relations.index(FOLLOWS)
            if relation is PRECEDES:
                (a, a_words), (b, b_words) = (b, b_words), (a, a_words)
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
        return PairRows(ids, word_ids_of(ids, begins, self.special, inside), types, inside.astype(np.int64), labels)

    def hold_out(self, numbers: np.ndarray) -> None:
        """Keeps windows apart that are not trained on. numbers: of them, of each text file its last ones."""
        if ELSEWHERE not in self.relations:
            return
        parts = np.array(self.store.part_starts)
        part, bounds = np.searchsorted(parts, self.document, side="right") - 1, np.searchsorted(self.starts, parts)
        apart = np.zeros(len(self), dtype=bool)
        apart[numbers] = True
        before = np.concatenate([[0], np.cumsum(apart)])
        first, stop = bounds[part], bounds[part + 1]
        border = stop - (before[stop] - before[first])
        first, stop = np.where(apart, border, first), np.where(apart, stop, border)
        own_first = np.maximum(np.searchsorted(self.document, self.document), first)
        own_stop = np.minimum(np.searchsorted(self.document, self.document, side="right"), stop)
        self.reach = Reach(first, own_first, own_stop - own_first, stop - first - (own_stop - own_first))

    def _halves(self, window: int, draw: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokens and starts of words of a window's two halves. draw: where it is cut, from 0 up to 1."""
        start, stop = int(self.starts[window]), int(self.starts[window] + self.lengths[window])
        tokens, words = self.store.read(start, stop)
        words[0] = True
        first, last = np.searchsorted(self.lines, start, side="right"), np.searchsorted(self.lines, stop, side="left")
        if last > first:
            cut = int(self.lines[first + int(draw * (last - first))] - start)
        else:
            choices = np.flatnonzero(words[1:]) + 1
            cut = int(choices[int(draw * len(choices))]) if len(choices) else 1 + int(draw * (len(tokens) - 1))
        return [(tokens[:cut], words[:cut]), (tokens[cut:], words[cut:])]
