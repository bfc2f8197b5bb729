"""Fresh layers, mixout and unfreezing touch what they say and nothing else; noise has the size it says."""

import pytest
import torch

from common.config import ConfigError
from common.training.layers import Unfreezing, add_mixout, mixout, reinitialise
from common.training.noise import add_noise, embedding_noise, encoder_layers, hidden_noise
from common.training.tricks import NoiseConfig
from tests.common.training.test_losses import batch
from tests.common.training.tiny import states, tagger


def test_the_layers_are_found_from_the_lowest_to_the_top():
    model = tagger("bert")
    assert encoder_layers(model) == list(model.encoder.encoder.layer)
    with pytest.raises(ConfigError, match="an encoder with a stack of layers"):
        encoder_layers(tagger())


def test_only_the_top_layers_start_anew():
    model = tagger("bert")
    for value in model.parameters():
        value.data.fill_(0.3)
    reinitialise(model, 2)
    for name, value in model.named_parameters():
        fresh = "layer.1." in name or "layer.2." in name
        assert (value == 0.3).all() == (not fresh), name
        if fresh and "dense.weight" in name:
            assert float(value.std()) == pytest.approx(model.config.encoder.initializer_range, rel=0.3)


def test_mixout_is_its_formula_and_keeps_the_mean():
    torch.manual_seed(0)
    weight, anchor = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    mask = torch.rand(4, 5) < 0.3
    expected = (mask * anchor + ~mask * weight - 0.3 * anchor) / 0.7
    assert torch.allclose(mixout(weight, anchor, mask, 0.3), expected)
    masks = torch.rand(20_000, 4, 5) < 0.3
    assert torch.allclose(mixout(weight, anchor, masks, 0.3).mean(0), weight, atol=0.05)


def test_mixout_changes_neither_evaluation_nor_what_is_saved():
    model, rows = tagger("bert"), batch()
    names, plain = list(states(model)), model.eval()(**rows).logits
    add_mixout(model, 0.5)
    assert list(states(model)) == names and torch.equal(model(**rows).logits, plain)
    for value in model.parameters():
        value.data.mul_(1.5)
    model.train()
    assert not torch.equal(model(**rows).logits, model(**rows).logits)


def test_layers_thaw_from_the_top_down():
    model = tagger("bert")  # the head, three layers and the embeddings
    unfreezing = Unfreezing(model, 0.8)
    names = {id(value): name for name, value in model.named_parameters()}

    def frozen(progress: float) -> set[str]:
        return {names[id(value)].split("layer.")[-1][:2] if "layer." in names[id(value)] else "embeddings"
                for value in unfreezing.frozen(progress)}  # fmt: skip

    assert frozen(0.0) == {"embeddings", "0.", "1.", "2."} and frozen(0.2) == {"embeddings", "0.", "1."}
    assert frozen(0.4) == {"embeddings", "0."} and frozen(0.6) == {"embeddings"} and frozen(0.8) == set()
    model(**batch()).loss.backward()
    unfreezing.drop_gradients(0.2)
    assert model.classifier.weight.grad is not None and model.encoder.embeddings.word_embeddings.weight.grad is None
    assert model.encoder.encoder.layer[2].output.dense.weight.grad is not None


def test_noise_has_the_size_that_its_paper_gives():
    torch.manual_seed(0)
    noise = embedding_noise(torch.zeros(20, 50, 32), 5.0)
    bound = 5.0 / (50 * 32) ** 0.5
    assert bound * 0.999 < float(noise.abs().max()) <= bound and abs(float(noise.mean())) < 0.01 * bound
    assert float(hidden_noise(torch.zeros(1000, 100), 0.01, "normal").std()) == pytest.approx(0.01, rel=0.02)
    uniform = hidden_noise(torch.zeros(1000, 100), 0.01, "uniform")
    assert 0.00999 < float(uniform.abs().max()) <= 0.01


@pytest.mark.parametrize("config", [NoiseConfig(neftune=5.0), NoiseConfig(hype=0.1)])
def test_there_is_noise_in_training_only(config):
    model, rows = tagger("bert", dropout=0.0), batch()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = model(**rows).logits
    hooks = add_noise(model, config)
    assert not torch.equal(model(**rows).logits, plain)
    assert torch.equal(model.eval()(**rows).logits, model(**rows).logits)
    for hook in hooks:
        hook.remove()
    assert torch.allclose(model.train()(**rows).logits, plain, atol=1e-6)
