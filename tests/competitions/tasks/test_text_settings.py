"""A member whose pretrained encoder is frozen: its layers are read by a BiLSTM, as a key of any member's settings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from common.config import ConfigError, typed
from common.text.vocabulary import character_tokenizer
from competitions.tasks.classification_members import ClassifierMember, ClassifierSettings
from models.encoders import load_encoder
from tests.competitions.tasks.test_classification import CLASSES, contest, texts

FROZEN = {"layers": 2, "hidden_size": 16, "recurrent_layers": 1}
TRAINING = {"epochs": 12, "batch_size": 8, "recurrent_learning_rate": 0.02, "head_learning_rate": 0.02,
            "keep": "last", "precision": "fp32"}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A BERT of two small layers with random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = character_tokenizer(texts(200)["text"], 1)
    config = AutoConfig.for_model("bert", vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                                  num_attention_heads=2, intermediate_size=32, max_position_embeddings=40)  # fmt: skip
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def member(**settings) -> ClassifierMember:
    own = typed(ClassifierSettings, {"max_length": 32, "pooling": "mean", "training": TRAINING, **settings})
    return ClassifierMember(own, CLASSES, False, False, 1, contest().judge)


def test_what_is_frozen_stays_the_bilstm_learns_and_comes_back(checkpoint: Path, tmp_path: Path) -> None:
    own, train, rows = member(encoder=str(checkpoint), frozen=FROZEN), texts(90), texts(45, seed=3)
    own.check()
    facts = own.fit(train, rows, (), tmp_path)
    assert facts["steps"] == 12 * 12
    before, after = load_encoder(checkpoint).state_dict(), own.model.encoder.encoder.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    found = own.scores(rows)[:, 0].argmax(axis=1)
    assert np.mean(np.array(CLASSES)[found] == rows["label"]) > 0.6, "three classes, each by one of four characters"
    again = member(encoder=str(checkpoint), frozen=FROZEN).restore(tmp_path)
    np.testing.assert_allclose(again.scores(rows), own.scores(rows), atol=1e-6)


def test_it_takes_a_pretrained_encoder_with_as_many_layers(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frozen is for a pretrained encoder"):
        member(frozen=FROZEN).check()
    own = member(encoder=str(checkpoint), frozen=FROZEN | {"layers": 3})
    own.fit_text(texts(9), (), tmp_path)
    with pytest.raises(ConfigError, match="layers=3 are more than the encoder has"):
        own.build_model()
    with pytest.raises(ConfigError, match=r"frozen\.layer': did you mean 'layers'"):
        member(frozen={"layer": 2})
