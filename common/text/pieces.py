"""Sub-tokens of many texts as flat arrays, straight from the Rust tokenizer behind a fast Hugging Face tokenizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from common.text.ragged import lengths_of, starts_of
from common.text.segmentation import without_surrogates

# The Rust encodings of one batch live until they are flat; this many texts at a time keeps them small.
BATCH = 8192

# White space by code point; there is none beyond the ideographic space.
WHITE = np.array([chr(code).isspace() for code in range(0x3002)])


class Pieces(NamedTuple):
    """Sub-tokens of several texts, without special tokens.

    ids: int64 (tokens,). starts, ends: int64 (tokens,), characters of the token's own text; both never decrease within
    a text. lengths: int64 (texts,), tokens of each text.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray


def pieces_of(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Pieces:
    """Sub-tokens of each text with their places.

    A token that is more than white space neither begins nor ends with it. The word-start mark that SentencePiece puts
    before a word ("▁" alone) covers no character, although the tokenizer gives it the word's first one.
    """
    batches = []
    with plain(tokenizer) as backend:
        # Without special tokens a post-processor only trims white space from byte-level places, and after a special
        # token in the text tokenizers 0.23 then trims a letter instead.
        processor = backend.post_processor
        backend.post_processor = None
        try:
            for encodings in _encoded(backend.encode_batch, texts):
                lengths = lengths_of(encodings)
                total = int(lengths.sum())
                ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, total)
                offsets = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
                places = np.fromiter(offsets, np.int64, 2 * total)
                batches.append((ids, places[0::2], places[1::2], lengths))
        finally:
            backend.post_processor = processor
    ids, starts, ends, lengths = map(_joined, zip(*batches, strict=True)) if batches else [_joined(())] * 4
    starts, ends = _trimmed(texts, starts, ends, lengths)
    return Pieces(ids, starts, _without_bare_marks(tokenizer, ids, starts, ends, lengths), lengths)


def piece_ids_of(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sub-tokens of each text without their places.

    Returns ids int64 (tokens,) and lengths int64 (texts,).
    """
    batches = []
    with plain(tokenizer) as backend:
        for encodings in _encoded(backend.encode_batch_fast, texts):
            rows = [encoding.ids for encoding in encodings]
            lengths = lengths_of(rows)
            batches.append((np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths))
    return (_joined(batch[0] for batch in batches), _joined(batch[1] for batch in batches))


@contextmanager
def plain(tokenizer: PreTrainedTokenizerFast) -> Iterator[Tokenizer]:
    """The Rust tokenizer with truncation and padding off, as they were again afterwards.

    A tokenizer.json may switch both on, and would then cut silently. A copy would be cleaner, but a tokenizer with a
    pre-tokenizer in Python, as RoFormer's, cannot be copied. Special tokens written in a text follow the tokenizer's
    own `split_special_tokens`, as when it is called.
    """
    backend = tokenizer.backend_tokenizer
    truncation, padding, splits = backend.truncation, backend.padding, backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
    try:
        yield backend
    finally:
        backend.encode_special_tokens = splits
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def require_fast(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises TypeError for a tokenizer that has no Rust tokenizer behind it, and so no places of its tokens."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise TypeError(
            f"{type(tokenizer).__name__} is not a fast tokenizer: expected a PreTrainedTokenizerFast, which "
            "AutoTokenizer gives for any folder that holds a tokenizer.json, vocab.txt or SentencePiece model"
        )


def unknown_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id that stands for text of which the tokenizer keeps nothing: [UNK], or padding where there is no [UNK].

    Raises ValueError when the tokenizer has neither.
    """
    for number in (tokenizer.unk_token_id, tokenizer.pad_token_id):
        if number is not None:
            return number
    raise ValueError("the tokenizer has neither an unknown nor a padding token: set tokenizer.pad_token")


def mark_ids(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Ids of tokens that are a word-start mark and nothing else: SentencePiece's "▁", byte-level BPE's "Ġ"."""
    numbers = [tokenizer.backend_tokenizer.token_to_id(mark) for mark in "▁Ġ"]
    return np.array([number for number in numbers if number is not None], dtype=np.int64)


def _encoded(encode, texts: Sequence[str]) -> Iterator[list[Encoding]]:
    for first in range(0, len(texts), BATCH):
        batch = list(texts[first : first + BATCH])
        try:
            yield encode(batch, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            if all(isinstance(text, str) for text in batch):
                yield encode([without_surrogates(text) for text in batch], add_special_tokens=False)
            else:
                raise


def _joined(arrays) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays])


def _trimmed(texts: Sequence[str], starts, ends, lengths) -> tuple[np.ndarray, np.ndarray]:
    """Places without white space at either end, and in order."""
    text = "".join(texts)
    if not len(starts) or not text:
        return starts, ends
    white = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    white = WHITE[np.minimum(white, len(WHITE) - 1)]
    base = np.repeat(starts_of(lengths_of(texts)), lengths)
    place = np.arange(len(white))
    onward = np.minimum.accumulate(np.append(np.where(white, len(white), place), len(white))[::-1])[::-1]
    back = np.maximum.accumulate(np.where(white, -1, place)) + 1
    first, stop = onward[base + starts], back[base + ends - 1]
    inner = (starts < ends) & (first < stop) & (first < base + ends)
    # Neighbours that share characters may have been trimmed apart, so their order is made sure of.
    first, stop = np.where(inner, first, base + starts), np.where(inner, stop, base + ends)
    return np.minimum.accumulate(first[::-1])[::-1] - base, np.maximum.accumulate(stop) - base


def _without_bare_marks(tokenizer, ids, starts, ends, lengths) -> np.ndarray:
    marks = mark_ids(tokenizer)
    if not len(marks) or not len(ids):
        return ends
    first = np.zeros(len(ids) + 1, dtype=bool)
    first[starts_of(lengths)] = True
    previous_end = np.where(first[:-1], 0, np.concatenate(([0], ends[:-1])))
    next_start = np.where(first[1:], -1, np.concatenate((starts[1:], [-1])))
    bare = np.isin(ids, marks) & (starts == next_start) & (previous_end <= starts)
    return np.where(bare, starts, ends)
