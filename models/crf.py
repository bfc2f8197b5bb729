"""A linear-chain conditional random field: torchcrf's interface, faster, with forbidden transitions and marginals."""

import torch
import torchcrf
from torch import Tensor

from models.forward_backward import LogLikelihood, forward_backward, plain_log_likelihood, viterbi


class CRF(torchcrf.CRF):
    """Linear-chain CRF with torchcrf's constructor, parameters and results, and hard constraints.

    num_tags: number of tags. batch_first: inputs are (batch, length, ...) instead of (length, batch, ...).

    Everything is computed in float64 (float32 on devices without it), whatever autocast says.
    Source: Lafferty, McCallum and Pereira 2001; forward-backward scaling as in Rabiner 1989, section V.A.
    """

    # The fast likelihood knows its gradient in closed form, and autograd cannot differentiate that once more.
    twice_differentiable = False

    def __init__(self, num_tags: int, batch_first: bool = False) -> None:
        super().__init__(num_tags, batch_first)
        self.register_buffer("start_allowed", torch.ones(num_tags, dtype=torch.bool))
        self.register_buffer("transitions_allowed", torch.ones(num_tags, num_tags, dtype=torch.bool))
        self.register_buffer("end_allowed", torch.ones(num_tags, dtype=torch.bool))

    def forbid(self, start: Tensor, transitions: Tensor, end: Tensor) -> "CRF":
        """Set what is never taken, in the loss's partition function, in `decode` or in `marginals`.

        start (tags,), transitions (tags, tags) as [from, to], end (tags,): boolean, True where forbidden: the
        complement of `LabelScheme.allowed()`.
        Returns self. Raises ValueError for wrong shapes and for masks that leave some length without any sequence.
        """
        masks = [torch.as_tensor(mask) for mask in (start, transitions, end)]
        shapes = [(self.num_tags,), (self.num_tags, self.num_tags), (self.num_tags,)]
        for name, mask, shape in zip(("start", "transitions", "end"), masks, shapes, strict=True):
            if tuple(mask.shape) != shape or mask.dtype != torch.bool:
                raise ValueError(
                    f"{name} must be a bool mask of shape {shape}, got {mask.dtype} of shape {tuple(mask.shape)}"
                )
        allowed = [~mask.cpu() for mask in masks]
        reachable, seen, length = allowed[0], set(), 1
        while tuple(reachable.tolist()) not in seen:
            if not (reachable & allowed[2]).any():
                raise ValueError(f"these masks forbid every tag sequence of length {length}")
            seen.add(tuple(reachable.tolist()))
            reachable, length = (reachable[:, None] & allowed[1]).any(0), length + 1
        for buffer, mask in zip((self.start_allowed, self.transitions_allowed, self.end_allowed), allowed, strict=True):
            buffer.copy_(mask)
        return self

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum") -> Tensor:
        """Log likelihood of tag sequences.

        emissions (batch, length, tags), tags (batch, length) of tag ids (anything where the mask is off), mask
        (batch, length), on for the first words of each sequence and off for its padding; with the first two axes
        swapped unless `batch_first`. reduction: "none", "sum", "mean" (over sequences) or "token_mean".
        Returns (batch,) for "none", else a scalar, in nats; at least float32.
        Raises ValueError for shapes or masks that do not fit and for tags that are unknown or forbidden.
        """
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ValueError(f"invalid reduction: {reduction}, expected none, sum, mean or token_mean")
        self._validate(emissions, tags=tags, mask=mask)
        emissions_by_step, inside = self._by_step(emissions, mask)
        gold = (tags.transpose(0, 1) if self.batch_first else tags).masked_fill(~inside, 0)
        self._check_gold(gold, inside)
        with torch.autocast(emissions.device.type, enabled=False):
            likelihood = (plain_log_likelihood if self.twice_differentiable else LogLikelihood.apply)(
                emissions_by_step.to(_precise(emissions)), *self._scores(_precise(emissions)), gold, inside
            )
        # A half-precision sum over a batch of sentences would lose the digits that the loss is read for.
        likelihood = likelihood.to(torch.promote_types(emissions.dtype, torch.float32))
        if reduction == "none":
            return likelihood
        if reduction == "sum":
            return likelihood.sum()
        return likelihood.mean() if reduction == "mean" else likelihood.sum() / inside.sum()

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Probability of each tag at each word, given the whole sequence.

        emissions and mask: as in `forward`. Returns a tensor shaped like emissions, zero where the mask is off.
        """
        self._validate(emissions, mask=mask)
        emissions_by_step, inside = self._by_step(emissions, mask)
        with torch.autocast(emissions.device.type, enabled=False):
            _, marginals, _ = forward_backward(
                emissions_by_step.to(_precise(emissions)), *self._scores(_precise(emissions)), inside
            )
        marginals = marginals.to(torch.promote_types(emissions.dtype, torch.float32))
        return marginals.transpose(0, 1).contiguous() if self.batch_first else marginals

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """Most likely tag sequences (Viterbi).

        emissions and mask: as in `forward`. Returns one list of tag ids a sequence, as long as its mask is on.
        """
        self._validate(emissions, mask=mask)
        emissions_by_step, inside = self._by_step(emissions, mask)
        precise = torch.promote_types(emissions.dtype, torch.float32)
        start, transitions, end = self._scores(precise)
        with torch.autocast(emissions.device.type, enabled=False):
            best = viterbi(emissions_by_step.to(precise), start, transitions, end, inside)
        lengths = inside.sum(0).tolist()
        return [row[:length] for row, length in zip(best.T.tolist(), lengths, strict=True)]

    def _scores(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Start, transition and end scores, -inf where forbidden: made here, so that a checkpoint never holds -inf."""
        pairs = (
            (self.start_transitions, self.start_allowed),
            (self.transitions, self.transitions_allowed),
            (self.end_transitions, self.end_allowed),
        )
        return tuple(scores.to(dtype).masked_fill(~allowed, -torch.inf) for scores, allowed in pairs)

    def _by_step(self, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Emissions (length, batch, tags) and bool mask (length, batch)."""
        if mask is None:
            mask = torch.ones(emissions.shape[:2], dtype=torch.bool, device=emissions.device)
        mask = mask.bool()
        if self.batch_first:
            emissions, mask = emissions.transpose(0, 1), mask.transpose(0, 1)
        if (mask[1:] & ~mask[:-1]).any():
            raise ValueError("mask has a gap: each sequence must be on from its first word to its last, then off")
        return emissions, mask

    def _validate(self, emissions: Tensor, tags: Tensor | None = None, mask: Tensor | None = None) -> None:
        if emissions.dim() == 3 and 0 in emissions.shape[:2]:
            raise ValueError(f"emissions hold no words: shape {tuple(emissions.shape)}")
        super()._validate(emissions, tags=tags, mask=mask)

    def _check_gold(self, gold: Tensor, inside: Tensor) -> None:
        if ((gold < 0) | (gold >= self.num_tags)).any():
            raise ValueError(
                f"tags must lie in 0..{self.num_tags - 1} where the mask is on, got {gold.min()}..{gold.max()}"
            )
        broken = torch.zeros_like(inside)
        broken[0] = ~self.start_allowed[gold[0]]
        broken[1:] |= ~self.transitions_allowed[gold[:-1], gold[1:]] & inside[1:]
        last = inside.sum(0) - 1
        ends_badly = ~self.end_allowed[gold.gather(0, last[None])[0]]
        broken.scatter_(0, last[None], broken.gather(0, last[None]) | ends_badly[None])
        if broken.any():
            step, row = broken.nonzero()[0].tolist()
            raise ValueError(
                f"gold tags break the label scheme: sequence {row} of the batch, word {step}, tag "
                f"{int(gold[step, row])}. Cut a text into windows first, then encode its spans with LabelScheme.encode"
            )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # A torchcrf state dict has no masks; it then loads with the masks that this CRF has.
        for name in ("start_allowed", "transitions_allowed", "end_allowed"):
            state_dict.setdefault(prefix + name, getattr(self, name))
        super()._load_from_state_dict(state_dict, prefix, *args)


def average_crfs(crfs: list[CRF]) -> CRF:
    """A CRF whose scores are the mean of others', to decode averaged emissions (logits) of an ensemble.

    crfs: at least one, of the same tags and masks. Returns a new CRF. Raises ValueError if they do not match.
    """
    if not crfs:
        raise ValueError("there is no CRF to average")
    first = crfs[0]
    for place, crf in enumerate(crfs):
        if crf.num_tags != first.num_tags or crf.batch_first != first.batch_first:
            raise ValueError(f"CRF {place} has other tags or another layout than CRF 0")
        masks = zip(crf.buffers(), first.buffers(), strict=True)
        if any(not torch.equal(mask.cpu(), other.cpu()) for mask, other in masks):
            raise ValueError(f"CRF {place} forbids other transitions than CRF 0")
    average = CRF(first.num_tags, first.batch_first).to(first.transitions)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    for name, _ in first.named_parameters():
        values = [dict(crf.named_parameters())[name].detach().to(first.transitions) for crf in crfs]
        state[name] = torch.stack(values).mean(0)
    average.load_state_dict(state)
    return average


def _precise(emissions: Tensor) -> torch.dtype:
    # Apple's MPS has no float64.
    return torch.float32 if emissions.device.type == "mps" else torch.float64
