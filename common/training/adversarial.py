"""Adversarial training: gradients at weights or embeddings that were moved to where the loss is higher.

An attack asks for forward and backward passes of one batch and moves things in between. It runs in each batch of a
step, so that gradients accumulate as ever, and leaves every weight bit for bit as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from common.config import ConfigError, nearest
from common.training.tricks import OUTPUT, AdversarialConfig


class Passes(Protocol):
    """Passes of one batch, with the model as it is at the time."""

    def backward(self, last: bool, weight: float = 1.0, against: Tensor | None = None) -> Tensor:
        """Adds the gradient of the batch's loss, times weight, to every parameter's; returns the loss.

        last: whether no pass follows in this batch (data parallel processes then exchange gradients).
        against: the loss is then the divergence of the model's distributions from these log-probabilities.
        """

    def gradient(self, tensors: list[Tensor], against: Tensor | None = None) -> list[Tensor | None]:
        """The direction of the loss's gradient by some tensors, up to a positive factor; parameters keep theirs."""

    def predicted(self) -> Tensor:
        """Log-probabilities of the last `backward` pass, without gradient."""


class WeightAttack:
    """FGM, PGD, AWP and SAM on parameters.

    FGM: w + epsilon g / |g|. PGD: `steps` times by step_size, back onto the ball of radius epsilon. AWP: both
    lengths are shares of |w|, each parameter by itself. The gradient there is added to that at w. SAM: one |g| over all
    parameters, and the gradient at w is only used to find the way.
    Sources: Miyato, Dai and Goodfellow 2017 (FGM, on the table of embeddings as Chinese contests have it); Madry et al.
    2018 (PGD); Wu, Xia and Wang 2020, equations 9 and 10 (AWP); Foret et al. 2021, equation 3 (SAM).
    """

    def __init__(self, config: AdversarialConfig, targets: list[nn.Parameter]) -> None:
        self.config, self.targets = config, targets

    def step(self, passes: Passes) -> Tensor:
        """All passes of one batch. Returns the loss of the unmoved model."""
        own = self.config
        if own.kind == "sam":
            gradients = passes.gradient(self.targets)
            loss = None
        else:
            with gradients_of(self.targets) as gradients:
                loss = passes.backward(last=False)
        with kept(self.targets) as originals:
            scales = [original.norm() if own.kind == "awp" else 1.0 for original in originals]
            offsets = [torch.zeros_like(original) for original in originals]
            for step in range(own.steps):
                offsets = self._ascend(offsets, gradients, scales)
                with torch.no_grad():
                    for target, original, offset in zip(self.targets, originals, offsets, strict=True):
                        target.copy_(original + offset)
                if step < own.steps - 1:
                    gradients = passes.gradient(self.targets)
            moved = passes.backward(last=True, weight=own.weight)
        return moved if loss is None else loss

    def _ascend(self, offsets: list[Tensor], gradients: list[Tensor | None], scales: list) -> list[Tensor]:
        own = self.config
        if own.kind == "sam":
            found = [gradient for gradient in gradients if gradient is not None]
            norm = torch.stack([gradient.norm() for gradient in found]).norm()
            ways = [None if gradient is None else _finite(gradient / norm) for gradient in gradients]
        else:
            ways = [None if gradient is None else unit(gradient) for gradient in gradients]
        return [
            offset if way is None else project(offset + own.step_size * scale * way, own.epsilon * scale)
            for offset, way, scale in zip(offsets, ways, scales, strict=True)
        ]


class OutputAttack:
    """FGM and PGD on what the word embeddings give for each row, and FreeLB.

    FGM and PGD: as `WeightAttack`, every row's offset having its own norm. FreeLB: offsets begin at random, and the
    gradient at each of `steps` points is used, a share of one each; no pass is at the unmoved embeddings. All points
    of a batch have the same dropout.
    Sources: Miyato, Dai and Goodfellow 2017, section 3; Madry et al. 2018; Zhu et al. 2020, algorithm 1 and
    section 3.3.
    """

    def __init__(self, config: AdversarialConfig, module: nn.Module) -> None:
        self.config, self.module = config, module

    def step(self, passes: Passes) -> Tensor:
        """All passes of one batch. Returns the loss at the first point."""
        own, free = self.config, self.config.kind == "freelb"
        start = _random_start(own.init) if free else torch.zeros_like
        state, first = RandomState(), None
        with Offsets(self.module, start) as offsets:
            # FGM and PGD have one pass at the unmoved embeddings before those that ascended.
            points = own.steps if free else own.steps + 1
            for point in range(points):
                last = point == points - 1
                if free:
                    state.restore()
                if point == 0 or free or last:
                    weight = own.weight / own.steps if free else own.weight if point else 1.0
                    loss = passes.backward(last=last, weight=weight)
                    gradients = offsets.gradients()
                else:
                    gradients = passes.gradient(offsets.restart())
                first = loss if first is None else first
                if not last:
                    offsets.move(
                        [
                            project(value + own.step_size * unit(gradient, rows=True), own.epsilon, rows=True)
                            for value, gradient in zip(offsets.values, gradients, strict=True)
                        ]
                    )
        return first


class VirtualAttack:
    """Virtual adversarial training: predictions should stay the same nearby, whatever the label.

    The way in which they change fastest is found by `steps` power iterations from a random one of norm `init`. With
    `normalise` the offset is to embeddings scaled to mean 0 and variance 1 (SiFT): the raw embedding moves by it times
    its standard deviation. Predictions at the unmoved embeddings are taken as given, under the same dropout.
    Sources: Miyato et al. 2019, section 3.3 (VAT); He et al. 2021, section 4 (SiFT, in DeBERTa).
    """

    def __init__(self, config: AdversarialConfig, module: nn.Module) -> None:
        self.config, self.module = config, module

    def step(self, passes: Passes) -> Tensor:
        """All passes of one batch. Returns the loss of the unmoved model."""
        own, start = self.config, _random_start(self.config.init, sphere=True)
        state = RandomState()
        loss = passes.backward(last=False)
        clean = passes.predicted()
        with Offsets(self.module, start, own.normalise) as offsets:
            for step in range(own.steps):
                state.restore()
                gradients = passes.gradient(offsets.restart(), against=clean)
                size = own.epsilon if step == own.steps - 1 else own.init
                offsets.move([size * unit(gradient, rows=True) for gradient in gradients])
            state.restore()
            passes.backward(last=True, weight=own.weight, against=clean)
        return loss


class Offsets:
    """Adds offsets to a module's output while it is entered: one tensor for each call of a pass, in order.

    start: makes a call's first offset from its output. normalise: offsets are in units of each vector's deviation.
    `values` are leaves; after a backward pass `gradients` has theirs.
    """

    def __init__(self, module: nn.Module, start: Callable[[Tensor], Tensor], normalise: bool = False) -> None:
        self.module, self.start, self.normalise = module, start, normalise
        self.values: list[Tensor] = []
        self.place = 0

    def __enter__(self) -> "Offsets":
        self.hook = self.module.register_forward_hook(self._add)
        return self

    def __exit__(self, *problem) -> None:
        self.hook.remove()

    def _add(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if self.place == len(self.values):
            self.values.append(self.start(output.detach()).requires_grad_())
        value = self.values[self.place]
        self.place += 1
        if self.normalise:
            value = value * (output.detach().var(-1, keepdim=True, unbiased=False) + 1e-7).sqrt()
        return output + value

    def restart(self) -> list[Tensor]:
        """The next call is the first of a pass. Returns the offsets, a list that a first pass has still to fill."""
        self.place = 0
        return self.values

    def gradients(self) -> list[Tensor]:
        """What the last backward pass left on the offsets."""
        self.place = 0
        return [torch.zeros_like(value) if value.grad is None else value.grad for value in self.values]

    def move(self, values: list[Tensor]) -> None:
        """Sets the offsets; a new pass begins."""
        self.values, self.place = [value.detach().requires_grad_() for value in values], 0


class RandomState:
    """The state of torch's generators when it was made: passes that are to drop the same start from the same."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu)


def attack_of(config: AdversarialConfig, model: nn.Module) -> WeightAttack | OutputAttack | VirtualAttack:
    """The attack that settings describe. Raises ConfigError for a target that matches no parameter of the model."""
    if config.kind == "vat":
        return VirtualAttack(config, model.get_input_embeddings())
    if config.target == OUTPUT:
        return OutputAttack(config, model.get_input_embeddings())
    return WeightAttack(config, find_targets(model, config.target))


def find_targets(model: nn.Module, target: str) -> list[nn.Parameter]:
    """Trainable parameters that `target` means: the table of word embeddings, else all whose name contains it.

    Raises ConfigError, naming the nearest, when there is none.
    """
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if target == "word_embeddings":
        # Families call the table differently, and all of them know which it is.
        table = model.get_input_embeddings().weight
        found = [value for value in named.values() if value is table]
    else:
        found = [value for name, value in named.items() if target in name]
    if not found:
        parts = dict.fromkeys([*named, *(part for name in named for part in name.split("."))])
        raise ConfigError(f"training.adversarial.target {target!r} is in no trainable parameter's name"
                          f"{nearest(target, ['word_embeddings', OUTPUT, *parts])}")  # fmt: skip
    return found


@contextmanager
def kept(parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Copies of parameters, which are copied back at the end whatever happens: adding and subtracting would round."""
    originals = [parameter.detach().clone() for parameter in parameters]
    try:
        yield originals
    finally:
        with torch.no_grad():
            for parameter, original in zip(parameters, originals, strict=True):
                parameter.copy_(original)


@contextmanager
def gradients_of(parameters: list[nn.Parameter]) -> Iterator[list[Tensor | None]]:
    """The parameters' gradients of the one backward pass inside, without what was accumulated before it."""
    found: list[Tensor | None] = [None] * len(parameters)

    def remember(place: int):
        def hook(gradient: Tensor) -> None:
            found[place] = gradient.detach().clone()

        return hook

    hooks = [parameter.register_hook(remember(place)) for place, parameter in enumerate(parameters)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def unit(gradient: Tensor, rows: bool = False) -> Tensor:
    """The direction of a gradient, of l2 norm 1, each row's by itself if `rows`; zero if it is zero or not finite."""
    # A loss that is scaled for half precision would overflow in a square; the largest entry is divided out first.
    over = tuple(range(1, gradient.dim())) if rows else tuple(range(gradient.dim()))
    gradient = gradient / gradient.abs().amax(over, keepdim=True)
    return _finite(gradient / gradient.square().sum(over, keepdim=True).sqrt())


def project(offset: Tensor, radius: float | Tensor, rows: bool = False) -> Tensor:
    """The offset, each row's by itself if `rows`, shortened to l2 norm `radius` where it is longer."""
    over = tuple(range(1, offset.dim())) if rows else tuple(range(offset.dim()))
    norm = offset.square().sum(over, keepdim=True).sqrt()
    return torch.where(norm > radius, offset * (radius / norm), offset)


def _finite(way: Tensor) -> Tensor:
    return way.nan_to_num(0.0, 0.0, 0.0)


def _random_start(size: float, sphere: bool = False) -> Callable[[Tensor], Tensor]:
    """Offsets uniform in (-1, 1) / sqrt(entries of a row) * size, or normal ones whose rows have norm `size`.

    They come from a generator of their own: passes that draw them drop the same as passes that do not.
    """
    seed, generators = int(torch.randint(2**62, ())), {}

    def start(output: Tensor) -> Tensor:
        device = output.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        drawn = torch.empty_like(output)
        if sphere:
            return size * unit(drawn.normal_(generator=generators[device]), rows=True)
        return drawn.uniform_(-1, 1, generator=generators[device]) * size / output[0].numel() ** 0.5

    return start
