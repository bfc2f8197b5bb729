"""Focal and dice have a finite gradient, and the right one, where a probability is 1 or close to it."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from common.training import losses


@pytest.mark.parametrize("exponent", [0.0, 0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gold", [0, 1])
def test_gradients_are_finite_where_a_probability_rounds_to_one(exponent, dtype, gold):
    targets = F.one_hot(torch.tensor([gold]), 3).to(dtype)
    for loss in (partial(losses.focal, gamma=exponent), partial(losses.dice, alpha=exponent, smooth=1.0)):
        log_p = torch.tensor([[0.0, -200.0, -300.0]], dtype=dtype, requires_grad=True)
        value = loss(log_p, targets)
        (slope,) = torch.autograd.grad(value.sum(), log_p)
        assert slope.isfinite().all()
        # With certainty (1 - p)^exponent is 0, or 1 where the exponent is: the value is not moved to mend the slope.
        power = 1.0 * (exponent == 0)
        if loss.func is losses.focal:
            expected = 0.0 if gold == 0 else 200.0
        else:
            q = [power, 0.0, 0.0]
            y = targets[0].tolist()
            expected = sum(1 - (2 * q[k] * y[k] + 1) / (q[k] + y[k] + 1) for k in range(3)) / 3
        assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("exponent", [0.3, 0.9])
def test_roots_are_steep_but_right_near_certainty(exponent):
    logits = torch.tensor([[16.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    gold = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    for loss in (partial(losses.focal, gamma=exponent), partial(losses.dice, alpha=exponent, smooth=1.0)):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x.log_softmax(-1), gold), (logits,), eps=1e-5)
