"""Words looked up once: the sub-tokens of each word that was ever seen, as flat arrays."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.pieces import Pieces, mark_ids, pieces_of, unknown_id
from common.text.ragged import lengths_of, slices, starts_of
from common.text.segmentation import HAN, character_kinds
from common.text.word_pieces import WordPieces


class WordTable:
    """Sub-tokens of words that stand alone; a word is tokenized when it is first seen and remembered.

    tokenizer: any fast tokenizer, whose vocabulary stays as it is while this is used.
    whole_words: a word with a Chinese character that is in the vocabulary is one token, whatever the tokenizer does.
    keep_empty: a word that the tokenizer drops (a space, a control character) has no token rather than [UNK].
    places: whether to know the tokens' characters; without, words are learnt in a fraction of the time, and starts and
        ends are all zero.

    The word-start mark ("▁") that a SentencePiece tokenizer puts before every word is left out where it is a token of
    its own: inside Chinese text no word starts there.
    Attributes ids, starts, ends (tokens of all words,) and first, width (words,): word `n` has the tokens
    `first[n] : first[n] + width[n]`, and starts and ends are its characters.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, whole_words: bool = False, keep_empty: bool = False,
        places: bool = True,
    ) -> None:  # fmt: skip
        self.tokenizer, self.keep_empty, self.places = tokenizer, keep_empty, places
        self._pieces = None if places else WordPieces(tokenizer)
        self.vocabulary = {
            word: number
            for word, number in (tokenizer.get_vocab() if whole_words else {}).items()
            if len(word) > 1 and not word.isascii() and (character_kinds(word) == HAN).any()
        }
        self.numbers: dict[str, int] = {}
        self.ids = self.starts = self.ends = self.first = self.width = np.zeros(0, dtype=np.int64)

    def numbers_of(self, words: Sequence[str]) -> np.ndarray:
        """The number of each word in this table; int64 (words,). One dictionary lookup a word once all are known."""
        found = np.fromiter(map(self.numbers.get, words, repeat(-1)), np.int64, len(words))
        places = np.flatnonzero(found < 0)
        if len(places):
            unseen = [words[place] for place in places]
            self._learn(sorted(set(unseen)))
            found[places] = np.fromiter(map(self.numbers.__getitem__, unseen), np.int64, len(unseen))
        return found

    def _learn(self, words: list[str]) -> None:
        pieces = _without_places(*self._pieces.ids(words)) if self._pieces else pieces_of(self.tokenizer, words)
        first, width = starts_of(pieces.lengths), pieces.lengths
        filled = np.flatnonzero(width > 1)
        marked = filled[np.isin(pieces.ids[first[filled]], mark_ids(self.tokenizer))]
        first[marked] += 1
        width = width.copy()
        width[marked] -= 1

        # Whole words and [UNK] are one token each, for all the word's characters; they come after the pieces.
        single = np.array([self.vocabulary.get(word, -1) for word in words], dtype=np.int64)
        nothing = (width == 0) & (single < 0)
        if nothing.any() and not self.keep_empty:
            single[nothing] = unknown_id(self.tokenizer)
        alone = np.flatnonzero(single >= 0)
        first[alone] = len(pieces.ids) + np.arange(len(alone))
        width[alone] = 1
        sizes = lengths_of([words[place] for place in alone])
        ids = np.concatenate((pieces.ids, single[alone]))
        starts = np.concatenate((pieces.starts, np.zeros(len(alone), np.int64)))
        ends = np.concatenate((pieces.ends, sizes))

        self.first = np.concatenate((self.first, first + len(self.ids)))
        self.width = np.concatenate((self.width, width))
        self.ids, self.starts, self.ends = (
            np.concatenate(pair) for pair in ((self.ids, ids), (self.starts, starts), (self.ends, ends))
        )
        self.numbers.update(zip(words, range(len(self.numbers), len(self.numbers) + len(words)), strict=True))

    def tokens_of(self, numbers: np.ndarray) -> np.ndarray:
        """Indices into ids, starts and ends of the tokens of words, in order. numbers: (words,)."""
        return slices(self.first[numbers], self.width[numbers])


def _without_places(ids: np.ndarray, lengths: np.ndarray) -> Pieces:
    nowhere = np.zeros(len(ids), dtype=np.int64)
    return Pieces(ids, nowhere, nowhere, lengths)
