"""Beyond what probabilities hold the recursions run in log space, exactly, and in memory that length does not enter."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models import forward_backward
from tests.models.test_crf import RECURSIONS, batch, compute_by, constrained, enumerate_paths, twins


@pytest.mark.parametrize("scale", [60.0, 1e4])
def test_scores_too_far_apart_for_probabilities_have_torchcrfs_gradients(scale: float) -> None:
    emissions, gold, mask = batch(dtype=torch.float64)
    emissions = emissions * scale
    assert (emissions.amax(-1) - emissions.amin(-1)).amax() > forward_backward._SCALED_LIMIT
    results = []
    for crf in twins():
        inputs = emissions.clone().requires_grad_()
        loss = crf.double()(inputs, gold, mask)
        loss.backward()
        results.append([loss.detach(), inputs.grad, *(parameter.grad for parameter in crf.parameters())])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_scores_too_far_apart_for_probabilities_have_the_marginals_of_brute_force() -> None:
    crf, _ = constrained()
    emissions, _, mask = batch(size=3, length=5, tags=5, dtype=torch.float64)
    # The rivals of the best path stay near it: tags 0 and 1 differ little, the others are 400 nats away.
    emissions = emissions + torch.tensor([0.0, 0.0, -400.0, -400.0, -400.0])
    marginals, doubtful = crf.marginals(emissions, mask), 0
    for row, length in enumerate(mask.sum(1).tolist()):
        scores = enumerate_paths(crf, emissions[row, :length])
        chances = torch.stack(list(scores.values())).softmax(0)
        expected = torch.zeros(length, 5, dtype=torch.float64)
        for path, chance in zip(scores, chances, strict=True):
            expected[torch.arange(length), list(path)] += chance
        doubtful += int(((expected > 0.01) & (expected < 0.99)).sum())
        torch.testing.assert_close(marginals[row, :length], expected)
    assert doubtful > 5


@pytest.mark.parametrize("recursions", RECURSIONS[1:])
def test_memory_does_not_grow_with_length_times_squared_tags(recursions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute_by(recursions, monkeypatch)
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if isinstance(output, torch.Tensor):
                sizes.append(output.untyped_storage().nbytes())
            return output

    emissions, gold, _ = batch(size=3, length=40, tags=50)
    _, own = twins(50)
    with Sizes():
        own(emissions.requires_grad_(), gold).backward()
    batch_tags_tags = 3 * 50 * 50 * 8
    assert batch_tags_tags <= max(sizes) <= 2 * batch_tags_tags
