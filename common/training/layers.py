"""What is done with a pretrained encoder's layers: fresh top layers, mixout, gradual unfreezing."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.training.noise import encoder_layers
from common.training.optimizers import depth_of


def reinitialise(model: nn.Module, count: int) -> None:
    """Starts the encoder's `count` top layers at random, as its family initialises them.

    Source: Zhang et al. 2021, section 5 ("Revisiting few-sample BERT fine-tuning").
    """
    for layer in encoder_layers(model)[-count:] if count else []:
        for module in layer.modules():
            # transformers leaves alone what it knows to be initialised, as pretrained weights are.
            for thing in (module, *module.parameters(recurse=False)):
                thing._is_hf_initialized = False
            model._init_weights(module)


def add_mixout(model: nn.Module, chance: float) -> None:
    """In training, each weight of the encoder's linear layers is the one it has now with probability `chance`.

    The mixture is scaled so that its mean is the trained weight. Nothing changes in evaluation or in what is saved.
    Source: Lee, Cho and Kang 2020, equation 3.
    """
    for layer in encoder_layers(model):
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.forward = MixedLinear(module, chance)


class MixedLinear:
    """The forward pass of a linear module whose weights are mixed with those it had when this was made."""

    def __init__(self, module: nn.Linear, chance: float) -> None:
        self.module, self.chance, self.anchor = module, chance, module.weight.detach().clone()

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.module.weight
        if self.module.training:
            weight = mixout(weight, self.anchor, torch.rand_like(weight) < self.chance, self.chance)
        return F.linear(x, weight, self.module.bias)


def mixout(weight: Tensor, anchor: Tensor, mask: Tensor, chance: float) -> Tensor:
    """(mask * anchor + (1 - mask) * weight - chance * anchor) / (1 - chance)."""
    return (torch.where(mask, anchor, weight) - chance * anchor) / (1 - chance)


class Unfreezing:
    """Drops gradients of layers whose turn to be trained has not come.

    share: of training, by the end of which all layers are trained. The head always is; at first nothing else, then, at
    equal distances, one layer more from the top down, the embeddings last.
    Source: Howard and Ruder 2018, section 3.3, by share of training instead of by epoch.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self.share = share
        named = {name: value for name, value in model.named_parameters() if model.part_of(name) == "encoder"}
        self.top = len(encoder_layers(model))
        self.depths = [
            (self.top if (depth := depth_of(name)) is None else depth, value) for name, value in named.items()
        ]

    def frozen(self, progress: float) -> list[nn.Parameter]:
        """Parameters that are not trained yet. progress: share of training that is over."""
        trained = self.top + 1 if progress >= self.share else int(progress / self.share * (self.top + 1) + 1e-9)
        return [value for depth, value in self.depths if depth <= self.top - trained]

    def drop_gradients(self, progress: float) -> None:
        """Optimizers pass over a parameter without a gradient: neither moments nor weight decay touch it."""
        for value in self.frozen(progress):
            value.grad = None
