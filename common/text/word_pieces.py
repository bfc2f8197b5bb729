"""Sub-tokens of words that each stand alone, with as few and as large calls of the tokenizer as are safe."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.pieces import piece_ids_of, plain
from common.text.ragged import lengths_of, slices, starts_of, sums

GROUP = 512  # words of a row that stands for so many texts
PLAIN_STEPS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer",
               "BertPreTokenizer", "Split", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits"}  # fmt: skip
# Ideographs that every version of BERT's normalizer parts and none of Unicode's forms changes.
IDEOGRAPHS = ((0x3400, 0x4DC0), (0x4E00, 0xA000))


class WordPieces:
    """Sub-tokens of words, each as if it were a text of its own.

    tokenizer: any fast tokenizer, whose vocabulary stays as it is while this is used.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        try:
            parts = json.loads(tokenizer.backend_tokenizer.to_str())
        except Exception:  # a pre-tokenizer in Python cannot be written out; tokenizers raises Exception itself
            self.by_rows = self.by_characters = False
            return
        normalizers, splitters = _steps([parts["normalizer"]]), _steps([parts["pre_tokenizer"]])
        # Words given as a list are tokenized as each of them by itself, but where a row's first word is marked.
        plain_steps = {step["type"] for step in normalizers + splitters} <= PLAIN_STEPS
        self.by_rows = parts["model"].get("type") == "WordPiece" and plain_steps
        # An ideograph is a token of its own whatever stands beside it, unless a token was added that holds it, or the
        # spaces that the normalizer puts around it.
        spaced = any(step["type"] == "BertNormalizer" and step["handle_chinese_chars"] for step in normalizers)
        parted = spaced and splitters[:1] == [{"type": "BertPreTokenizer"}]
        added = "".join(token["content"] for token in parts["added_tokens"])
        self.by_characters = self.by_rows and parted and added.isascii() and not any(map(str.isspace, added))

    def ids(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As `piece_ids_of` gives them: int64 (tokens of all words,), and lengths int64 (words,)."""
        return self._by_characters(words) if self.by_characters else self._by_rows(words)

    def _by_characters(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Asks for each ideograph once, and for the words that have other characters too."""
        sizes = lengths_of(words)
        codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ideographs = np.logical_or.reduce([(codes >= first) & (codes < stop) for first, stop in IDEOGRAPHS])
        pure = (sums(ideographs, sizes) == sizes) & (sizes > 0)
        others = np.flatnonzero(~pure).tolist()
        characters, which = np.unique(codes[np.repeat(pure, sizes)], return_inverse=True)
        ids, lengths = self._by_rows([*(words[place] for place in others), *map(chr, characters.tolist())])
        # A word is one of the others, or its characters.
        counts = np.where(pure, sizes, 1)
        of_pure = np.repeat(pure, counts)
        asked = np.empty(len(of_pure), dtype=np.int64)
        asked[of_pure], asked[~of_pure] = len(others) + which, np.arange(len(others))
        return ids[slices(starts_of(lengths)[asked], lengths[asked])], sums(lengths[asked], counts)

    def _by_rows(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Many words a row, which the tokenizer is told not to join."""
        if not self.by_rows:
            return piece_ids_of(self.tokenizer, words)
        ids, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        groups = [list(words[first : first + GROUP]) for first in range(0, len(words), GROUP)]
        try:
            with plain(self.tokenizer) as backend:
                # The fast one does not know which word a token is of.
                encodings = backend.encode_batch(groups, is_pretokenized=True, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            return piece_ids_of(self.tokenizer, words)
        for group, encoding in zip(groups, encodings, strict=True):
            owners = encoding.word_ids
            if None in owners:
                return piece_ids_of(self.tokenizer, words)
            ids.append(np.array(encoding.ids, dtype=np.int64))
            lengths.append(np.bincount(np.array(owners, dtype=np.int64), minlength=len(group)))
        return np.concatenate(ids), np.concatenate(lengths)


def _steps(steps: list[Any]) -> list[dict[str, Any]]:
    """Normalizers or pre-tokenizers in their order, those inside sequences in place of these."""
    found: list[dict[str, Any]] = []
    for step in filter(None, steps):
        inner = step.get("normalizers", step.get("pretokenizers"))
        found += [step] if inner is None else _steps(inner)
    return found
