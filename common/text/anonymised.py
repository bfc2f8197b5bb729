"""A tokenizer for anonymised text, in which every character or word is a number: `12_7_305`."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.text.special_tokens import SPECIAL_TOKENS, with_special_tokens


def anonymised_tokenizer(
    lines: Iterable[str | Sequence[str | int]], min_frequency: int = 1, separator: str = "_"
) -> PreTrainedTokenizerFast:
    """Builds the vocabulary of an anonymised corpus and a tokenizer that every BERT-like model can use.

    lines: texts such as "12_7_305", or lists of ids. min_frequency: a rarer id becomes [UNK].
    separator: what stands between two ids of a text.
    Returns a tokenizer with [PAD] [UNK] [CLS] [SEP] [MASK] as 0 to 4 and then the ids, the most frequent first and
    equally frequent ones by value. `save_pretrained(folder)` writes tokenizer.json, which
    `PreTrainedTokenizerFast.from_pretrained` and `AutoTokenizer.from_pretrained` read.
    Raises ValueError for an empty separator or when no id is frequent enough.
    """
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
    vocabulary = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *kept))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    # White space is split off too, so that a line end or a stray blank is never part of an id.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(separator, behavior="removed")]
    )
    return with_special_tokens(tokenizer)


def _order(token: str, counts: Counter[str]) -> tuple:
    return -counts[token], not token.isdecimal(), int(token) if token.isdecimal() else 0, token
