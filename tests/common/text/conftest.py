"""Tiny tokenizers of every family that the kit meets, with vocabularies made here."""

import os

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    RoFormerTokenizer,
    XLMRobertaTokenizer,
)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALBERT_SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
XLM_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
HAN = "我来到北京清华大学今天气很好的人国中上海臺灣"
WORDS = ("北京", "大学", "清华大学", "今天", "天气", "1998", "19", "hello", "##lo", "##98", "##b", "##c", "##1")


def word_piece(cls: type, **settings) -> PreTrainedTokenizerFast:
    tokens = dict.fromkeys((*BERT_SPECIAL, *HAN, *"abcdefghijklmnopqrstuvwxyz0123456789，。！？-.", *WORDS))
    return cls(vocab={token: number for number, token in enumerate(tokens)}, **settings)


def unigram(cls: type, special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    pieces = [(name, 0.0) for name in special] + [("▁", -2.0)]
    pieces += [(piece, -3.0) for piece in (*HAN, *"abeh10", "，", "▁a", "北京", "▁北京", "1998", "ab", "▁hello", "lo")]
    return cls(vocab=pieces)


def byte_level(**settings) -> PreTrainedTokenizerFast:
    first, second, third = ByteLevel(add_prefix_space=False).pre_tokenize_str("北")[0][0]
    merges = [(first, second), (first + second, third), ("1", "9"), ("Ġ", "a")]
    tokens = (*XLM_SPECIAL, *sorted(ByteLevel.alphabet()), *("".join(merge) for merge in merges))
    return RobertaTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=merges, **settings)


FAMILIES = {
    "bert": lambda: word_piece(BertTokenizer),
    "bert-cased": lambda: word_piece(BertTokenizer, do_lower_case=False),
    "roformer": lambda: word_piece(RoFormerTokenizer),
    "albert": lambda: unigram(AlbertTokenizer, ALBERT_SPECIAL),
    "xlm-roberta": lambda: unigram(XLMRobertaTokenizer, XLM_SPECIAL),
    "deberta-v2": lambda: unigram(DebertaV2Tokenizer, BERT_SPECIAL),
    "byte-level": byte_level,
    "byte-level-prefix": lambda: byte_level(add_prefix_space=True),
    "byte-level-untrimmed": lambda: byte_level(trim_offsets=False),
}


@pytest.fixture(scope="session")
def bert() -> PreTrainedTokenizerFast:
    return FAMILIES["bert"]()


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make() for name, make in FAMILIES.items()}


@pytest.fixture(scope="session", params=FAMILIES)
def tokenizer(request, tokenizers) -> PreTrainedTokenizerFast:
    return tokenizers[request.param]
