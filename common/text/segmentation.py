"""Chinese word segmentation, and the whole words that a text is made of."""

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from unicodedata import category

import numpy as np

LETTER, DIGIT, HAN, MARK, OTHER = range(5)
# Two ideographs that stand among punctuation, the unified ideographs with extensions A to J, the compatibility forms.
HAN_RANGES = (
    (0x3005, 0x3006),
    (0x3007, 0x3008),
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0x20000, 0x33480),
)


class Segmenter:
    """Cuts a text into words with jieba's dictionary and its hidden Markov model for unknown words.

    user_dictionary: a file in jieba's format, one `word [frequency] [tag]` a line, UTF-8. With one, jieba itself cuts;
        without one, rjieba (the same dictionary and model in Rust) where it is installed, else jieba.

    Where rjieba and jieba differ (609 of 36,000 lines of real text; in whole words, as `word_starts` gives them, 1):
    - letters or digits that an ASCII sign joins ("5-6", "CD-ROM", "Node.js"): rjieba often keeps them as one word,
      jieba cuts at the sign. `word_starts`, on which every tokenizer of the kit stands, cuts there in both cases;
    - the rare Chinese run with two cuts of nearly the same probability, which the two round differently
      ("常在|向" by rjieba, "常|在|向" by jieba).

    Raises FileNotFoundError when the user dictionary does not exist, ValueError when jieba cannot read it.
    Source: github.com/fxsjy/jieba; github.com/messense/jieba-rs.
    """

    def __init__(self, user_dictionary: Path | str | None = None) -> None:
        self.user_dictionary = None if user_dictionary is None else Path(user_dictionary)
        if self.user_dictionary is not None and not self.user_dictionary.is_file():
            raise FileNotFoundError(
                f"{self.user_dictionary}: no such user dictionary. Expected a UTF-8 file with one word a line; "
                "correct the path, or leave it out to cut with jieba's own dictionary"
            )

    def cut(self, text: str) -> list[str]:
        """Words of one text, white space and punctuation included.

        Returns words that joined give `text` again; [] for an empty text.
        """
        return self.cut_many([text])[0]

    def cut_many(self, texts: Sequence[str]) -> list[list[str]]:
        """Words of each text, as `cut` gives them."""
        cutter = _cutter(self.user_dictionary)
        try:
            return [cutter(text) for text in texts]
        except UnicodeEncodeError:
            return [_cut_around_surrogates(cutter, text) for text in texts]

    def word_starts(self, texts: Sequence[str]) -> np.ndarray:
        """Where whole words begin.

        A word is a run of letters, a run of digits, a word that the segmenter found among Chinese characters, or any
        other character by itself; combining marks and zero-width joiners stay with what they follow. A dictionary word
        that mixes Chinese characters with letters or digits stays whole; a run of letters or digits is never cut.

        texts: any number of texts. Returns bool (characters of all texts in order,), true where a word begins.
        """
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        kinds = character_kinds("".join(texts))
        starts = np.zeros(len(kinds), dtype=bool)
        if not len(kinds):
            return starts
        cuts = list(chain.from_iterable(self.cut_many(texts)))
        cut_at = np.zeros(len(cuts), dtype=np.int64)
        np.cumsum(np.fromiter(map(len, cuts[:-1]), np.int64, len(cuts) - 1), out=cut_at[1:])
        starts[cut_at] = True
        has_han = np.logical_or.reduceat(kinds == HAN, cut_at)[np.cumsum(starts) - 1]

        # Marks take the kind of what they follow in their text, so that they neither break a run nor begin a word.
        text_starts = (np.cumsum(lengths) - lengths)[lengths > 0]
        mark = kinds == MARK
        mark[text_starts] = False
        kinds = kinds[np.maximum.accumulate(np.where(mark, 0, np.arange(len(kinds))))]
        same = np.zeros_like(starts)
        same[1:] = kinds[1:] == kinds[:-1]
        run = (kinds == LETTER) | (kinds == DIGIT)
        starts = (starts | ~has_han) & ~(same & run) & ~mark
        starts[text_starts] = True
        return starts


def character_kinds(text: str) -> np.ndarray:
    """LETTER, DIGIT, HAN, MARK or OTHER for each character; uint8 (characters,)."""
    return _kinds_of_unicode()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")]


@lru_cache(maxsize=1)
def _kinds_of_unicode() -> np.ndarray:
    """The kind of every code point, from Unicode's general categories."""
    letters = dict.fromkeys(("Lu", "Ll", "Lt", "Lm", "Lo"), LETTER)
    kind_of = letters | {"Nd": DIGIT} | dict.fromkeys(("Mn", "Mc", "Me", "Cf"), MARK)
    kinds = np.fromiter((kind_of.get(category(chr(code)), OTHER) for code in range(0x110000)), np.uint8, 0x110000)
    for first, stop in HAN_RANGES:
        kinds[first:stop] = HAN
    return kinds


@lru_cache(maxsize=8)
def _cutter(user_dictionary: Path | None) -> Callable[[str], list[str]]:
    """The function that cuts one text; loading a dictionary takes about a second and is done once a process."""
    if user_dictionary is None:
        try:
            import rjieba

            return rjieba.cut
        except ImportError:
            pass
    return jieba_cutter(user_dictionary)


def jieba_cutter(user_dictionary: Path | None = None) -> Callable[[str], list[str]]:
    """jieba's own `lcut` with a tokenizer of its own, so that a user dictionary stays out of jieba's global one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports pkg_resources and holds invalid escapes in its patterns
        import jieba
    jieba.setLogLevel("ERROR")
    tokenizer = jieba.Tokenizer()
    if user_dictionary is not None:
        try:
            tokenizer.load_userdict(str(user_dictionary))
        except ValueError as error:
            raise ValueError(
                f"{user_dictionary}: not a jieba user dictionary ({error}). "
                "Expected UTF-8 lines `word [frequency] [tag]`"
            ) from error
    return tokenizer.lcut


def _cut_around_surrogates(cutter: Callable[[str], list[str]], text: str) -> list[str]:
    """Cuts a text that holds lone surrogates, which no UTF-8 has and JSON escapes can smuggle in."""
    stops = np.cumsum([len(word) for word in cutter(without_surrogates(text))], dtype=np.int64)
    return [text[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


def without_surrogates(text: str) -> str:
    """The text with each lone surrogate as U+FFFD, so that every position stays what it was."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
