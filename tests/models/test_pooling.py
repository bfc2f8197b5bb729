"""Every pooling equals a loop over the tokens of each text."""

import math

import pytest
import torch

from models.pooling import Pooling

HIDDEN = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 1, 0, 0, 0], [2, 2, 7, 0, 0]])
MASK = (IDS > 0).long()
IDF = torch.tensor([9.0, 1.0, 0.5, 2.0, 0.0, 1.5, 0.0, 3.0])


def naive(kind: str, row: int, pooling: Pooling) -> list[float]:
    tokens = [HIDDEN[row, place].tolist() for place in range(5) if MASK[row, place]]
    if kind == "cls":
        return tokens[0]
    if kind == "max":
        return [max(token[feature] for token in tokens) for feature in range(4)]
    weights = [1.0] * len(tokens)
    if kind == "idf":
        weights = [IDF[IDS[row, place]].item() for place in range(len(tokens))]
    if kind == "attention":
        weights = [math.exp(pooling.attention(torch.tensor(token)).item()) for token in tokens]
    total = sum(weights)
    return [sum(w * token[feature] for w, token in zip(weights, tokens, strict=True)) / total for feature in range(4)]


@pytest.mark.parametrize("kind", ["cls", "mean", "max", "attention", "idf"])
def test_pooling_is_a_loop_over_tokens(kind: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(kind, 4, vocab_size=8)
    if kind == "idf":
        pooling.set_idf(IDF)
    hidden = HIDDEN.masked_fill(MASK[..., None] == 0, torch.nan if kind in ("mean", "idf") else 1e4)
    pooled = pooling(hidden, MASK, IDS)
    for row in range(3):
        torch.testing.assert_close(pooled[row], torch.tensor(naive(kind, row, pooling)))
    assert pooled.shape == (3, pooling.output_size)


def test_last_four_puts_the_first_tokens_of_four_layers_side_by_side() -> None:
    layers = tuple(torch.full((2, 3, 4), float(number)) for number in range(7))
    pooling = Pooling("last_four", 4)
    pooled = pooling(layers[-1], torch.ones(2, 3), hidden_states=layers)
    assert pooled.shape == (2, pooling.output_size) and pooled[0, ::4].tolist() == [3.0, 4.0, 5.0, 6.0]
    with pytest.raises(ValueError, match="at least four layers, got 3"):
        pooling(layers[-1], torch.ones(2, 3), hidden_states=layers[:4])


@pytest.mark.parametrize("kind", ["mean", "max", "attention", "idf"])
def test_a_text_without_tokens_pools_to_zeros_and_passes_no_gradient_of_nan(kind: str) -> None:
    hidden = HIDDEN.clone().requires_grad_()
    pooled = Pooling(kind, 4, vocab_size=8)(hidden, torch.zeros(3, 5), IDS)
    pooled.sum().backward()
    assert not pooled.any() and hidden.grad.isfinite().all()


def test_words_that_all_weigh_nothing_pool_to_their_mean() -> None:
    pooling = Pooling("idf", 4, vocab_size=8)
    pooling.set_idf(torch.zeros(8))
    torch.testing.assert_close(pooling(HIDDEN, MASK, IDS), Pooling("mean", 4)(HIDDEN, MASK))


def test_idf_travels_with_the_weights_and_bad_idf_is_refused() -> None:
    first, second = Pooling("idf", 4, vocab_size=8), Pooling("idf", 4, vocab_size=8)
    first.set_idf(IDF)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.token_idf, IDF)
    for bad in (IDF[:7], -IDF, IDF / 0):
        with pytest.raises(ValueError, match="8 finite values"):
            first.set_idf(bad)
    with pytest.raises(ValueError, match="mean pooling has no idf"):
        Pooling("mean", 4).set_idf(IDF)
    with pytest.raises(ValueError, match="unknown pooling 'min'"):
        Pooling("min", 4)
