"""Pairs of segments for a second objective: in their order, swapped, or of two documents."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.packing import word_ids_of
from common.text.sentence_windows import Sentences
from common.text.special_tokens import SpecialTokens, special_ids_of
from common.text.token_store import TokenStore

# What the labels of an objective stand for.
FOLLOWS, PRECEDES, ELSEWHERE = "the second segment follows", "it stands before the first", "it is of another document"
SENTENCE_PAIRS = {
    "order": (FOLLOWS, PRECEDES),  # Lan et al. 2020, ALBERT, section 3.1
    "next": (FOLLOWS, ELSEWHERE),  # Devlin et al. 2019, BERT, section 3.1
    "structure": (FOLLOWS, PRECEDES, ELSEWHERE),  # Wang et al. 2020, StructBERT, the sentence structural objective
}
NO_RELATION = -100  # the label that torch's cross-entropy leaves out
TRIES = 8  # windows of other documents that are looked at for a segment as long as the one that it stands for


class PairRows(NamedTuple):
    """A batch of segment pairs, all int64 (rows, length) but the labels.

    input_ids: tokens. word_ids: the whole word of each token, -1 for special tokens and padding. token_type_ids: as the
    tokenizer gives them for a pair. attention_mask: 0 for padding. labels: int64 (rows,), numbers of the objective's
    classes in SENTENCE_PAIRS, NO_RELATION where a window is no two sentences.
    """

    input_ids: np.ndarray
    word_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray


class Others(NamedTuple):
    """Windows that a window may take a segment from: some in a row, less those of its own document.

    first: number of the first of them, among those that can be cut. own_first, own: of its own document the first and
    how many. count: how many are left.
    """

    first: int
    own_first: int
    own: int
    count: int

    def number(self, draw: float) -> int:
        """One of them. draw: which, from 0 up to 1."""
        number = self.first + int(draw * self.count)
        return number + self.own * (number >= self.own_first)


class Piece(NamedTuple):
    """Some tokens of a document: ids, where words begin, and where sentences begin in it but at its start."""

    ids: np.ndarray
    words: np.ndarray
    sentences: np.ndarray

    def cut(self, place: int) -> tuple["Piece", "Piece"]:
        """What is before a place, and what comes from there on."""
        before, after = self.sentences < place, self.sentences > place
        return (
            Piece(self.ids[:place], self.words[:place], self.sentences[before]),
            Piece(self.ids[place:], self.words[place:], self.sentences[after] - place),
        )


class SegmentPairs:
    """Windows of whole sentences of single documents, each cut in two anew at every pass; the halves in one of an
    objective's relations, all equally likely.

    store: the corpus. tokenizer: puts its special tokens for a pair around the segments.
    max_length: tokens of the longest row, special tokens included. objective: of SENTENCE_PAIRS.

    A window is cut before one of its sentences, so that where a segment ends does not tell which it is; one that is a
    single sentence is cut at a word and has NO_RELATION. Where a tokenizer knows no marks that end sentences, as one of
    numbers, lines and then words stand in for them. Windows of one token are left out.

    A segment of another document is a half of another window of the same text file, in the place of the first or the
    second half; where order is told too, in either order. It is nearly as long as the half that it stands for, and
    where none such is found there is NO_RELATION, whatever the relation would have been: lengths do not tell it.
    Windows held out (`hold_out`) and the others never lend each other segments; a window with no other document in
    reach is a pair of one document.
    lengths: int32 (windows,), about how many tokens each has without special ones, for batches of similar length.
    Raises ValueError when a pair does not fit, the tokenizer cannot pad, no document has two sentences, or an objective
    wants segments of other documents and no text file has two.
    """

    def __init__(
        self, store: TokenStore, tokenizer: PreTrainedTokenizerFast, max_length: int, objective: str = "order"
    ) -> None:
        special = SpecialTokens.of(tokenizer)
        self.store, self.parts, self.types = store, special.pair, (special.pair_types, special.text_types)
        self.relations = SENTENCE_PAIRS[objective]
        self.capacity = capacity = max_length - sum(map(len, self.parts))
        if capacity < 2:
            raise ValueError(f"max_length={max_length} leaves no room for two segments: expected 128, say")
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token: set tokenizer.pad_token")
        self.padding, self.special = int(tokenizer.pad_token_id), special_ids_of(tokenizer)
        self.sentences = Sentences(store, tokenizer)
        found = np.concatenate([np.zeros((3, 0), np.int64), *self.sentences.windows(capacity)], axis=1)
        starts, lengths, counts = found[:, found[1] > 1]
        self.starts, self.lengths = starts, lengths.astype(np.int32)
        # Those that can be cut.
        self.whole = np.flatnonzero((counts > 1) | (not self.sentences.marked)).astype(np.int32)
        if not len(self.whole):
            raise ValueError("no document has two sentences: pairs of segments need documents of several")
        # Of each text file's windows that can be cut: where they begin, and where those begin that are held out.
        self.bounds = np.searchsorted(starts[self.whole], store.part_starts)
        self.borders = self.bounds[1:]
        if ELSEWHERE in self.relations:
            documents = np.searchsorted(store.document_starts(), starts[self.whole], side="right")
            if not any(np.ptp(documents[first:stop]) for first, stop in pairwise(self.bounds) if first < stop):
                raise ValueError("no text file has two documents: an empty line ends a document")

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, indices: Sequence[int], random: np.random.Generator) -> PairRows:
        """The windows of these numbers, cut and related by `random`, padded to the longest."""
        drawn = random.random((len(indices), 4 + TRIES))
        pairs = [self._pair(int(window), draws) for window, draws in zip(indices, drawn, strict=True)]
        labels = np.array([label for *_, label in pairs], dtype=np.int64)
        longest = max((len(a.ids) + len(b.ids) for a, b, _ in pairs), default=0)
        shape = len(pairs), longest + sum(map(len, self.parts))
        ids = np.full(shape, self.padding, dtype=np.int64)
        begins, inside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        types = np.zeros(shape, dtype=np.int64)
        (before, between, after), ((type_0, type_1, type_2), text_types) = self.parts, self.types
        for row, (a, b, _) in enumerate(pairs):
            layout = (
                (before, False, type_0), (a.ids, a.words, text_types[0]), (between, False, type_1),
                (b.ids, b.words, text_types[1]), (after, False, type_2),
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
        apart = np.isin(self.whole, numbers)
        held_out = np.add.reduceat(np.append(apart, False), self.bounds[:-1]) * (np.diff(self.bounds) > 0)
        self.borders = self.bounds[1:] - held_out

    def _others(self, window: int) -> Others:
        """The windows of other documents of the same text file, held out like this one or not."""
        start = int(self.starts[window])
        part = bisect_right(self.store.part_starts, start) - 1
        first, border, stop = int(self.bounds[part]), int(self.borders[part]), int(self.bounds[part + 1])
        place = int(np.searchsorted(self.whole, window))
        first, stop = (border, stop) if place >= border else (first, border)
        own = self.store.document_around(start)
        # Those of its own document are some of them in a row.
        low, high = (
            min(max(int(np.searchsorted(self.whole, np.searchsorted(self.starts, bound))), first), stop)
            for bound in own
        )
        return Others(first, low, high - low, stop - first - (high - low))

    def _pair(self, window: int, draws: np.ndarray) -> tuple[Piece, Piece, int]:
        """The two segments of a row and their relation's number. draws: (4 + TRIES,), each from 0 up to 1."""
        (kind, cut, side, order), tries = draws[:4].tolist(), draws[4:].tolist()
        piece = self._piece(window)
        if not len(piece.sentences):
            return *piece.cut(_drawn(_word_starts(piece), cut)), NO_RELATION
        a, b = piece.cut(_drawn(piece.sentences, cut))
        label = int(kind * len(self.relations))
        if ELSEWHERE in self.relations and not (others := self._others(window)).count:
            label = int(kind * (len(self.relations) - 1))  # of another document is the last of the relations
        elif ELSEWHERE in self.relations:
            second = side < 0.5
            # Looked for whatever the relation is: that there is one says nothing of it.
            other = self._like(others, b if second else a, a if second else b, second, tries)
            if other is None:
                return a, b, NO_RELATION
            if self.relations[label] is ELSEWHERE:
                a, b = (a, other) if second else (other, b)
                if PRECEDES in self.relations and order < 0.5:
                    a, b = b, a
        if self.relations[label] is PRECEDES:
            a, b = b, a
        return a, b, label

    def _like(self, others: Others, own: Piece, kept: Piece, second: bool, tries: list[float]) -> Piece | None:
        """A second (or first) half of another document's window, nearly as long as `own`; None where none is found."""
        near, most = max(2, len(own.ids) // 8), self.capacity - len(kept.ids)
        for draw in tries:
            theirs = self._piece(int(self.whole[others.number(draw)]))
            sizes = len(theirs.ids) - theirs.sentences if second else theirs.sentences
            fitting = theirs.sentences[(abs(sizes - len(own.ids)) <= near) & (sizes <= most)]
            if len(fitting):
                return theirs.cut(_drawn(fitting, draw * len(tries) % 1))[second]
        return None

    def _piece(self, window: int) -> Piece:
        start, stop = int(self.starts[window]), int(self.starts[window] + self.lengths[window])
        ids, words = self.store.read(start, stop)
        words[0] = True
        sentences = self.sentences.starts(start, stop, ids)
        piece = Piece(ids, words, sentences[sentences > start] - start)
        if not len(piece.sentences) and not self.sentences.marked:
            piece = piece._replace(sentences=_word_starts(piece))
        return piece


def _drawn(places: np.ndarray, draw: float) -> int:
    return int(places[int(draw * len(places))])


def _word_starts(piece: Piece) -> np.ndarray:
    """Where words begin in a piece but at its start; any place where it is one word."""
    begins = np.flatnonzero(piece.words[1:]) + 1
    return begins if len(begins) else np.arange(1, len(piece.ids))
