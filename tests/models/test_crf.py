"""The CRF is torchcrf's, never takes what is forbidden, and its marginals are those of enumerating every sequence."""

import sys
from itertools import product

import pytest
import torch
import torchcrf

from common.text.labels import LabelScheme
from models import forward_backward
from models.crf import CRF, average_crfs
from models.crf_kernels import MOST_TAGS, kernels

RECURSIONS = ["compiled", "scaled", "log-space"]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def batch(size: int = 5, length: int = 11, tags: int = 6, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(size * length)
    emissions = 2 * torch.randn(size, length, tags, generator=generator, dtype=dtype)
    gold = torch.randint(tags, (size, length), generator=generator)
    lengths = torch.randint(1, length + 1, (size,), generator=generator)
    lengths[0] = length
    return emissions, gold, torch.arange(length) < lengths[:, None]


def twins(tags: int = 6, batch_first: bool = True) -> tuple[torchcrf.CRF, CRF]:
    torch.manual_seed(0)
    reference, own = torchcrf.CRF(tags, batch_first), CRF(tags, batch_first)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter)
    own.load_state_dict(reference.state_dict())
    return reference, own


def constrained(types: tuple[str, ...] = ("a", "b"), scheme: str = "BIO") -> tuple[CRF, LabelScheme]:
    torch.manual_seed(0)
    labels = LabelScheme(types, scheme)
    crf = CRF(len(labels.tags), batch_first=True).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf.forbid(*(torch.from_numpy(~allowed) for allowed in labels.allowed())), labels


def compute_by(recursions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if recursions != "compiled":
        monkeypatch.setattr(forward_backward, "kernels", lambda: None)
    if recursions == "log-space":
        monkeypatch.setattr(forward_backward, "_SCALED_LIMIT", -1.0)


def enumerate_paths(crf: CRF, emissions: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Score of every permitted sequence of one text, emissions (length, tags)."""
    scores = {}
    for path in product(range(crf.num_tags), repeat=len(emissions)):
        permitted = crf.start_allowed[path[0]] and crf.end_allowed[path[-1]]
        score = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]] + emissions[0, path[0]]
        for step in range(1, len(path)):
            permitted = permitted and crf.transitions_allowed[path[step - 1], path[step]]
            score = score + crf.transitions[path[step - 1], path[step]] + emissions[step, path[step]]
        if permitted:
            scores[path] = score.detach()
    return scores


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "token_mean"])
def test_loss_and_gradients_are_torchcrfs(reduction: str, masked: bool, batch_first: bool, device: str) -> None:
    emissions, gold, mask = (tensor.to(device) for tensor in batch())
    if not batch_first:
        emissions, gold, mask = emissions.transpose(0, 1), gold.T, mask.T
    results = []
    for crf in twins(batch_first=batch_first):
        crf.to(device)
        inputs = emissions.clone().requires_grad_()
        loss = crf(inputs, gold, mask if masked else None, reduction)
        # Each sequence gets a weight of its own, to see that the backward pass keeps them apart.
        (loss * torch.arange(1.0, 1.0 + loss.numel(), device=device).view(loss.shape)).sum().backward()
        gradients = [crf.start_transitions.grad, crf.transitions.grad, crf.end_transitions.grad]
        results.append([loss.detach(), inputs.grad, *gradients])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_first", [True, False])
def test_decode_is_torchcrfs(batch_first: bool, device: str) -> None:
    reference, own = (crf.to(device) for crf in twins(batch_first=batch_first))
    emissions, _, mask = (tensor.to(device) for tensor in batch(size=40))
    if not batch_first:
        emissions, mask = emissions.transpose(0, 1), mask.T
    assert own.decode(emissions, mask) == reference.decode(emissions, mask)
    assert own.decode(emissions) == reference.decode(emissions)


@pytest.mark.parametrize("recursions", RECURSIONS)
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_constrained_loss_marginals_and_decode_equal_brute_force(
    scheme: str, recursions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_by(recursions, monkeypatch)
    crf, _ = constrained(("a", "b") if scheme == "BIO" else ("a",), scheme)
    emissions, _, mask = batch(size=4, length=5, tags=crf.num_tags, dtype=torch.float64)
    marginals, decoded = crf.marginals(emissions, mask), crf.decode(emissions, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        scores = enumerate_paths(crf, emissions[row, :length])
        partition = torch.stack(list(scores.values())).logsumexp(0)
        expected = torch.zeros(length, crf.num_tags, dtype=torch.float64)
        for path, score in scores.items():
            expected[torch.arange(length), list(path)] += (score - partition).exp()
        torch.testing.assert_close(marginals[row, :length], expected)
        assert not marginals[row, length:].any()
        best = max(scores, key=lambda path: scores[path].item())
        assert decoded[row] == list(best)
        likelihood = crf(emissions[row : row + 1, :length], torch.tensor([best]))
        torch.testing.assert_close(likelihood, scores[best] - partition)


@pytest.mark.parametrize("recursions", RECURSIONS)
def test_gradients_equal_finite_differences(recursions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute_by(recursions, monkeypatch)
    crf, _ = constrained()
    emissions, _, mask = batch(size=3, length=4, tags=5, dtype=torch.float64)
    gold = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 0], [3, 4, 4, 0]])
    names = [name for name, _ in crf.named_parameters()]

    def likelihood(emissions: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        state = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(crf, state, (emissions, gold), {"mask": mask, "reduction": "none"})

    assert torch.autograd.gradcheck(likelihood, (emissions.requires_grad_(), *crf.parameters()))


@pytest.mark.parametrize("recursions", RECURSIONS[1:])
@pytest.mark.parametrize("tags", [1, 13, MOST_TAGS])
def test_compiled_recursions_are_the_plain_ones(tags: int, recursions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels() is not None
    _, own = twins(tags)
    emissions, gold, mask = batch(size=8, length=40, tags=tags)
    results = []
    for kind in ("compiled", recursions):
        compute_by(kind, monkeypatch)
        inputs = emissions.clone().requires_grad_()
        own.zero_grad()
        loss = own(inputs, gold, mask, "none")
        loss.sum().backward()
        gradients = [parameter.grad for parameter in own.parameters()]
        results.append([loss, own.marginals(emissions, mask), inputs.grad, *gradients])
        results[-1].append(torch.tensor([tag for path in own.decode(emissions, mask) for tag in path]))
    for compiled, plain in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-5)


def test_two_thousand_tags_in_bfloat16_are_torchcrfs_in_double_precision() -> None:
    reference, own = twins(2000)
    emissions, gold, mask = batch(size=2, length=4, tags=2000)
    half = emissions.bfloat16()
    results = []
    for crf, inputs in ((reference.double(), half.double()), (own, half.clone())):
        inputs.requires_grad_()
        loss = crf(inputs, gold, mask)
        loss.backward()
        results.append([loss.detach(), inputs.grad, *(parameter.grad for parameter in crf.parameters())])
    (loss, by_emission, *expected), (own_loss, own_by_emission, *found) = results
    assert own_loss.dtype == torch.float32 and own_by_emission.dtype == torch.bfloat16
    torch.testing.assert_close(own_loss.double(), loss, atol=0.0, rtol=1e-6)
    # bfloat16 has eight bits: its gradient is right to half of the last of them.
    torch.testing.assert_close(own_by_emission.double(), by_emission, atol=1e-9, rtol=2**-8)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-7, rtol=1e-5)


def test_without_numba_the_plain_recursions_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert kernels.__wrapped__() is None


def test_scores_of_any_size_stay_exact() -> None:
    reference, own = twins()
    emissions, gold, mask = batch()
    for scale in (1e-3, 50.0, 1e4):
        torch.testing.assert_close(own(emissions * scale, gold, mask), reference(emissions * scale, gold, mask))
    crf, _ = constrained()
    pushed = torch.zeros(1, 60, 5, dtype=torch.float64)
    pushed[..., 2] = 90.0  # I-a, which may not come first: the likely path starts where the emissions are far worse.
    assert crf.decode(pushed) == [[1] + [2] * 59]
    torch.testing.assert_close(crf.marginals(pushed).sum(-1), torch.ones(1, 60, dtype=torch.float64))


def test_bfloat16_autocast_changes_nothing_but_the_emissions() -> None:
    _, own = twins()
    emissions, gold, mask = batch()
    half = emissions.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = own(half, gold, mask)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss, own(half.float(), gold, mask))


def test_padding_and_its_labels_change_nothing() -> None:
    _, own = twins()
    emissions, gold, mask = batch()
    row = 2
    length = int(mask[row].sum())
    alone = own(emissions[row : row + 1, :length], gold[row : row + 1, :length], reduction="none")
    gold[~mask] = -100
    emissions[~mask] = 1e6
    together = own(emissions, gold, mask, reduction="none")
    torch.testing.assert_close(together[row : row + 1], alone)
    torch.testing.assert_close(
        own.marginals(emissions, mask)[row, :length], own.marginals(emissions[row : row + 1, :length])[0]
    )


def test_forbidden_scores_are_never_written_or_trained() -> None:
    crf, _ = constrained()
    emissions, _, _ = batch(tags=5, dtype=torch.float64)
    crf(emissions, torch.zeros(emissions.shape[:2], dtype=torch.long)).backward()
    assert not crf.transitions.grad[~crf.transitions_allowed].any()
    assert all(value.isfinite().all() for value in crf.state_dict().values())
    fresh = CRF(5, batch_first=True).double()
    fresh.load_state_dict(crf.state_dict())
    assert fresh.decode(emissions) == crf.decode(emissions)


def test_an_average_has_the_mean_scores_and_the_same_masks() -> None:
    first, _ = constrained()
    second, _ = constrained()
    torch.nn.init.normal_(second.transitions)
    average = average_crfs([first, second])
    torch.testing.assert_close(average.transitions, (first.transitions + second.transitions) / 2)
    assert torch.equal(average.transitions_allowed, first.transitions_allowed)
    assert average.transitions is not first.transitions
    with pytest.raises(ValueError, match="CRF 1 forbids other"):
        average_crfs([first, CRF(5, batch_first=True)])
    with pytest.raises(ValueError, match="CRF 1 has other tags"):
        average_crfs([first, CRF(4, batch_first=True)])


def test_bad_input_is_named() -> None:
    crf, _ = constrained()
    emissions, _, _ = batch(size=2, length=3, tags=5, dtype=torch.float64)
    zeros = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="sequence 1 of the batch, word 2, tag 4"):
        crf(emissions, torch.tensor([[0, 0, 0], [0, 1, 4]]))
    with pytest.raises(ValueError, match="sequence 0 of the batch, word 0, tag 2"):
        crf(emissions, torch.tensor([[2, 0, 0], [0, 1, 2]]))
    with pytest.raises(ValueError, match="lie in 0"):
        crf(emissions, zeros - 100)
    with pytest.raises(ValueError, match="gap"):
        crf(emissions, zeros, mask=torch.tensor([[1, 0, 1], [1, 1, 1]]).bool())
    with pytest.raises(ValueError, match="first timestep"):
        crf.decode(emissions, mask=torch.tensor([[0, 0, 0], [1, 1, 1]]).bool())
    with pytest.raises(ValueError, match="no words"):
        crf.decode(emissions[:, :0])
    with pytest.raises(ValueError, match="invalid reduction"):
        crf(emissions, zeros, reduction="max")
    with pytest.raises(ValueError, match="length 2"):
        everything = torch.ones(2, 2, dtype=torch.bool)
        CRF(2).forbid(~everything[0], everything, ~everything[0])
    with pytest.raises(ValueError, match="transitions must be a bool mask"):
        CRF(2).forbid(torch.zeros(2).bool(), torch.zeros(3, 3).bool(), torch.zeros(2).bool())
