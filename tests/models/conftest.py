"""Tiny encoders with random weights, and tensors that fit them."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM

from models.encoders import encoder_from_config
from tests.models.families import CONFIGS, VOCABULARY


@pytest.fixture(scope="session", params=list(CONFIGS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved masked language model of each family, random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    AutoModelForMaskedLM.from_config(CONFIGS[request.param]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved masked language model of BERT's family, random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    AutoModelForMaskedLM.from_config(CONFIGS["bert"]).save_pretrained(folder)
    return folder


@pytest.fixture(params=["bert", "recurrent"])
def encoder(request: pytest.FixtureRequest):
    """A random transformer, and a random BiLSTM."""
    torch.manual_seed(1)
    if request.param == "bert":
        return encoder_from_config(copy.deepcopy(CONFIGS["bert"])).eval()
    settings = {"model_type": "recurrent", "vocab_size": VOCABULARY, "embedding_size": 8, "hidden_size": 16}
    return encoder_from_config(settings | {"num_layers": 4}).eval()


@pytest.fixture
def texts() -> dict[str, torch.Tensor]:
    """Three texts of 9, 5 and 7 tokens, right-padded to 9."""
    ids = torch.randint(5, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(9) < torch.tensor([9, 5, 7])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.fixture
def tagged(texts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same texts as words: first and last token are special, the second word has two pieces."""
    positions = torch.tensor([[1, 2, 4, 5, 6, 7], [1, 2, -1, -1, -1, -1], [1, 2, 4, 5, -1, -1]])
    return texts | {"word_positions": positions}
