"""Where the sentences of a corpus begin, and windows of whole sentences of one document."""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.token_store import TokenStore

END, CLOSING = "。！？；…!?;", "”’」』）)》】\"'"  # what a sentence ends with, and what may come after it
BLOCK = 1 << 20  # tokens that windows are looked for in at a time


class Sentences:
    """The sentences of a store: each ends with its line or with one of END and at most two of CLOSING.

    store: the corpus. tokenizer: what it was built with. marked: whether it has a token of END.
    """

    def __init__(self, store: TokenStore, tokenizer: PreTrainedTokenizerFast) -> None:
        self.store = store
        self.ends, self.closings = (_made_of(marks, tokenizer) for marks in (END, CLOSING))
        self.marked = bool(self.ends.any())

    def starts(self, start: int, stop: int, ids: np.ndarray) -> np.ndarray:
        """Where sentences begin, from `start` and before `stop`; int64, ascending. ids: the tokens there."""
        ended, closing = self.ends[ids], self.closings[ids]
        inner = ended | closing
        for _ in range(2):
            ended = ended | (np.append(False, ended[:-1]) & closing)
        after = np.flatnonzero(ended[:-1] & ~inner[1:]) + 1 + start
        return np.union1d(after, self.store.line_starts(start, stop))

    def windows(self, capacity: int) -> Iterator[np.ndarray]:
        """Windows of at most `capacity` tokens, in order, some at a time.

        Each has as many sentences of a document as it has room for; a sentence without room is cut into parts of nearly
        the same length. Half of the documents are cut from their beginning, half from their end: the sentence that does
        not fit any more is likely a long one and is the next window's first, or its last.
        Yields int64 (3, windows): their first tokens, how many they have, and how many sentences begin in them (one for
        what goes on from the window before).
        """
        start, size = 0, len(self.store)
        while start < size:
            stop = min(start + BLOCK + 2 * capacity, size)
            places, whole, ends = self._places(start, stop, capacity)
            chosen, first = _windows_between(places, ends, capacity)
            if stop == size:
                start = size
            elif first:
                start = int(places[first])  # a document that goes on in the next block is cut there
            else:
                # One that is longer than a block is cut from its beginning, as far as the block shows what fits.
                chosen = [step for step in _chain(0, len(places) - 1, _furthest(places, capacity))
                          if places[step[0]] + capacity < stop]  # fmt: skip
                start = int(places[chosen[-1][1]])
            begin, end = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
            begun = np.cumsum(whole)
            yield np.stack([places[begin], places[end] - places[begin], begun[end - 1] - begun[begin] + 1])

    def _places(self, start: int, stop: int, capacity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where windows between two tokens may begin or end, which of these are sentences' beginnings, and the numbers
        of those where a document ends, before its separator."""
        size = len(self.store)
        begins = self.store.document_starts(start + 1, stop + 1)
        ends = np.append(begins, size) - 1 if stop == size else begins - 1
        sentences = self.starts(start, stop, self.store.read(start, stop)[0])
        places = np.union1d(np.append(sentences, start), np.append(begins, ends))
        gaps = np.diff(places, append=stop)
        parts = -(-gaps // capacity)
        owner = np.repeat(np.arange(len(places)), parts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        whole, places = number == 0, places[owner] + gaps[owner] * number // parts[owner]
        if stop < size:
            places, whole = np.append(places, stop), np.append(whole, True)
        return places, whole, np.searchsorted(places, ends)


def _windows_between(places: np.ndarray, ends: np.ndarray, capacity: int) -> tuple[list[tuple[int, int]], int]:
    """The windows of whole documents, as numbers of places, and where the document begins that goes on.

    places: where windows may begin or end. ends: numbers of those where documents end; the next begins at the next.
    """
    onwards, back = _furthest(places, capacity), np.searchsorted(places, places - capacity).tolist()
    values, chosen, first = places.tolist(), [], 0
    for last in ends.tolist():
        if values[first] % 2:
            chosen += _chain(first, last, onwards)
        else:
            chosen += [(begin, end) for end, begin in reversed(list(_chain(last, first, back)))]
        first = last + 1
    return chosen, first


def _furthest(places: np.ndarray, capacity: int) -> list[int]:
    return (np.searchsorted(places, places + capacity, side="right") - 1).tolist()


def _chain(first: int, last: int, goes: list[int]) -> Iterator[tuple[int, int]]:
    """Steps from `first` to `last`, upwards or downwards: from each place where `goes` says, but not beyond `last`."""
    bound = min if last >= first else max
    while first != last:
        after = bound(goes[first], last)
        yield first, after
        first = after


def _made_of(marks: str, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Which ids are made of these characters alone; bool (highest id + 1,)."""
    vocabulary = tokenizer.get_vocab()
    flags = np.zeros(max(*vocabulary.values(), *tokenizer.all_special_ids) + 1, dtype=bool)
    for token, number in vocabulary.items():
        text = token.removeprefix("##").strip("▁")
        flags[number] = bool(text) and all(character in marks for character in text)
    return flags
