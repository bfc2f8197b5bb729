"""Texts and given words to token ids, with every token's characters and whole words known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.pieces import Pieces, piece_ids_of, pieces_of, require_fast, unknown_id
from common.text.ragged import lengths_of, split, starts_of, sums
from common.text.segmentation import Segmenter
from common.text.special_tokens import SpecialTokens
from common.text.word_table import WordTable


class TokenSpan(NamedTuple):
    """A character span in tokens: tokens `first` to `last` (both included), and how far the span's start and end lie
    from the start of token `first` and the end of token `last`, in characters. Both shifts are 0 for whole tokens."""

    first: int
    last: int
    start_shift: int = 0
    end_shift: int = 0


@dataclass(frozen=True, eq=False)
class Encoding:
    """One text as tokens, without special tokens.

    input_ids: int64 (tokens,).
    offset_mapping: int64 (tokens, 2), start and end of each token in the original string, in characters, end exclusive;
        neither column ever decreases. Tokens may share a character (bytes of one character, jamo of one syllable) and
        characters may have no token (spaces and control characters, accents where the tokenizer strips them).
    word_ids: int64 (tokens,), the whole word of each token, numbered from 0 in order of the text.
    length: characters of the original string.
    """

    input_ids: np.ndarray
    offset_mapping: np.ndarray
    word_ids: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.input_ids)

    def tokens_of_span(self, start: int, end: int) -> TokenSpan:
        """The fewest neighbouring tokens that hold every token of a character span.

        start, end: characters, end exclusive.
        Returns a TokenSpan, so that `span_of_tokens(*tokens_of_span(start, end)) == (start, end)` for every span of
        every text. A span whose characters have no token goes to the token before it, or else to the first one.
        Raises ValueError for a span that is empty or outside the text.
        """
        if not 0 <= start < end <= self.length:
            raise ValueError(f"character span {(start, end)} is empty or outside a text of {self.length} characters")
        starts, ends = self.offset_mapping[:, 0], self.offset_mapping[:, 1]
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(starts, end, side="left")) - 1
        if first > last:
            first = last = max(last, 0)
        return TokenSpan(first, last, start - int(starts[first]), end - int(ends[last]))

    def span_of_tokens(self, first: int, last: int, start_shift: int = 0, end_shift: int = 0) -> tuple[int, int]:
        """The characters of tokens `first` to `last`, both included.

        The shifts are those of a TokenSpan; without them the span is the outline of the tokens, which is what a model
        that points at tokens answers. Returns (start, end), end exclusive.
        Raises ValueError for tokens outside the text or in the wrong order.
        """
        if not 0 <= first <= last < len(self):
            raise ValueError(f"tokens {first} to {last} are no range of a text of {len(self)} tokens")
        return int(self.offset_mapping[first, 0]) + start_shift, int(self.offset_mapping[last, 1]) + end_shift


class WholeWordTokenizer:
    """A fast Hugging Face tokenizer that also knows whole words.

    tokenizer: any fast tokenizer (WordPiece, Unigram, byte-level BPE, WordLevel).
    segmenter: cuts Chinese into words; jieba's dictionary where none is given.

    A text that has characters but no token for the tokenizer (only spaces, say) becomes one [UNK] over all of it.
    Raises TypeError for a tokenizer that is not fast.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, segmenter: Segmenter | None = None) -> None:
        require_fast(tokenizer)
        self.tokenizer = tokenizer
        self.segmenter = segmenter or Segmenter()

    def encode(self, text: str) -> Encoding:
        """One text as tokens, with places and whole words. Returns an Encoding."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """Each text as tokens, with places and whole words, as `encode` gives them."""
        sizes = lengths_of(texts)
        pieces, begins = self._pieces_and_words(texts, sizes)
        words = _word_ids(begins, pieces.lengths)
        offsets = np.stack((pieces.starts, pieces.ends), axis=1)
        rows = zip(*(split(values, pieces.lengths) for values in (pieces.ids, offsets, words)), sizes, strict=True)
        return [Encoding(ids, places, word_ids, int(size)) for ids, places, word_ids, size in rows]

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tokens of all texts one after the other, as `encode_many` gives them, for text that is to be packed.

        Returns ids int64 (tokens of all texts,), word begins bool (tokens of all texts,), true for the first token of
        each whole word, and lengths int64 (texts,).
        """
        pieces, begins = self._pieces_and_words(texts, lengths_of(texts))
        return pieces.ids, begins, pieces.lengths

    def piece_ids(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids alone, without special tokens and without [UNK] for texts that give no token.

        Returns ids int64 (tokens of all texts,) and lengths int64 (texts,).
        """
        return piece_ids_of(self.tokenizer, texts)

    def encode_words(self, tokens: Sequence[str], add_special_tokens: bool = True) -> dict[str, np.ndarray]:
        """One row of given words, for tagging; see `encode_words_many`. Returns arrays in place of lists of arrays."""
        return {name: rows[0] for name, rows in self.encode_words_many([tokens], add_special_tokens).items()}

    def encode_words_many(
        self, rows: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> dict[str, list[np.ndarray]]:
        """Rows of given words to sub-tokens, word by word, so that every word has at least one sub-token of its own.

        rows: the words (or characters, or anonymised ids) of each row. A word that the tokenizer drops gets [UNK].
        add_special_tokens: put the tokenizer's special tokens around each row.
        Returns input_ids, one int64 (tokens,) a row, and word_positions, one int64 (words,) a row: where in input_ids
        each word's first sub-token stands. Nothing is cut.
        """
        counts = lengths_of(rows)
        numbers = self._words.numbers_of([word for row in rows for word in row])
        widths = self._words.width[numbers]
        ids, lengths = self._words.ids[self._words.tokens_of(numbers)], sums(widths, counts)
        positions = starts_of(widths) - np.repeat(starts_of(lengths), counts)
        if add_special_tokens:
            ids, lengths = self.special_tokens.around(ids, lengths)
            positions += len(self.special_tokens.single[0])
        return {"input_ids": split(ids, lengths), "word_positions": split(positions, counts)}

    def word_widths(self, tokens: Sequence[str]) -> np.ndarray:
        """How many sub-tokens `encode_words` gives each word; int64 (words,)."""
        return self._words.width[self._words.numbers_of(tokens)]

    @cached_property
    def special_tokens(self) -> SpecialTokens:
        """The special tokens that the tokenizer puts around texts."""
        return SpecialTokens.of(self.tokenizer)

    @cached_property
    def _words(self) -> WordTable:
        return WordTable(self.tokenizer, places=False)

    def _pieces_and_words(self, texts: Sequence[str], sizes: np.ndarray) -> tuple[Pieces, np.ndarray]:
        """Sub-tokens of each text, and which of them begin a whole word."""
        word_starts = self.segmenter.word_starts(texts)
        pieces = _with_unknown(self.tokenizer, self._pieces(texts, word_starts), sizes)
        return pieces, _word_begins(pieces, sizes, word_starts)

    def _pieces(self, texts: Sequence[str], word_starts: np.ndarray) -> Pieces:
        return pieces_of(self.tokenizer, texts)


def _with_unknown(tokenizer: PreTrainedTokenizerFast, pieces: Pieces, sizes: np.ndarray) -> Pieces:
    """One [UNK] over every text that has characters but no token."""
    bare = np.flatnonzero((pieces.lengths == 0) & (sizes > 0))
    if not len(bare):
        return pieces
    places = starts_of(pieces.lengths)[bare]
    lengths = pieces.lengths.copy()
    lengths[bare] = 1
    return Pieces(
        np.insert(pieces.ids, places, unknown_id(tokenizer)),
        np.insert(pieces.starts, places, 0),
        np.insert(pieces.ends, places, sizes[bare]),
        lengths,
    )


def _word_begins(pieces: Pieces, sizes: np.ndarray, word_starts: np.ndarray) -> np.ndarray:
    """Which tokens begin a whole word; a token that reaches into several words joins them into one."""
    if not len(pieces.ids):
        return np.zeros(0, dtype=bool)
    word_of = np.cumsum(word_starts)
    text_start, size = np.repeat(starts_of(sizes), pieces.lengths), np.repeat(sizes, pieces.lengths)
    first = word_of[text_start + np.minimum(pieces.starts, size - 1)]
    last = word_of[text_start + np.minimum(np.maximum(pieces.ends - 1, pieces.starts), size - 1)]
    begins = np.ones(len(first), dtype=bool)
    begins[1:] = first[1:] > last[:-1]
    return begins


def _word_ids(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The whole word of each token, numbered from 0 in each text. begins: (tokens,). lengths: (texts,)."""
    words = np.cumsum(begins) - 1
    filled = lengths[lengths > 0]
    return words - np.repeat(words[starts_of(filled)], filled)
