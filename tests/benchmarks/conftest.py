"""Small public data sets and a tiny encoder, for all benchmarks."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from common.text.vocabulary import character_tokenizer
from tests.benchmarks.sets import BAD, GOOD, NAMES, PLACES, write_all


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder, saved with a tokenizer and without dropout."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = character_tokenizer([PLACES + GOOD + BAD + "".join(NAMES) + "。"], 1)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
