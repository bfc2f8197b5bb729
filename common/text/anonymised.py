"""Tokenizers for anonymised text, in which every character or word is a number: `12_7_305`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.text.pieces import BATCH, piece_ids_of
from common.text.special_tokens import SPECIAL_TOKENS, special_ids_of, with_special_tokens


def anonymised_tokenizer(
    lines: Iterable[str | Sequence[str | int]], min_frequency: int = 1, separator: str = "_", size: int | None = None
) -> PreTrainedTokenizerFast:
    """Builds the vocabulary of an anonymised corpus and a tokenizer that every BERT-like model can use.

    lines: texts such as "12_7_305", or lists of ids. min_frequency: a rarer id becomes [UNK].
    separator: what stands between two ids of a text. size: at most this many entries, special tokens among them.
    Returns a tokenizer with [PAD] [UNK] [CLS] [SEP] [MASK] as 0 to 4 and then the ids, the most frequent first and
    equally frequent ones by value. `save_pretrained(folder)` writes tokenizer.json, which
    `PreTrainedTokenizerFast.from_pretrained` and `AutoTokenizer.from_pretrained` read.
    Raises ValueError for an empty separator, a size without room, or when no id is frequent enough.
    """
    if size is not None and size <= len(SPECIAL_TOKENS):
        raise ValueError(f"size={size} leaves no room for an id: expected more than {len(SPECIAL_TOKENS)}")
    kept = _ranked(lines, min_frequency, separator)[: None if size is None else size - len(SPECIAL_TOKENS)]
    return _tokenizer({token: number for number, token in enumerate((*SPECIAL_TOKENS, *kept))}, separator)


def rank_mapped_tokenizer(
    lines: Iterable[str | Sequence[str | int]],
    pretrained: PreTrainedTokenizerFast,
    order: Sequence[int] | None = None,
    min_frequency: int = 1,
    separator: str = "_",
) -> PreTrainedTokenizerFast:
    """A tokenizer that gives anonymised text the token ids of a pretrained vocabulary, so that its encoder can be used.

    The most frequent anonymised id gets the token that is most frequent in ordinary text, and so on: what is frequent
    keeps embeddings that were trained as frequent ones, and common words (的, ，) meet their like.

    lines, min_frequency, separator: as for `anonymised_tokenizer`.
    pretrained: tokenizer of the encoder, with padding, unknown, classifier, separator and mask tokens.
    order: token ids of the pretrained vocabulary, the most frequent first, as `frequency_order` counts them; None takes
        the order of ids, in which the kit's own vocabularies are by frequency and BERT's are not. [unused1] and the
        like, of which no text was ever trained, are passed over.
    Returns a tokenizer of as many entries as the pretrained vocabulary, special tokens where they are there. Ids that
    are left when the vocabulary is used up become [UNK]; entries that are left stay and stand for no text.
    Raises ValueError for an order with an unknown id or one twice, a pretrained vocabulary without those special
    tokens, and where `anonymised_tokenizer` does.
    Source: ten best of the DataGrand 2019 extraction contest, team dejavu (vocabulary mapping); its text is anonymised.
    """
    special = {
        name: getattr(pretrained, f"{attribute}_token_id")
        for name, attribute in zip(SPECIAL_TOKENS, ("pad", "unk", "cls", "sep", "mask"), strict=True)
    }
    if None in special.values():
        missing = ", ".join(name for name, number in special.items() if number is None)
        raise ValueError(f"the pretrained vocabulary has nothing that serves as {missing}: use a BERT-like one")
    size = max(pretrained.get_vocab().values()) + 1
    ids = np.arange(size) if order is None else np.asarray(order, dtype=np.int64)
    if len(np.unique(ids)) != len(ids) or (len(ids) and not 0 <= ids.min() <= ids.max() < size):
        raise ValueError(f"order: expected each id once, and none beyond the vocabulary of {size:,}")
    skipped = special_ids_of(pretrained)
    skipped[[number for token, number in pretrained.get_vocab().items() if is_unused(token)]] = True
    ids = ids[~skipped[ids]]
    vocabulary = special | dict(zip(_ranked(lines, min_frequency, separator), ids.tolist(), strict=False))
    # The encoder's embeddings must match in number, so every id that is left keeps an entry, named as no text is.
    left = sorted(set(range(size)).difference(vocabulary.values()))
    return _tokenizer(vocabulary | {f"[unused {number}]": number for number in left}, separator)


def is_unused(token: str) -> bool:
    """Whether a vocabulary only keeps this entry free, as BERT's does with [unused1] to [unused99]."""
    return token.startswith("[unused")


def frequency_order(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[int]:
    """Ids of a vocabulary, special tokens left out, by how often they occur in texts.

    texts: ordinary text, read once, never held. Returns every id, the most frequent first and equally frequent ones by
    id.
    """
    counts = np.zeros(len(special_ids_of(tokenizer)), dtype=np.int64)
    remaining = iter(texts)
    while chunk := list(islice(remaining, BATCH)):
        counts += np.bincount(piece_ids_of(tokenizer, chunk)[0], minlength=len(counts))
    counts[special_ids_of(tokenizer)] = -1
    order = np.argsort(-counts, kind="stable")
    return order[counts[order] >= 0].tolist()


def _ranked(lines: Iterable[str | Sequence[str | int]], min_frequency: int, separator: str) -> list[str]:
    """Ids that occur often enough, the most frequent first."""
    if not separator:
        raise ValueError("an empty separator cannot tell ids apart: expected what stands between two ids, such as '_'")
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.strip().split(separator) if isinstance(line, str) else map(str, line))
    for name in ("", *SPECIAL_TOKENS):
        counts.pop(name, None)
    kept = sorted((token for token, count in counts.items() if count >= min_frequency), key=lambda t: _order(t, counts))
    if not kept:
        raise ValueError(
            f"none of {len(counts):,} ids occurs {min_frequency} times: lower min_frequency, or check that ids are "
            f"separated by {separator!r}"
        )
    return kept


def _tokenizer(vocabulary: dict[str, int], separator: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    # White space is split off too, so that a line end or a stray blank is never part of an id.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(separator, behavior="removed")]
    )
    return with_special_tokens(tokenizer)


def _order(token: str, counts: Counter[str]) -> tuple:
    return -counts[token], not token.isdecimal(), int(token) if token.isdecimal() else 0, token
