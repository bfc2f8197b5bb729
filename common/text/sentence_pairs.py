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
    "structure": (FOLLOWS, PRECEDES, ELSEWHERE),  # Wang et al. 2020, StructBERT, section 2.2
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


class SegmentPairs:
    """Windows of single documents, each cut in two anew at every pass; the halves in one of an objective's relations,
    all equally likely.

    store: the corpus. tokenizer: puts its special tokens for a pair around the segments.
    max_length: tokens of the longest row, special tokens included. objective: of SENTENCE_PAIRS.

    A document that does not fit is cut into windows of nearly the same length. A window is cut at the start of one of
    its lines, or where it has only one, at the start of one of its words. Windows of one token are left out.
    A segment of another document is the second half of a window before this document in the same text file: of the
    same kind of text, and, as a text's last rows are held out, never of those. It is cut to the length of what it
    stands for; the windows of a text's first document have none.
    lengths: int64 (windows,), most tokens of each without special tokens, for batches of rows of similar length.
    Raises ValueError when a pair does not fit, the tokenizer cannot pad, or no document has two tokens.
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
        # The windows that another document's segment may come from: of the same text file, before this document.
        part = np.searchsorted(store.part_starts, document, side="right") - 1
        self.others = np.stack([np.searchsorted(self.starts, np.array(store.part_starts)[part]),
                                np.searchsorted(self.starts, document)])  # fmt: skip

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
        for row, (window, length, draw, choice, cut) in enumerate(zip(indices, lengths, *draws[1:], strict=True)):
            (a, a_words), (b, b_words) = self._halves(window, draw)
            relation, (lowest, highest) = self.relations[labels[row]], self.others[:, window]
            if relation is ELSEWHERE and lowest == highest:
                labels[row], relation = 0, FOLLOWS
            if relation is PRECEDES:
                (a, a_words), (b, b_words) = (b, b_words), (a, a_words)
            elif relation is ELSEWHERE:
                _, (b, b_words) = self._halves(lowest + int(choice * (highest - lowest)), cut)
                b, b_words = b[: length - len(a)], b_words[: length - len(a)]
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
