"""Every optimizer takes, step by step and with weight decay, the steps of its source's algorithm in numpy's float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from common.training.arguments import TrainingConfig
from common.training.optimizers import build_optimizer
from common.training.tricks import OptimizerConfig

Step = Callable[[np.ndarray, np.ndarray, int, float, float], np.ndarray]  # weight, gradient, t from 1, rate, decay
STEPS, DECAY, BETAS = 9, 0.2, (0.9, 0.999)
random = np.random.default_rng(4)
START = random.normal(size=(2, 3))
# Gradients that grow and shrink, so that some of Adafactor's updates are clipped and others are not.
GRADIENTS = random.normal(size=(STEPS, 2, 3)) * np.array([1, 1, 8, 0.5, 0.2, 3, 0.1, 1, 5])[:, None, None]
RATES = 0.1 * np.linspace(1.0, 0.2, STEPS)  # as a schedule changes them


def adamw(betas: tuple[float, float] = BETAS) -> Step:
    """Loshchilov and Hutter 2019, algorithm 2, where decay is multiplied by the rate, as in everyone's AdamW."""
    first = second = 0.0

    def step(weight, gradient, t, rate, decay):
        nonlocal first, second
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        way = first / (1 - betas[0] ** t) / (np.sqrt(second / (1 - betas[1] ** t)) + 1e-8)
        return weight - rate * (way + decay * weight)

    return step


def lamb(betas: tuple[float, float] = BETAS) -> Step:
    """You et al. 2020, algorithm 2."""
    first = second = 0.0

    def step(weight, gradient, t, rate, decay):
        nonlocal first, second
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        way = first / (1 - betas[0] ** t) / (np.sqrt(second / (1 - betas[1] ** t)) + 1e-6) + decay * weight
        return weight - rate * np.linalg.norm(weight) / np.linalg.norm(way) * way

    return step


def radam(betas: tuple[float, float] = BETAS) -> Step:
    """Liu et al. 2020, algorithm 2, rectified from a length of 5 on, with AdamW's decay."""
    first = second = 0.0

    def step(weight, gradient, t, rate, decay):
        nonlocal first, second
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        way = first / (1 - betas[0] ** t)
        longest = 2 / (1 - betas[1]) - 1
        length = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        if length >= 5:
            known = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            way = way * np.sqrt(known) * np.sqrt(1 - betas[1] ** t) / (np.sqrt(second) + 1e-8)
        return weight - rate * (way + decay * weight)

    return step


def adafactor(betas: tuple[float, float] = BETAS, clipped: list[bool] | None = None) -> Step:
    """Shazeer and Stern 2018, algorithms 4 (a matrix) and 5 (a vector), with a given rate and AdamW's decay.

    clipped: takes in, step by step, whether the update was clipped.
    """
    rows = columns = whole = 0.0

    def step(weight, gradient, t, rate, decay):
        nonlocal rows, columns, whole
        kept = min(1 - t**-0.8, betas[1])
        square = gradient**2 + 1e-30
        if gradient.ndim == 2:
            rows = kept * rows + (1 - kept) * square.sum(1)
            columns = kept * columns + (1 - kept) * square.sum(0)
            moment = np.outer(rows, columns) / rows.sum()
        else:
            moment = whole = kept * whole + (1 - kept) * square
        way = gradient / np.sqrt(moment)
        size = np.sqrt((way**2).mean())
        if clipped is not None:
            clipped.append(bool(size > 1))
        return weight - rate * (way / max(1.0, size) + decay * weight)

    return step


def by_hand(step: Step, start: np.ndarray, gradients: np.ndarray, decay: float) -> list[np.ndarray]:
    """The weight after each step."""
    weights = [start]
    for t, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), start=1):
        weights.append(step(weights[-1], gradient, t, rate, decay))
    return weights[1:]


def by_optimizer(start: np.ndarray, gradients: np.ndarray, decay: float, betas=BETAS, **settings) -> list[np.ndarray]:
    weight, found = nn.Parameter(torch.tensor(start)), []
    config = TrainingConfig(optimizer=OptimizerConfig(**settings), betas=list(betas))
    optimizer = build_optimizer([{"params": [weight], "lr": RATES[0], "weight_decay": decay}], config)
    for gradient, rate in zip(gradients, RATES, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        found.append(weight.detach().numpy().copy())
    return found


ALGORITHMS = {"adamw": adamw, "lamb": lamb, "radam": radam, "adafactor": adafactor}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("betas", [BETAS, (0.8, 0.9), (0.7, 0.6)])
def test_a_matrix_takes_the_steps_of_the_algorithm(name, decay, betas):
    found = by_optimizer(START, GRADIENTS, decay, betas, name=name)
    expected = by_hand(ALGORITHMS[name](betas), START, GRADIENTS, decay)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_vector_takes_the_steps_of_the_algorithm(name):
    found = by_optimizer(START[0], GRADIENTS[:, 0], DECAY, name=name)
    expected = by_hand(ALGORITHMS[name](), START[0], GRADIENTS[:, 0], DECAY)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_steps_above_clip_some_of_adafactors_updates_and_not_others():
    clipped: list[bool] = []
    by_hand(adafactor(clipped=clipped), START, GRADIENTS, DECAY)
    assert 2 <= sum(clipped) <= STEPS - 2


def test_the_steps_above_have_radams_momentum_alone_first_and_its_variance_later():
    # A length of t nearly, to which 0.999 shortens it: below 5 up to the fifth step, above from the sixth on.
    found, plain = by_optimizer(START, GRADIENTS, 0.0, name="radam"), START
    first = 0.0
    for t in range(1, 6):
        first = 0.9 * first + 0.1 * GRADIENTS[t - 1]
        plain = plain - RATES[t - 1] * first / (1 - 0.9**t)
        np.testing.assert_allclose(found[t - 1], plain, atol=1e-12)
    first = 0.9 * first + 0.1 * GRADIENTS[5]
    assert np.abs(found[5] - (plain - RATES[5] * first / (1 - 0.9**6))).max() > 1e-3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_lookahead_goes_on_from_the_slow_weights_and_keeps_the_inner_moments(name):
    """Zhang et al. 2019, algorithm 1, over two pulls and one step more."""
    every, share, inner = 4, 0.3, ALGORITHMS[name]()
    slow = fast = START
    expected = []
    for t, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        fast = inner(fast, gradient, t, rate, DECAY)
        if t % every == 0:
            slow = fast = slow + share * (fast - slow)
        expected.append(fast)
    found = by_optimizer(START, GRADIENTS, DECAY, name=name, lookahead=every, lookahead_alpha=share)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
