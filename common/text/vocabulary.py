"""A BERT-style tokenizer whose vocabulary is made from a contest's own text, for encoders trained from scratch."""

import re
from collections import Counter
from collections.abc import Iterable
from string import ascii_lowercase, digits

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from common.text.segmentation import without_surrogates
from common.text.special_tokens import SPECIAL_TOKENS, with_special_tokens

RUN = re.compile("[a-z]+|[0-9]+")
MOST_RUNS = 1_000_000  # different runs that are kept while counting; web text has endless ids and addresses
MOST_OCCURRENCES = 5_000_000  # of runs, that pieces are found from
LETTERS = ascii_lowercase + digits
SPELLING = [f"{mark}{letter}" for mark in ("", "##") for letter in LETTERS]


def character_tokenizer(
    texts: Iterable[str], min_frequency: int = 2, size: int | None = None
) -> PreTrainedTokenizerFast:
    """Builds a vocabulary of characters, frequent Latin words and frequent numbers.

    texts: read once, never held. min_frequency: a rarer character becomes [UNK], a rarer word or number is spelt out.
    size: with it, at most this many tokens: frequent characters, and in the room that they leave pieces of words and
        numbers that WordPiece training finds, so that rare ones are spelt by pieces; an encoder for any text wants
        this. Without it, every frequent word and number is a token, as a contest's own text wants.
    Every character is a token but for runs of Latin letters and runs of digits: a frequent run is one token, any other
    is spelt by its characters, `##` before all but the first. Case and character width are lost ("Ａ１" reads "a1"),
    accents are kept.
    Returns a tokenizer with [PAD] [UNK] [CLS] [SEP] [MASK] as 0 to 4, then what was counted, the most frequent first
    and equally frequent ones by code point (with a size, pieces after characters, as they were found), then the rest of
    the letters and digits. `save_pretrained(folder)` writes tokenizer.json, which
    `PreTrainedTokenizerFast.from_pretrained` and `AutoTokenizer.from_pretrained` read.
    Raises ValueError when no character or run is frequent enough, or when size leaves no room for one.
    """
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False)])
    counts = _count(texts, normalizer)
    kept = sorted((token for token, count in counts.items() if count >= min_frequency), key=lambda t: (-counts[t], t))
    if size is not None and kept:
        kept = _within(kept, counts, size - len(SPECIAL_TOKENS) - len(SPELLING))
    if not counts:
        raise ValueError("there is no text")
    if not kept:
        raise ValueError(
            f"none of {len(counts):,} characters occurs {min_frequency} times: lower min_frequency or give more text"
        )
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys((*SPECIAL_TOKENS, *kept, *SPELLING)))}
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
    most = MOST_RUNS
    for text in texts:
        try:
            normal = normalizer.normalize_str(text)
        except UnicodeEncodeError:
            normal = normalizer.normalize_str(without_surrogates(text))
        runs.update(RUN.findall(normal))
        characters.update("".join(RUN.sub("", normal).split()))
        if len(runs) > most:
            runs = Counter({run: count for run, count in runs.items() if count > 1})
            # Where most occur twice, a limit that stayed would have them all copied for every text.
            most = max(most, 2 * len(runs))
    return characters + runs


def _within(kept: list[str], counts: Counter[str], room: int) -> list[str]:
    """The most frequent characters, then as many pieces of runs as there is room for, the first found first."""
    if room < 1:
        raise ValueError(f"no room for a character: expected at least {len(SPELLING) + 6} tokens, say 8,000")
    characters = [token for token in kept if not RUN.fullmatch(token)][:room]
    room -= len(characters)
    # Rare runs too: what is common to many of them is a piece.
    runs = sorted(run for run in counts if len(run) > 1 and RUN.fullmatch(run))
    if not room or not runs:
        return characters
    trained = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Letters get their numbers first: which of two equally frequent pairs is joined depends on them.
    trainer = trainers.WordPieceTrainer(
        vocab_size=room + len(SPELLING), min_frequency=2, special_tokens=SPELLING, show_progress=False
    )
    # Only the ratio of counts matters, and the trainer reads every occurrence.
    scale = max(1, sum(counts[run] for run in runs) / MOST_OCCURRENCES)
    trained.train_from_iterator((f"{run} " * round(counts[run] / scale) for run in runs), trainer)
    found = trained.get_vocab()
    pieces = sorted(set(found).difference(SPELLING), key=found.get)
    return characters + pieces[:room]
