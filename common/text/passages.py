"""Which sentences of two long texts stay when not all of them fit: those that say what the other text says too."""

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.pieces import piece_ids_of
from common.text.ragged import split, starts_of
from common.text.shared_ngrams import shared_ngrams

SENTENCE_ENDS = tuple("。！？；…!?;\n")
LONGEST_SENTENCE = 64  # tokens; a longer one, or a text without any end of a sentence, is taken in pieces of this size
LONGEST_SHARED = 4  # of a shared n-gram, which weighs n - 1: what is equal by one token alone says nothing


def sentence_ends(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Ids of the tokens that end a sentence; int64, empty where the vocabulary has none (numbers in place of text)."""
    # As they are inside a text: at its beginning SentencePiece may know a mark by another piece.
    ids, lengths = piece_ids_of(tokenizer, ["a", *(f"a{mark}" for mark in SENTENCE_ENDS)])
    # A mark of several bytes is not looked for: the last of them ends other characters too.
    found = {int(pieces[-1]) for pieces in split(ids, lengths) if len(pieces) == lengths[0] + 1}
    return np.array(sorted(found - {tokenizer.unk_token_id}), dtype=np.int64)


def matching_tokens(
    ids: np.ndarray, lengths: np.ndarray, keep: np.ndarray, ends: np.ndarray, special: np.ndarray
) -> np.ndarray:
    """Which tokens stay of texts that must be cut: their first sentence, and the ones that share most with the other.

    ids: (tokens,) of the first text of every pair, then of the second of every pair. lengths, keep: (2 * pairs,), how
    many tokens each text has and may keep. ends: see `sentence_ends`. special: ids that are equal without meaning it.
    Returns bool (tokens,): `keep` of each text, or all of a shorter one, in whole sentences but for the last chosen.
    A sentence counts by the mean over its tokens of n - 1, for the longest n-gram around each that the other text has
    too. Two long texts of one event share a few sentences' worth of names and numbers, and rarely where both begin.
    """
    rows = len(lengths) // 2
    weights = _weights(ids, lengths, (keep < lengths).reshape(2, rows).any(axis=0), special)
    text, starts = np.repeat(np.arange(2 * rows), lengths), starts_of(lengths)
    first = np.arange(len(ids)) == starts[text]

    begins = first.copy()
    ended = np.isin(ids, ends)
    begins[1:] |= ended[:-1] & ~ended[1:]  # after the last of several marks, which are no sentences of their own
    begins |= _places(begins) % LONGEST_SENTENCE == 0
    sentence = np.cumsum(begins) - 1
    owner, sizes = text[begins], np.bincount(sentence)
    scores = np.where(first[begins], np.inf, np.bincount(sentence, weights) / sizes)

    # The best sentences of a text take its room, in this order and each as far as there is some left.
    ranked = np.lexsort((-scores, owner))
    room = np.empty_like(sizes)
    room[ranked] = keep[owner[ranked]] - (starts_of(sizes[ranked]) - starts[owner[ranked]])
    return _places(begins) < room[sentence]


def _weights(ids: np.ndarray, lengths: np.ndarray, cut: np.ndarray, special: np.ndarray) -> np.ndarray:
    """Of each token, how much it shares; 0 in pairs where nothing is cut. cut: (pairs,). Returns float64 (tokens,)."""
    rows, weights = len(cut), np.zeros(len(ids))
    texts, own = split(ids, lengths), split(weights, lengths)
    pairs = np.flatnonzero(cut).tolist()
    both = [np.concatenate((texts[row], texts[rows + row])) for row in pairs]
    sides = [np.repeat((0, 1), (lengths[row], lengths[rows + row])) for row in pairs]
    for row, found in zip(pairs, shared_ngrams(both, sides, special, LONGEST_SHARED), strict=True):
        shared = np.maximum(found - 1, 0)
        own[row][:], own[rows + row][:] = np.split(shared, [lengths[row]])
    return weights


def _places(begins: np.ndarray) -> np.ndarray:
    """How far each place is from the last one where something began. begins: bool (places,), the first is true."""
    places = np.arange(len(begins))
    return places - np.maximum.accumulate(np.where(begins, places, 0))
