"""The recursions of a linear-chain CRF over a batch, time first: forward-backward with its gradient, and Viterbi."""

import torch
from torch import Tensor

from models.crf_kernels import MOST_TAGS, kernels

# Scaled probabilities stay representable while any tag is reachable within four steps (BIO and BIOES need at most
# three) and each step costs less than this many nats: 4 * 150 < 708, where a double underflows. Beyond it: log space.
_SCALED_LIMIT = 150.0


class LogLikelihood(torch.autograd.Function):
    """Log likelihood (batch,) whose gradient is known in closed form: gold counts minus expected counts."""

    @staticmethod
    def forward(ctx, emissions, start, transitions, end, tags, inside):
        partition, marginals, expected = forward_backward(emissions, start, transitions, end, inside)
        _, batch, size = emissions.shape
        zero = emissions.new_zeros(())
        last = (inside.sum(0) - 1)[None]
        gold_steps = torch.where(inside[1:], transitions[tags[:-1], tags[1:]], zero)
        gold_emissions = torch.where(inside, emissions.gather(2, tags[..., None])[..., 0], zero)
        last_tags = tags.gather(0, last)[0]
        score = start[tags[0]] + gold_emissions.sum(0) + gold_steps.sum(0) + end[last_tags]

        by_emission = marginals.neg_()
        by_emission.scatter_add_(2, tags[..., None], inside[..., None].to(emissions.dtype))
        by_transition = expected.neg_().view(batch, size * size)
        pairs = (tags[:-1] * size + tags[1:]).T
        by_transition.scatter_add_(1, pairs, inside[1:].T.to(emissions.dtype))
        by_end = by_emission.gather(0, last[..., None].expand(1, batch, size))[0]
        ctx.save_for_backward(by_emission, by_transition, by_end)
        return score - partition

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        by_emission, by_transition, by_end = ctx.saved_tensors
        size = by_emission.shape[2]
        return (
            by_emission * upstream[None, :, None],
            upstream @ by_emission[0],
            (upstream @ by_transition).view(size, size),
            upstream @ by_end,
            None,
            None,
        )


def plain_log_likelihood(
    emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, tags: Tensor, inside: Tensor
) -> Tensor:
    """`LogLikelihood` as a chain of plain operations: slower, and with derivatives of any order."""
    # Minus infinity would make 0 * inf of the gradients that never reach it.
    start, transitions, end = (scores.clamp(min=-1e6) for scores in (start, transitions, end))
    reached, score = start + emissions[0], start[tags[0]] + emissions[0].gather(1, tags[0][:, None])[:, 0]
    for step in range(1, len(emissions)):
        on = inside[step]
        onward = (reached[:, :, None] + transitions).logsumexp(1) + emissions[step]
        reached = torch.where(on[:, None], onward, reached)
        gold = transitions[tags[step - 1], tags[step]] + emissions[step].gather(1, tags[step][:, None])[:, 0]
        score = score + torch.where(on, gold, 0.0)
    last = tags.gather(0, (inside.sum(0) - 1)[None])[0]
    return score + end[last] - (reached + end).logsumexp(1)


def forward_backward(
    emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log partition (batch,), tag marginals (length, batch, tags), expected transitions (batch, tags, tags).

    The backward pass is the forward pass of the mirrored sequence over the transposed transitions, so that both run
    in one loop. emissions (length, batch, tags); start, transitions, end: -inf where forbidden; inside (length, batch).
    """
    emissions = emissions.masked_fill(~inside[..., None], 0.0)
    tops = emissions.amax(-1, keepdim=True)
    spread = (
        (tops[..., 0] - emissions.amin(-1)).amax() + _spread(transitions) + torch.maximum(_spread(start), _spread(end))
    )
    scaled = emissions.dtype == torch.float64 and spread < _SCALED_LIMIT
    if scaled and compiled(emissions):
        return _compiled(emissions - tops, tops, start, transitions, end, inside)
    steps = torch.arange(len(emissions), device=emissions.device)[:, None]
    mirror = torch.where(inside, inside.sum(0) - 1 - steps, steps)[..., None].expand_as(emissions)
    both = torch.stack([emissions, emissions.gather(0, mirror)], dim=1)
    ends = torch.stack([start, end])
    step = torch.stack([transitions, transitions.T])
    return (_scaled if scaled else _logarithmic)(both, ends, step, mirror, inside)


def compiled(emissions: Tensor) -> bool:
    """Whether the compiled recursions take these emissions: on the CPU, of few tags, with numba."""
    return emissions.device.type == "cpu" and emissions.shape[-1] <= MOST_TAGS and kernels() is not None


def _spread(scores: Tensor) -> Tensor:
    forbidden = scores == -torch.inf
    return scores.amax() - scores.masked_fill(forbidden, torch.inf).amin()


def _compiled(
    shifted: Tensor, tops: Tensor, start: Tensor, transitions: Tensor, end: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`forward_backward` of emissions less their tops (length, batch, 1) by the compiled recursions."""
    _, batch, size = shifted.shape
    lengths = inside.sum(0)
    highest = [scores.amax() for scores in (start, transitions, end)]
    matrix, first, last = (
        (scores - top).exp_().contiguous().numpy()
        for scores, top in zip((transitions, start, end), (highest[1], highest[0], highest[2]), strict=True)
    )
    marginals = torch.zeros(shifted.shape, dtype=shifted.dtype)
    pairs, logs = shifted.new_empty(batch, size, size), shifted.new_empty(batch)
    factors = shifted.exp_().contiguous().numpy()
    kernels().posteriors(factors, matrix, first, last, lengths.numpy(), marginals.numpy(), pairs.numpy(), logs.numpy())
    partition = logs + tops[..., 0].sum(0) + highest[0] + highest[2] + (lengths - 1) * highest[1]
    return partition, marginals, pairs


def _scaled(both: Tensor, ends: Tensor, step: Tensor, mirror: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both recursions on probabilities that are normalised at every step."""
    tops, step_top, ends_top = both.amax(-1, keepdim=True), step.amax(), ends.amax(-1)
    factors = (both - tops).exp_()
    matrix = (step - step_top).exp_()
    ends = (ends - ends_top[:, None]).exp_()
    table, scales = torch.empty_like(factors), torch.empty_like(tops)
    before = None
    for row, factor, scale in zip(table.unbind(0), factors.unbind(0), scales.unbind(0), strict=True):
        if before is None:
            torch.mul(factor, ends[:, None], out=row)
        else:
            torch.bmm(before, matrix, out=row).mul_(factor)
        torch.sum(row, -1, keepdim=True, out=scale)
        before = row.div_(scale)
    outside = ~inside[..., None]
    forward = table[:, 0].masked_fill(outside, 0.0)
    backward = table[:, 1].gather(0, mirror).masked_fill_(outside, 0.0)

    lengths = inside.sum(0)
    at_end = forward.gather(0, (lengths - 1)[None, :, None].expand(1, *forward.shape[1:]))[0]
    logs = (scales[:, 0].log() + tops[:, 0]).masked_fill_(outside, 0.0).sum((0, 2))
    partition = logs + (lengths - 1) * step_top + ends_top.sum() + (at_end @ ends[1]).log()

    arriving = torch.cat([ends[0].expand(1, *forward.shape[1:]), forward[:-1] @ matrix[0]])
    marginals = arriving * backward
    total = marginals.sum(-1, keepdim=True).masked_fill_(outside, 1.0)
    marginals /= total
    pairs = forward[:-1].permute(1, 2, 0) @ (backward[1:] / total[1:]).transpose(0, 1) * matrix[0]
    return partition, marginals, pairs


def _logarithmic(
    both: Tensor, ends: Tensor, step: Tensor, mirror: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in log space: several times slower, for scores of any size.

    What a step makes of pairs of tags, at most (2, batch, tags, tags), is gone before the next one's is made.
    """
    arrivals = [ends[:, None].expand_as(both[0])]
    for factor in both[:-1].unbind(0):
        here = arrivals[-1] + factor
        arrivals.append(torch.logsumexp(here[..., None] + step[:, None], dim=2))
    arrivals = torch.stack(arrivals)
    arriving, forward = arrivals[:, 0], arrivals[:, 0] + both[:, 0]
    backward = (arrivals[:, 1] + both[:, 1]).gather(0, mirror)
    last = (inside.sum(0) - 1)[None, :, None].expand(1, *forward.shape[1:])
    partition = torch.logsumexp(forward.gather(0, last)[0] + ends[1], dim=-1)
    joint = arriving + backward
    marginals = torch.softmax(joint, dim=-1).masked_fill(~inside[..., None], 0.0)
    # Every step's own total (the partition, but for rounding); infinite beyond a sequence's end: no pair counts there.
    totals = torch.logsumexp(joint, dim=-1, keepdim=True).masked_fill(~inside[..., None], torch.inf)
    pairs = both.new_zeros(both.shape[2], *step.shape[1:])
    for here, onward in zip(forward[:-1].unbind(0), (backward - totals)[1:].unbind(0), strict=True):
        pairs += (here[:, :, None] + step[0]).add_(onward[:, None, :]).exp_()
    return partition, marginals, pairs


def viterbi(emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, inside: Tensor) -> Tensor:
    """Best tags (length, batch); what lies outside is to be cut off. Steps loop, sequences do not."""
    if compiled(emissions):
        paths = torch.zeros(emissions.shape[1::-1], dtype=torch.long)
        scores = (each.contiguous().numpy() for each in (emissions, start, transitions, end))
        kernels().best_path(*scores, inside.sum(0).numpy(), paths.numpy())
        return paths.T
    scores, origins = [start + emissions[0]], []
    for emission in emissions[1:].unbind(0):
        best, origin = (scores[-1][:, :, None] + transitions).max(dim=1)
        scores.append(best + emission)
        origins.append(origin)
    last = (inside.sum(0) - 1)[None, :, None].expand(1, *emissions.shape[1:])
    tag = (torch.stack(scores).gather(0, last)[0] + end).argmax(-1, keepdim=True)
    path = [tag]
    if origins:
        # Padding points back to the same tag, so that every sequence can be traced from the batch's last step.
        same = torch.arange(emissions.shape[2], device=emissions.device)
        for origin in torch.where(inside[1:, :, None], torch.stack(origins), same).flip(0).unbind(0):
            tag = origin.gather(1, tag)
            path.append(tag)
    return torch.cat(path, dim=1).flip(1).T
