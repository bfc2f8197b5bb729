"""Conditional layer norms follow their formula, start as plain ones, fit every encoder and leak to nobody."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

from models.conditional_layer_norm import ConditionalLayerNorm, condition_layer_norms, conditioned
from models.encoders import encoder_from_config, load_encoder
from tests.models.families import CONFIGS

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def shaken(module: nn.Module) -> nn.Module:
    """Give the condition projections, which start at zero, something to say."""
    for name, parameter in module.named_parameters():
        if "condition_" in name:
            nn.init.normal_(parameter, std=0.3)
    return module


def conditioned_bert() -> nn.Module:
    torch.manual_seed(0)
    encoder = encoder_from_config(copy.deepcopy(CONFIGS["bert"]))
    condition_layer_norms(encoder, 3)
    return shaken(encoder).eval()


@pytest.mark.parametrize("device", DEVICES)
def test_forward_is_the_formula(device: str) -> None:
    torch.manual_seed(0)
    norm = shaken(ConditionalLayerNorm(7, 3, eps=1e-5)).double().to(device)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 7, dtype=torch.float64, device=device, requires_grad=True)
    condition = torch.randn(2, 3, dtype=torch.float64, device=device, requires_grad=True)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    gain = norm.weight + condition @ norm.condition_gain.T
    shift = norm.bias + condition @ norm.condition_shift.T
    expected = (x - mean) / torch.sqrt(variance + 1e-5) * gain[:, None] + shift[:, None]
    torch.testing.assert_close(norm(x, condition), expected, atol=1e-12, rtol=1e-12)
    inputs = (x, condition, *norm.parameters())
    upstream = torch.randn_like(expected)
    ours = torch.autograd.grad(norm(x, condition), inputs, upstream)
    for own, reference in zip(ours, torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(own, reference, atol=1e-11, rtol=1e-11)


def test_a_fresh_one_is_the_plain_layer_norm() -> None:
    plain, own = nn.LayerNorm(7, eps=1e-5), ConditionalLayerNorm(7, 3, eps=1e-5)
    own.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 5, 7)
    torch.testing.assert_close(own(x, torch.randn(2, 3)), plain(x))


def test_every_family_keeps_its_weights_and_starts_where_it_was(checkpoint, texts: dict) -> None:
    encoder = load_encoder(checkpoint)
    before, plain = encoder(**texts).last_hidden_state, dict(encoder.state_dict())
    norms = sum(isinstance(module, nn.LayerNorm) for module in encoder.modules())
    replaced = condition_layer_norms(encoder, 3)
    # DeBERTa's norm of its relative positions belongs to no row of the batch and stays plain.
    assert replaced == norms - (encoder.config.model_type == "deberta-v2") > 0
    for name, value in plain.items():
        assert torch.equal(encoder.state_dict()[name], value), name
    condition = torch.randn(3, 3, requires_grad=True)
    with conditioned(condition):
        torch.testing.assert_close(encoder(**texts).last_hidden_state, before)
    shaken(encoder)
    with conditioned(condition):
        after = encoder(**texts).last_hidden_state
    assert not torch.allclose(after, before, atol=1e-3)
    after.square().sum().backward()
    assert (condition.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("through", ["reentrant", "non-reentrant"])
@pytest.mark.parametrize("family", [name for name in CONFIGS if name != "albert"])
def test_checkpointed_layers_recompute_under_the_same_condition(family: str, through: str, texts: dict) -> None:
    if family == "deberta-v2" and through == "reentrant":
        pytest.skip("DeBERTa's layers share their relative positions, which reentrant checkpointing cannot do")
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    encoder = encoder_from_config(config).train()
    condition_layer_norms(encoder, 3)
    shaken(encoder)
    condition, gradients = torch.randn(3, 3, requires_grad=True), []
    for checkpointing in (False, True):
        if checkpointing:
            encoder.gradient_checkpointing_enable({"use_reentrant": through == "reentrant"})
        encoder.zero_grad()
        condition.grad = None
        with conditioned(condition):
            loss = encoder(**texts).last_hidden_state.square().sum()
        # Another condition is in force, in another thread, when the layers are computed again.
        with conditioned(torch.full((3, 3), 9.0)):
            thread = threading.Thread(target=loss.backward)
            thread.start()
            thread.join()
        gradients.append([condition.grad] + [p.grad for n, p in encoder.named_parameters() if "condition_" in n])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-5, rtol=1e-4)


def test_nested_calls_and_errors_restore_the_condition_of_the_outer_call(texts: dict) -> None:
    encoder = conditioned_bert()
    one, two = torch.randn(3, 3), torch.randn(3, 3)
    with conditioned(one):
        expected = encoder(**texts).last_hidden_state
        with conditioned(two):
            inner = encoder(**texts).last_hidden_state
        with pytest.raises(KeyError), conditioned(two):
            raise KeyError
        torch.testing.assert_close(encoder(**texts).last_hidden_state, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(inner, expected, atol=1e-3)
    with pytest.raises(RuntimeError, match="with conditioned"):
        encoder(**texts)


def test_threads_do_not_see_each_others_condition(texts: dict) -> None:
    encoder = conditioned_bert()
    conditions = [torch.full((3, 3), float(number)) for number in range(4)]
    with torch.no_grad():
        expected = []
        for condition in conditions:
            with conditioned(condition):
                expected.append(encoder(**texts).last_hidden_state)
        barrier, results, unconditioned = threading.Barrier(5), [None] * 4, []

        def work(number: int) -> None:
            with torch.no_grad(), conditioned(conditions[number]):
                barrier.wait()
                results[number] = encoder(**texts).last_hidden_state
                barrier.wait()

        def outsider() -> None:
            barrier.wait()
            try:
                encoder(**texts)
            except RuntimeError as error:
                unconditioned.append(error)
            barrier.wait()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        threads.append(threading.Thread(target=outsider))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-5)
    assert len(unconditioned) == 1


def test_copies_and_pickles_stand_for_themselves() -> None:
    encoder = conditioned_bert()
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        twin.gradient_checkpointing_enable()
        assert twin.is_gradient_checkpointing and not encoder.is_gradient_checkpointing


def test_misuse_is_named(texts: dict) -> None:
    encoder = conditioned_bert()
    with pytest.raises(ValueError, match="already"):
        condition_layer_norms(encoder, 3)
    with pytest.raises(ValueError, match=r"\(3, 3\)"), conditioned(torch.zeros(3, 4)):
        encoder(**texts)
    with pytest.raises(ValueError, match=r"\(3, 3\)"), conditioned(torch.zeros(1, 3)):
        encoder(**texts)
    settings = {"model_type": "recurrent", "vocab_size": 9, "layer_norm": False}
    with pytest.raises(ValueError, match="no layer norm"):
        condition_layer_norms(encoder_from_config(settings), 3)
