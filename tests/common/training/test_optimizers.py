"""Every parameter has one learning rate, by part and by depth, and decay where it belongs."""

import pytest
import torch
from torch import nn

from common.training.arguments import TrainingConfig
from common.training.optimizers import build_optimizer, parameter_groups, rate_by_width
from common.training.tricks import OptimizerConfig
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


def test_without_a_rate_the_encoders_width_decides():
    assert rate_by_width(768) == 2e-5 and rate_by_width(8) == 1e-3
    assert rate_by_width(1024) < rate_by_width(768) < rate_by_width(384) == 8e-5 < rate_by_width(256)
    model = tagger("bert", head="crf")
    found = settings_of(model, TrainingConfig(layer_decay=1.0))
    assert found["encoder.embeddings.word_embeddings.weight"][0] == rate_by_width(model.config.encoder.hidden_size)


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


def descend(steps: int = 5, **settings) -> torch.Tensor:
    """A weight after steps of an optimizer on 0.5 * |w|^2 from (3, -4)."""
    weight = nn.Parameter(torch.tensor([[3.0, -4.0]], dtype=torch.float64))
    config = TrainingConfig(optimizer=OptimizerConfig(**settings) if settings else None)
    optimizer = build_optimizer([{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], config)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * weight.square().sum()).backward()
        optimizer.step()
    return weight.detach()


START = torch.tensor([[3.0, -4.0]], dtype=torch.float64)


def test_lookahead_goes_a_share_of_the_way_that_the_inner_optimizer_went():
    assert torch.allclose(descend(2, lookahead=3, lookahead_alpha=0.5), descend(2))
    assert torch.allclose(descend(3, lookahead=3, lookahead_alpha=0.25), START + 0.25 * (descend(3) - START), atol=1e-9)


def test_lamb_is_its_algorithm():
    # Adam's first step is the sign of the gradient; LAMB scales it to the norm of the weight, 5, times the rate.
    assert float((START - descend(1, name="lamb")).norm()) == pytest.approx(0.5, rel=1e-3)
    weight, first, second = START.numpy().copy(), 0.0, 0.0
    for step in range(1, 8):
        first, second = 0.9 * first + 0.1 * weight, 0.999 * second + 0.001 * weight**2
        way = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-6)
        weight = weight - 0.1 * (weight**2).sum() ** 0.5 * way / (way**2).sum() ** 0.5
    assert torch.allclose(descend(7, name="lamb"), torch.from_numpy(weight), atol=1e-9)


def test_radam_has_no_adaptive_rate_in_its_first_steps_and_is_torchs():
    # With few steps seen the variance is not used: the step is the corrected first moment, here the gradient, itself.
    assert torch.allclose(START - descend(1, name="radam"), 0.1 * START, atol=1e-6)
    weight = nn.Parameter(START.clone())
    optimizer = torch.optim.RAdam([weight], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (0.5 * weight.square().sum()).backward()
        optimizer.step()
    assert torch.allclose(descend(20, name="radam"), weight.detach(), atol=1e-6)


def test_adafactor_takes_the_given_rate_as_it_is():
    # At the first step the factored second moment of one row is its square: the update is the gradient's sign.
    assert torch.allclose(START - descend(1, name="adafactor"), 0.1 * START.sign(), atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lamb", "radam"])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_every_optimizer_descends(name, lookahead):
    assert float(descend(60, name=name, lookahead=lookahead).norm()) < 4.0
