"""A BERT-style tokenizer whose vocabulary is made from a contest's own text, for encoders trained from scratch."""

import re
from collections import Counter
from collections.abc import Iterable
from string import ascii_lowercase, digits

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.text.segmentation import without_surrogates
from common.text.special_tokens import SPECIAL_TOKENS, with_special_tokens

RUN = re.compile("[a-z]+|[0-9]+")
MOST_RUNS = 1_000_000  # different runs that are kept while counting; web text has endless ids and addresses
LETTERS = ascii_lowercase + digits


def character_tokenizer(texts: Iterable[str], min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """Builds a vocabulary of characters, frequent Latin words and frequent numbers.

    texts: read once, never held. min_frequency: a rarer character becomes [UNK], a rarer word or number is spelt out.
    Every character is a token but for runs of Latin letters and runs of digits: a frequent run is one token, any other
    is spelt by its characters, `##` before all but the first. Case and character width are lost ("Ａ１" reads "a1"),
    accents are kept.
    Returns a tokenizer with [PAD] [UNK] [CLS] [SEP] [MASK] as 0 to 4, then what was counted, the most frequent first
    and equally frequent ones by code point, then the rest of the letters and digits. `save_pretrained(folder)` writes
    tokenizer.json, which `PreTrainedTokenizerFast.from_pretrained` and `AutoTokenizer.from_pretrained` read.
    Raises ValueError when no character or run is frequent enough.
    """
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False)])
    counts = _count(texts, normalizer)
    kept = sorted((token for token, count in counts.items() if count >= min_frequency), key=lambda t: (-counts[t], t))
    if not kept:
        raise ValueError(
            f"none of {len(counts):,} characters occurs {min_frequency} times: lower min_frequency or give more text"
        )
    spelling = [f"{mark}{letter}" for mark in ("", "##") for letter in LETTERS]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys((*SPECIAL_TOKENS, *kept, *spelling)))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizer
    # WordPiece makes a whole word unknown for one unknown character of it, so only runs that can be spelt stay whole.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex("[a-z]+|[0-9]+|."), behavior="isolated")]
    )
    return with_special_tokens(tokenizer)


def _count(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """How often each character outside runs, and each run, occurs."""
    characters: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for text in texts:
        try:
            normal = normalizer.normalize_str(text)
        except UnicodeEncodeError:
            normal = normalizer.normalize_str(without_surrogates(text))
        runs.update(RUN.findall(normal))
        characters.update("".join(RUN.sub("", normal).split()))
        if len(runs) > MOST_RUNS:
            runs = Counter({run: count for run, count in runs.items() if count > 1})
    return characters + runs
