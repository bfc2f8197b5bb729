"""Word-level tokenization: a Chinese word in the vocabulary is one token."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from common.text.pieces import Pieces
from common.text.ragged import lengths_of, starts_of, sums
from common.text.tokenization import WholeWordTokenizer
from common.text.word_table import WordTable


class WordLevelTokenizer(WholeWordTokenizer):
    """A whole word with a Chinese character that is in the vocabulary is one token; any other goes to the wrapped
    tokenizer, which makes characters or pieces of it.

    tokenizer: a fast tokenizer whose vocabulary holds words. segmenter: as for WholeWordTokenizer.

    Encodings are those of WholeWordTokenizer. Words stand alone, so that no token reaches into two of them, and a
    special token's name written in a text is text. `encode_words` leaves the given words to the wrapped tokenizer.
    Source: github.com/ZhuiyiTechnology/WoBERT.
    """

    def piece_ids(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        pieces = self._pieces(texts, self.segmenter.word_starts(texts))
        return pieces.ids, pieces.lengths

    def _pieces(self, texts: Sequence[str], word_starts: np.ndarray) -> Pieces:
        joined = "".join(texts)
        begins = np.flatnonzero(word_starts)
        stops = [*begins[1:].tolist(), len(joined)] if len(begins) else []
        words = [joined[start:stop] for start, stop in zip(begins.tolist(), stops, strict=True)]

        table = self._whole_words
        numbers = table.numbers_of(words)
        tokens, widths = table.tokens_of(numbers), table.width[numbers]
        sizes = lengths_of(texts)
        words_before = np.concatenate(([0], np.cumsum(word_starts)))
        counts = words_before[starts_of(sizes) + sizes] - words_before[starts_of(sizes)]
        shift = np.repeat(begins - np.repeat(starts_of(sizes), counts), widths)
        return Pieces(table.ids[tokens], table.starts[tokens] + shift, table.ends[tokens] + shift, sums(widths, counts))

    @cached_property
    def _whole_words(self) -> WordTable:
        return WordTable(self.tokenizer, whole_words=True, keep_empty=True)
