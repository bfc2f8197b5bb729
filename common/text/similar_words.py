"""Words that a word may be mistaken for: its nearest ones by word vectors, with as many sub-tokens."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.files import DataError, atomic_path, existing
from common.text.pieces import unknown_id
from common.text.special_tokens import special_ids_of
from common.text.word_table import WordTable

BITS = 16  # of a sub-token's id; four of them are one number that stands for a word
MOST_PIECES = 64 // BITS
BLOCK = 512  # words whose similarities to all others are held at a time


class SimilarWords:
    """For every known word its nearest words, as token ids, to be looked up for many words at once.

    keys: for each number of sub-tokens the known words as uint64 (words,), ascending.
    near: for each number of sub-tokens int32 (words, neighbours), indices into keys, -1 where there are fewer.

    A word of more than 4 sub-tokens is never known. Built by `of`, kept by `save` and `load`.
    """

    def __init__(self, keys: Mapping[int, np.ndarray], near: Mapping[int, np.ndarray]) -> None:
        self.keys, self.near = dict(keys), dict(near)

    @classmethod
    def of(
        cls, vectors: Mapping[str, np.ndarray], tokenizer: PreTrainedTokenizerFast, neighbours: int = 5,
        least_similarity: float = 0.5, most_words: int = 30_000,
    ) -> "SimilarWords":  # fmt: skip
        """Finds the nearest words of each word.

        vectors: (size,) of each word, the most frequent first, as `train_word_vectors` gives them for sentences of
        words. tokenizer: words with [UNK] or a special token in them are left out.
        neighbours: at most this many for a word. least_similarity: cosine below which a word is not similar.
        most_words: only the most frequent are known; time grows with the square of it (30,000: about 10 seconds).
        Raises ValueError for a vocabulary of more than 65,536 tokens, or when no word is left.
        Source: Cui et al. 2020, Revisiting Pre-Trained Models for Chinese NLP (MacBERT), section 4.
        """
        special = special_ids_of(tokenizer)
        if len(special) > 1 << BITS:
            raise ValueError(f"a vocabulary of {len(special):,} tokens: similar words need at most {1 << BITS:,}")
        special[unknown_id(tokenizer)] = True
        words = list(vectors)[:most_words]
        table = WordTable(tokenizer)
        numbers = table.numbers_of(words)
        keys, near = {}, {}
        for width in range(1, MOST_PIECES + 1):
            places = np.flatnonzero(table.width[numbers] == width)
            pieces = table.ids[table.first[numbers[places]][:, None] + np.arange(width)]
            usable = ~special[pieces].any(axis=1)
            # Words that the tokenizer does not tell apart are one; the most frequent gives the vector.
            found, first = np.unique(_keys_of(pieces[usable]), return_index=True)
            if len(found):
                rows = np.stack([vectors[words[place]] for place in places[usable][first]])
                keys[width], near[width] = found, _nearest(rows, neighbours, least_similarity)
        if not keys:
            raise ValueError(
                f"none of {len(words):,} words is made of known tokens: vectors and tokenizer do not match"
            )
        return cls(keys, near)

    def like(self, pieces: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each word one of its similar words at random.

        pieces: int64 (words, width), token ids of words with the same number of sub-tokens.
        Returns int64 (words, width) and bool (words,), false where there is no similar word and the first is no use.
        """
        count, width = pieces.shape
        draws = random.random(count)
        keys = self.keys.get(width)
        if keys is None or int(pieces.max(initial=0)) >= 1 << BITS:
            return pieces, np.zeros(count, dtype=bool)
        wanted = _keys_of(pieces)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        near = self.near[width][place]
        # Neighbours come first in a row and -1 after them, so their number is where the draw may fall.
        choices = np.where(keys[place] == wanted, (near >= 0).sum(axis=1), 0)
        column = np.minimum((draws * choices).astype(np.int64), np.maximum(choices - 1, 0))
        other = near[np.arange(count), column] if near.shape[1] else np.zeros(count, np.int64)
        return _pieces_of(keys[np.maximum(other, 0)], width), choices > 0

    def any_words(self, count: int, width: int, random: np.random.Generator) -> np.ndarray | None:
        """Random known words of `width` sub-tokens; int64 (count, width), or None where there are none."""
        keys = self.keys.get(width)
        return None if keys is None else _pieces_of(keys[random.integers(len(keys), size=count)], width)

    def save(self, path: Path | str) -> None:
        """Writes one safetensors file, atomically."""
        from safetensors.numpy import save_file

        tensors = {f"keys.{width}": values for width, values in self.keys.items()}
        tensors |= {f"near.{width}": values for width, values in self.near.items()}
        with atomic_path(path) as draft:
            save_file(tensors, draft)

    @classmethod
    def load(cls, path: Path | str) -> "SimilarWords":
        """Reads what `save` wrote. Raises DataError when there is no such file or it holds something else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(existing(path, "similar words", "build them again with SimilarWords.of"))
            widths = [int(name.removeprefix("keys.")) for name in tensors if name.startswith("keys.")]
            return cls(*({width: tensors[f"{kind}.{width}"] for width in widths} for kind in ("keys", "near")))
        except (SafetensorError, KeyError) as error:
            raise DataError(f"no similar words ({error})", path, action="delete it and build them again") from None


def _keys_of(pieces: np.ndarray) -> np.ndarray:
    """One number for the token ids of each word. pieces: (words, width). Returns uint64 (words,)."""
    shifts = (np.arange(pieces.shape[1], dtype=np.uint64) * np.uint64(BITS))[None]
    return np.bitwise_or.reduce(pieces.astype(np.uint64) << shifts, axis=1)


def _pieces_of(keys: np.ndarray, width: int) -> np.ndarray:
    shifts = (np.arange(width, dtype=np.uint64) * np.uint64(BITS))[None]
    return ((keys[:, None] >> shifts) & np.uint64((1 << BITS) - 1)).astype(np.int64)


def _nearest(rows: np.ndarray, neighbours: int, least: float) -> np.ndarray:
    """Each row's nearest other rows by cosine, the nearest first; int32 (rows, neighbours), -1 where there are none."""
    unit = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    neighbours = min(neighbours, len(unit) - 1)
    out = np.full((len(unit), max(neighbours, 1)), -1, dtype=np.int32)
    if neighbours < 1:
        return out
    for first in range(0, len(unit), BLOCK):
        cosines = unit[first : first + BLOCK] @ unit.T
        cosines[np.arange(len(cosines)), first + np.arange(len(cosines))] = -np.inf
        best = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]
        values = np.take_along_axis(cosines, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
        out[first : first + BLOCK] = np.where(values >= least, best, -1)
    return out
