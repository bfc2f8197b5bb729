"""Losses in place of a head's own, and what is added to any: by a head's distributions, never by its architecture."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.config import ConfigError
from common.training.tricks import LossConfig

TEACHER = "teacher_labels"  # of a batch: a teacher's distributions, times the share that they have in the labels
OF_LOSSES = ("flooding", "gradient_penalty")  # of LossConfig: what needs nothing but the loss
OF_DISTRIBUTIONS = ("kind", "label_smoothing", "class_weights", "r_drop", "contrastive", "mixup")
WORDS = 256  # of a batch, at most, that the contrastive loss compares


class Objective:
    """The loss of a batch by `LossConfig`.

    head: the model, without what data parallel training wraps around it; it is told to return its parts. scale: gives
    the factor of half precision's loss scaling, so that a gradient penalty's gradients do not vanish.
    virtual: whether distributions are asked for besides (adversarial.kind=vat).
    Calling it with the (wrapped) model and a batch returns the loss; `log_p` then has the batch's distributions, where
    anything reads them.
    Raises ConfigError for what the head does not take, and class weights of another number than it has classes.
    """

    def __init__(
        self, head: nn.Module, config: LossConfig, scale: Callable[[], float] = lambda: 1.0, virtual: bool = False
    ) -> None:
        own = [key for key in OF_DISTRIBUTIONS if getattr(config, key) != getattr(LossConfig(), key)]
        taken = OF_LOSSES if not head.has_distributions else (*OF_LOSSES, *OF_DISTRIBUTIONS)
        taken = [key for key in taken if key not in head.refused_losses]
        refused = [f"loss.{key}" for key in own if key not in taken]
        if virtual and not head.has_distributions:
            refused.append("adversarial.kind=vat")
        if refused:
            raise ConfigError(f"{type(head).__name__} does not take training.{', training.'.join(refused)}: of "
                              f"training.loss it takes {', '.join(taken)}; leave out the others here")  # fmt: skip
        self.head, self.config, self.scale = head, config, scale
        self.scalar = not own and not virtual  # the head's own loss is all that is read
        self.log_p: Tensor | None = None
        head.with_parts = head.has_distributions
        if config.gradient_penalty:
            for module in head.modules():
                if hasattr(module, "twice_differentiable"):
                    module.twice_differentiable = True

    def __call__(self, model: nn.Module, batch: dict[str, Any], against: Tensor | None = None) -> Tensor:
        """against: log-probabilities, from whose distributions the divergence is then returned instead of a loss."""
        own, head = self.config, self.head
        with ExitStack() as stack:
            mix = stack.enter_context(mixed(head, batch, own.mixup, own.r_drop > 0)) if own.mixup else None
            embedded = stack.enter_context(twice_differentiable(head)) if own.gradient_penalty else []
            output = model(**{name: value for name, value in batch.items() if name != TEACHER})
        if self.scalar and TEACHER not in batch:
            return self._regularised(output.loss, embedded)
        log_p, weights = head.distributions(output.samples, **batch)
        self.log_p = log_p.detach()
        if against is not None:
            return (divergence(against, log_p) * weights).sum()
        loss = self._labelled(output, log_p, weights, batch)
        if mix is not None:
            share, partners = mix
            loss = share * loss + (1 - share) * self._labelled(output, log_p, weights, partners)
        if own.contrastive:
            near = contrastive(output.features, head.feature_classes(**batch), own.contrastive_temperature)
            loss = (1 - own.contrastive) * loss + own.contrastive * near
        if own.r_drop:
            loss = loss + own.r_drop * r_drop(log_p, weights)
        return self._regularised(loss, embedded)

    def _regularised(self, loss: Tensor, embedded: list[Tensor]) -> Tensor:
        own = self.config
        if own.gradient_penalty:
            loss = loss + own.gradient_penalty * gradient_penalty(loss, embedded, self.scale())
        return flooded(loss, own.flooding) if own.flooding else loss

    def _labelled(self, output: Any, log_p: Tensor, weights: Tensor, batch: dict[str, Any]) -> Tensor:
        own, head = self.config, self.head
        teacher = batch.get(TEACHER)
        plain = own.kind == "default" and not own.label_smoothing and not own.class_weights and teacher is None
        # The sum over a batch of rows of unequal length is the head's affair: it says what a row or word weighs.
        likelihood = head.likelihood(output.samples, **batch) if plain or not head.factored else 0.0
        if plain:
            return likelihood
        targets, possible = head.targets(**batch), log_p > head.impossible
        if teacher is not None:
            # Where a word has no label, the teacher's is not asked for either.
            taken = teacher * targets.sum(-1, keepdim=True)
            targets = (1 - taken.sum(-1, keepdim=True)) * targets + taken
        spread = possible / possible.sum(-1, keepdim=True).clamp(min=1)
        targets = (1 - own.label_smoothing) * targets + own.label_smoothing * spread * targets.sum(-1, keepdim=True)
        weighted = targets
        if own.class_weights:
            if len(own.class_weights) != log_p.shape[-1]:
                raise ConfigError(f"training.loss.class_weights are {len(own.class_weights)}: "
                                  f"expected {log_p.shape[-1]}, one a class")  # fmt: skip
            weighted = targets * targets.new_tensor(own.class_weights)
        if own.kind == "dice":
            losses = dice(log_p, targets, own.alpha, own.smooth, possible) * weighted.sum(-1)
        elif own.kind == "focal":
            losses = focal(log_p, weighted, own.gamma)
        else:
            losses = -(weighted * log_p).sum(-1)
        return likelihood + (losses * weights).sum()


def focal(log_p: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p of the gold class, summed over what a soft target spreads over.

    log_p, targets (..., classes). Returns (...). Source: Lin et al. 2017, equation 4.
    """
    return -(targets * _power(1 - log_p.exp(), gamma) * log_p).sum(-1)


def dice(log_p: Tensor, targets: Tensor, alpha: float, smooth: float, possible: Tensor | None = None) -> Tensor:
    """1 - (2 q y + smooth) / (q + y + smooth) with q = (1 - p)^alpha p, averaged over classes.

    log_p, targets (..., classes). possible (..., classes): which classes count; unset, all of them.
    Returns (...). Source: Li et al. 2020, equation 11.
    """
    p = log_p.exp()
    q = _power(1 - p, alpha) * p
    if possible is None:
        possible = torch.ones_like(q, dtype=torch.bool)
    losses = 1 - (2 * q * targets + smooth) / (q + targets + smooth).masked_fill(~possible, 1.0)
    return losses.masked_fill(~possible, 0.0).sum(-1) / possible.sum(-1).clamp(min=1)


def _power(rest: Tensor, exponent: float) -> Tensor:
    """rest^exponent, 0 below 0, with a finite gradient everywhere."""
    rest = rest.clamp(min=0)
    if not 0 < exponent < 1:
        return rest.pow(exponent)
    # Where a probability rounds to 1 the slope of the root is infinite, and infinity times 0 would make every weight
    # NaN. By the logits, which are what is learned, the slope falls to 0 there.
    some = rest > 0
    return torch.where(some, torch.where(some, rest, 1.0).pow(exponent), 0.0)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of q from p. log_p, log_q (..., classes). Returns (...), in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def r_drop(log_p: Tensor, weights: Tensor) -> Tensor:
    """Mean divergence, both ways, of the two halves of a batch that hold the same rows under other dropout.

    log_p (samples, 2 * batch, ..., classes), weights (2 * batch, ...) with which a sum is the mean over all rows.
    The head's loss of the doubled batch is the mean of the two passes' where the paper has their sum: its alpha is
    twice this weight. Source: Wu et al. 2021, equations 2 and 4.
    """
    one, other = log_p.chunk(2, dim=1)
    both = (divergence(one, other) + divergence(other, one)) / 2
    return 2 * (both * weights.chunk(2)[0]).sum()


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch's rows twice, one copy below the other."""
    return {name: torch.cat([value, value]) if torch.is_tensor(value) else value for name, value in batch.items()}


def contrastive(features: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Vectors of one class should be nearer to one another than to the others of the batch.

    features (..., size), classes (...) with -1 for what takes no part; temperature divides cosines. At most 256
    vectors take part. Returns the mean over vectors that have another of their class; 0 if there is none.
    Sources: Khosla et al. 2020, equation 2 (the sum outside the logarithm); Gunel et al. 2021, equation 2.
    """
    features, classes = features.flatten(0, -2), classes.flatten()
    places = (classes >= 0).nonzero()[:, 0]
    if len(places) > WORDS:
        places = places[torch.linspace(0, len(places) - 1, WORDS, device=places.device).long()]
    features, classes = F.normalize(features[places].float(), dim=-1), classes[places]
    itself = torch.eye(len(places), dtype=torch.bool, device=places.device)
    same = (classes[:, None] == classes) & ~itself
    if not same.any():
        return features.sum() * 0.0
    log_p = (features @ features.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
    partners = same.sum(1)
    losses = -log_p.masked_fill(~same, 0.0).sum(1) / partners.clamp(min=1)
    return losses.sum() / (partners > 0).sum()


def gradient_penalty(loss: Tensor, embedded: list[Tensor], scale: float = 1.0) -> Tensor:
    """Half the squared norm of the loss's gradient by the embedded tokens, differentiable.

    embedded: what the embeddings gave in the loss's forward pass. scale: the loss is multiplied by it and the gradients
    divided. Source: Su Jianlin 2020, kexue.fm/archives/7234.
    """
    gradients = torch.autograd.grad(loss * scale, embedded, create_graph=True)
    return 0.5 * sum((gradient.float() / scale).square().sum() for gradient in gradients)


def flooded(loss: Tensor, level: float) -> Tensor:
    """|loss - level| + level: below the level the gradient ascends. Source: Ishida et al. 2020, equation 3."""
    return (loss - level).abs() + level


@contextmanager
def mixed(head: nn.Module, batch: dict[str, Any], alpha: float, doubled: bool) -> Iterator[tuple[float, dict]]:
    """While it is entered, the classifier's dropout reads a mixture of each row's features and another row's.

    The share of the own row is drawn from Beta(alpha, alpha). Words are mixed where both rows have one. doubled: the
    second half of the batch repeats the first, and repeats its partners.
    Yields the share and the batch with the partners' labels; the loss is mixed by the share.
    Sources: Zhang et al. 2018, section 2; on the last hidden representation as in Sun et al. 2020 (Mixup-Transformer).
    """
    rows = len(next(value for name, value in batch.items() if "labels" in name))
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(rows // 2 if doubled else rows)
    order = torch.cat([order, order + rows // 2]) if doubled else order
    device = next(head.parameters()).device
    order, words = order.to(device), batch.get("word_positions")

    def mix(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        features = inputs[0]
        other = features[order]
        if words is not None:
            other = torch.where(((words >= 0) & (words[order] >= 0))[..., None], other, features)
        return share * features + (1 - share) * other

    partners = {**batch, **head.partner_labels(order, **batch)}
    if TEACHER in batch:
        partners[TEACHER] = batch[TEACHER][order]
    hook = head.dropout.register_forward_pre_hook(mix)
    try:
        yield share, partners
    finally:
        hook.remove()


@contextmanager
def twice_differentiable(head: nn.Module) -> Iterator[list[Tensor]]:
    """Computes what is inside by kernels that have a second derivative. Yields what the word embeddings give."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    embedded: list[Tensor] = []
    hook = head.get_input_embeddings().register_forward_hook(lambda module, inputs, output: embedded.append(output))
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield embedded
    finally:
        hook.remove()
