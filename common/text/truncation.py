"""Fitting texts and pairs into a model's length, and saying what that cut."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.passages import matching_tokens, sentence_ends
from common.text.pieces import piece_ids_of
from common.text.ragged import slices, split, starts_of
from common.text.special_tokens import SpecialTokens
from common.text.tokenization import WholeWordTokenizer

logger = logging.getLogger(__name__)

STRATEGIES = ("longest_first", "head_tail", "balanced", "matching")


class Kept(NamedTuple):
    """How many tokens of each text stay, from its head and from its tail; int64 (pairs,) each. A text that fits has
    all of its tokens in the head, and so has one whose sentences are chosen ("matching")."""

    head_a: np.ndarray
    tail_a: np.ndarray
    head_b: np.ndarray
    tail_b: np.ndarray


@dataclass
class TruncationCount:
    """What was cut, over as many calls as share the count.

    texts, cut_texts: texts seen and texts that lost something. tokens, cut_tokens: tokens seen and lost.
    """

    texts: int = 0
    cut_texts: int = 0
    tokens: int = 0
    cut_tokens: int = 0

    def add(self, lengths: np.ndarray, kept: np.ndarray) -> None:
        """Counts texts. lengths, kept: (texts,), tokens before and after."""
        self.texts += len(lengths)
        self.cut_texts += int((kept < lengths).sum())
        self.tokens += int(lengths.sum())
        self.cut_tokens += int((lengths - kept).sum())

    def log(self, what: str = "texts") -> None:
        """Says in one line what was cut; says nothing when nothing was."""
        if self.cut_texts:
            logger.warning("%s: %s", what, self)

    def __str__(self) -> str:
        share = self.cut_tokens / max(self.tokens, 1)
        return f"{self.cut_texts:,} of {self.texts:,} texts cut, {share:.1%} of tokens"


def truncate_pairs(
    lengths_a: np.ndarray, lengths_b: np.ndarray, budget: int, strategy: str = "longest_first", head_share: float = 0.5
) -> Kept:
    """How much of each pair stays so that both texts together have at most `budget` tokens.

    lengths_a, lengths_b: (pairs,), tokens of each text without special tokens; 0 where there is no text.
    budget: tokens for both texts of a pair.
    strategy: all cut only pairs that are too long, and share the budget so that a side that needs less than half
        of it keeps everything and leaves the rest to the other.
        "longest_first": tokens are taken one by one from the end of whichever text is longer, as in Hugging Face
        tokenizers; of an odd budget the longer text gets the last token, the second text when both are equally long.
        "balanced": half of the budget each, and what one side leaves unused goes to the other; of an odd budget the
        first text gets the last token. Taking from the longer side ends at the same lengths but for that token.
        "head_tail": lengths as in "balanced", but a side that is cut keeps its head and its tail and loses its middle.
        "matching": lengths as in "balanced", but a side that is cut keeps the sentences that share most with the other
        text (see `matching_tokens`); a single text, which has no other, keeps its head.
    head_share: share of an over-long text that "head_tail" keeps from the head.
    Returns Kept. Raises ValueError for an unknown strategy, a budget under 0 or a share outside 0 to 1.
    Source: huggingface/tokenizers, TruncationStrategy::LongestFirst; Sun et al. 2019, How to Fine-Tune BERT for Text
    Classification, section 5.3.1 (head+tail).
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown truncation strategy {strategy!r}: expected one of {', '.join(STRATEGIES)}")
    if budget < 0:
        raise ValueError(f"no room for text: {budget} tokens are left for it, so max_length must be larger")
    if not 0 <= head_share <= 1:
        raise ValueError(f"head_share is {head_share}: expected a share from 0 to 1")
    a, b = np.asarray(lengths_a, dtype=np.int64), np.asarray(lengths_b, dtype=np.int64)
    smaller, larger = budget // 2, budget - budget // 2
    half_a = np.where(a > b, larger, smaller) if strategy == "longest_first" else np.full_like(a, larger)
    keep_a = np.minimum(a, np.maximum(half_a, budget - b))
    keep_b = np.minimum(b, budget - keep_a)
    if strategy != "head_tail":
        none = np.zeros_like(a)
        return Kept(keep_a, none, keep_b, none.copy())
    head_a, head_b = (
        np.where(keep < size, np.round(keep * head_share).astype(np.int64), keep)
        for keep, size in ((keep_a, a), (keep_b, b))
    )
    return Kept(head_a, keep_a - head_a, head_b, keep_b - head_b)


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast | WholeWordTokenizer,
    sources: Sequence[str],
    targets: Sequence[str],
    max_length: int,
    strategy: str = "longest_first",
    head_share: float = 0.5,
    count: TruncationCount | None = None,
) -> dict[str, list[np.ndarray]]:
    """Pairs of texts as model inputs with the tokenizer's own special tokens, each pair at most `max_length` long.

    tokenizer: a fast tokenizer, or a WholeWordTokenizer or WordLevelTokenizer around one.
    sources, targets: the two texts of each pair. max_length: tokens of a pair with its special tokens.
    strategy, head_share: see `truncate_pairs`.
    count: where to count what is cut, for a caller that encodes in batches and says it once (`count.log()`); without
        one it is said here, in one line of the log.
    Returns input_ids and, when the tokenizer gives the second text another type, token_type_ids: one int64 (tokens,) a
    pair, not padded. Raises ValueError for lists of different lengths or a max_length without room.
    """
    if len(sources) != len(targets):
        raise ValueError(f"{len(sources)} sources but {len(targets)} targets: expected one target a source")
    return _encode(tokenizer, sources, targets, max_length, strategy, head_share, count)


def encode_texts(
    tokenizer: PreTrainedTokenizerFast | WholeWordTokenizer,
    texts: Sequence[str],
    max_length: int,
    strategy: str = "longest_first",
    head_share: float = 0.5,
    count: TruncationCount | None = None,
) -> dict[str, list[np.ndarray]]:
    """Single texts as model inputs, each at most `max_length` long; otherwise as `encode_pairs`, and without types."""
    return _encode(tokenizer, texts, None, max_length, strategy, head_share, count)


def _encode(tokenizer, sources, targets, max_length, strategy, head_share, count) -> dict[str, list[np.ndarray]]:
    whole_word = isinstance(tokenizer, WholeWordTokenizer)
    special = tokenizer.special_tokens if whole_word else SpecialTokens.of(tokenizer)
    paired = targets is not None
    around = special.pair if paired else (*special.single, np.zeros(0, np.int64))
    budget = max_length - sum(map(len, around))
    if budget < 1:
        raise ValueError(f"max_length={max_length} leaves no room for text beside {max_length - budget} special tokens")
    texts = [*sources, *(targets if paired else ())]
    ids, lengths = tokenizer.piece_ids(texts) if whole_word else piece_ids_of(tokenizer, texts)
    rows = len(sources)
    a, b = lengths[:rows], lengths[rows:] if paired else np.zeros_like(lengths)
    kept = truncate_pairs(a, b, budget, strategy, head_share)

    said = TruncationCount() if count is None else count
    remaining = np.concatenate((kept.head_a + kept.tail_a, kept.head_b + kept.tail_b))[: len(lengths)]
    said.add(lengths, remaining)
    if count is None:
        said.log("pairs" if paired else "texts")
    if strategy == "matching" and paired and (remaining < lengths).any():
        plain_tokenizer = tokenizer.tokenizer if whole_word else tokenizer
        special_ids = np.array(plain_tokenizer.all_special_ids)
        ids = ids[matching_tokens(ids, lengths, remaining, sentence_ends(plain_tokenizer), special_ids)]
        lengths, a, b = remaining, kept.head_a, kept.head_b

    # Every row is seven slices of one array: before, head and tail of a, between, head and tail of b, after.
    starts = starts_of(lengths) + sum(map(len, around))
    start_a, start_b = starts[:rows], starts[rows:] if paired else np.zeros_like(a)
    parts = np.empty((rows, 7, 2), dtype=np.int64)
    parts[:, (0, 3, 6), 0] = starts_of(np.array([len(part) for part in around]))
    parts[:, (0, 3, 6), 1] = [len(part) for part in around]
    parts[:, 1], parts[:, 2] = _pair(start_a, kept.head_a), _pair(start_a + a - kept.tail_a, kept.tail_a)
    parts[:, 4], parts[:, 5] = _pair(start_b, kept.head_b), _pair(start_b + b - kept.tail_b, kept.tail_b)
    chosen = slices(parts[:, :, 0].ravel(), parts[:, :, 1].ravel())
    total = parts[:, :, 1].sum(axis=1)
    out = {"input_ids": split(np.concatenate((*around, ids))[chosen], total)}
    if paired and special.uses_types:
        type_a, type_b = special.text_types
        tokens_a = int(a.sum())
        types = (*special.pair_types, np.full(tokens_a, type_a), np.full(len(ids) - tokens_a, type_b))
        out["token_type_ids"] = split(np.concatenate(types)[chosen], total)
    return out


def _pair(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.stack((starts, lengths), axis=1)
