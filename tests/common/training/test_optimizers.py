"""Every parameter has one learning rate, by part and by depth, and decay where it belongs."""

import pytest
from torch import nn

from common.training.arguments import TrainingConfig
from common.training.optimizers import parameter_groups
from tests.common.training.tiny import tagger

CONFIG = TrainingConfig(
    learning_rate=1e-5, recurrent_learning_rate=2e-3, head_learning_rate=3e-3, weight_decay=0.05, layer_decay=0.5
)


def settings_of(model: nn.Module, config: TrainingConfig) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter; fails when one is in two groups or in none."""
    names = {id(value): name for name, value in model.named_parameters() if value.requires_grad}
    found: dict[str, tuple[float, float]] = {}
    for group in parameter_groups(model, config, model.part_of):
        for value in group["params"]:
            assert names[id(value)] not in found
            found[names[id(value)]] = group["lr"], group["weight_decay"]
    assert set(found) == set(names.values())
    return found


@pytest.mark.parametrize("kind", ["bert", "recurrent"])
@pytest.mark.parametrize("head", ["crf", "softmax"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_each_parameter_is_in_one_group(kind, head, decay):
    model = tagger(kind, head=head, recurrent_size=8, layer_norm=True)
    config = TrainingConfig(layer_decay=decay)
    found = settings_of(model, config)
    assert len(found) > 10
    groups = parameter_groups(model, config, model.part_of)
    assert len({(group["lr"], group["weight_decay"]) for group in groups}) == len(groups)


def test_rates_fall_from_layer_to_layer_down_to_the_embeddings():
    found = settings_of(tagger("bert", recurrent_size=8, head="crf"), CONFIG)
    expected = {
        "encoder.embeddings.word_embeddings.weight": 1e-5 / 8,
        "encoder.embeddings.LayerNorm.weight": 1e-5 / 8,
        "encoder.encoder.layer.0.attention.self.query.weight": 1e-5 / 4,
        "encoder.encoder.layer.1.output.dense.bias": 1e-5 / 2,
        "encoder.encoder.layer.2.intermediate.dense.weight": 1e-5,
        "classifier.weight": 3e-3,
        "crf.transitions": 3e-3,
    }
    assert {name: found[name][0] for name in expected} == pytest.approx(expected)
    recurrent = {rate for name, (rate, _) in found.items() if name.startswith("recurrent.")}
    assert recurrent == {2e-3}


def test_without_layer_decay_all_layers_learn_alike():
    config = TrainingConfig(learning_rate=1e-5, head_learning_rate=3e-3)
    found = settings_of(tagger("bert"), config)
    assert {rate for name, (rate, _) in found.items() if name.startswith("encoder.")} == {1e-5}


def test_a_recurrent_encoder_learns_at_the_recurrent_rate_whatever_the_layer_decay():
    found = settings_of(tagger("recurrent"), CONFIG)
    assert {rate for name, (rate, _) in found.items() if name.startswith("encoder.")} == {2e-3}


@pytest.mark.parametrize("kind", ["bert", "recurrent"])
def test_biases_and_norms_are_not_decayed_and_matrices_are(kind):
    model = tagger(kind, recurrent_size=8, layer_norm=True)
    norms = {
        f"{name}.{part}" for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)
        for part in ("weight", "bias")
    }  # fmt: skip
    for name, (_, decay) in settings_of(model, CONFIG).items():
        assert decay == (0.0 if name in norms or "bias" in name else 0.05), name
    assert norms


def test_frozen_parameters_are_left_out():
    model = tagger("bert")
    model.get_input_embeddings().weight.requires_grad_(False)
    assert "encoder.embeddings.word_embeddings.weight" not in settings_of(model, CONFIG)
