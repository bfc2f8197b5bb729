"""Tiny taggers and synthetic rows whose tags follow from their tokens."""

import numpy as np
import torch
from datasets import Dataset
from transformers import BertConfig

from common.text.labels import LabelScheme
from common.training.arguments import TrainingConfig
from common.training.batching import Collator
from models.encoders import encoder_from_config
from models.taggers import Tagger

VOCABULARY = 30
SCHEME = LabelScheme(("a",), "BIO")


def tagger(kind: str = "recurrent", seed: int = 3, **settings) -> Tagger:
    """A random tagger with dropout, so that a run depends on the state of the random generators."""
    torch.manual_seed(seed)
    if kind == "bert":
        encoder = encoder_from_config(
            BertConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                       intermediate_size=20, max_position_embeddings=40)
        )  # fmt: skip
    else:
        sizes = {"vocab_size": VOCABULARY, "embedding_size": 6, "hidden_size": 8, "num_layers": 1}
        encoder = encoder_from_config({"model_type": "recurrent", **sizes})
    return Tagger.from_encoder(encoder, **({"head": "softmax", "dropout": 0.2} | settings))


def feature_rows(rows: int = 42, seed: int = 0) -> Dataset:
    """Texts of 2 to 9 tokens; a token above 20 is an entity of its own."""
    random = np.random.default_rng(seed)
    texts = [random.integers(5, VOCABULARY, length).tolist() for length in random.integers(2, 10, rows)]
    return Dataset.from_dict(
        {
            "input_ids": texts,
            "attention_mask": [[1] * len(text) for text in texts],
            "word_positions": [list(range(len(text))) for text in texts],
            "labels": [[int(token > 20) for token in text] for text in texts],
            "length": [len(text) for text in texts],
        }
    )


COLLATOR = Collator({"input_ids": 0, "attention_mask": 0, "word_positions": -1, "labels": -100})


def fast(**settings) -> TrainingConfig:
    """Settings under which the tiny taggers learn in a few steps, in float32 on any machine."""
    rates = {"learning_rate": 0.01, "recurrent_learning_rate": 0.02, "head_learning_rate": 0.02}
    return TrainingConfig(**({"epochs": 3, "batch_size": 8, "precision": "fp32"} | rates | settings))


def accuracy(model: torch.nn.Module, rows: Dataset) -> float:
    """Share of right tags."""
    batch = COLLATOR([{key: value for key, value in row.items() if key != "length"} for row in rows])
    labels = batch.pop("labels")
    device = next(model.parameters()).device
    found = model.probabilities(**{key: value.to(device) for key, value in batch.items()}).argmax(-1).cpu()
    return float((found == labels)[labels >= 0].float().mean())


def states(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's weights on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
