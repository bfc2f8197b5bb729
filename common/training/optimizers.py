"""Optimizers, and their parameter groups: learning rates by part and by depth, weight decay where it belongs."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from common.training.arguments import TrainingConfig

LAYER = re.compile(r"\.(?:layers?|h|albert_layer_groups)\.(\d+)\.")


def parameter_groups(model: nn.Module, config: TrainingConfig, part_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """Optimizer groups of a model's trainable parameters.

    part_of: names a parameter's part: "encoder", "recurrent" or "head".
    Returns groups with params, lr and weight_decay; each parameter is in exactly one. Biases and norms are not decayed.
    The encoder's rate falls by config.layer_decay from each layer to the one below, the embeddings being the lowest.
    Source of layer-wise decay: Howard and Ruder 2018, section 3.2.
    """
    rates = {
        "encoder": config.learning_rate or rate_by_width(_width(model)),
        "recurrent": config.recurrent_learning_rate,
        "head": config.head_learning_rate,
    }
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    depths = {name: depth_of(name) for name, _ in named if part_of(name) == "encoder"}
    top = max((depth for depth in depths.values() if depth is not None), default=0)
    groups: dict[tuple[float, float], list[torch.Tensor]] = {}
    for name, value in named:
        part = part_of(name)
        rate = rates[part]
        if part == "encoder" and config.layer_decay != 1:
            rate *= config.layer_decay ** (top - (depths[name] if depths[name] is not None else top))
        decay = config.weight_decay if value.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(value)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def rate_by_width(width: int) -> float:
    """A learning rate to fine-tune a pretrained encoder with, by the size of its hidden states.

    2e-5 at 768, as published for BERT-base, and by the square of the width elsewhere: 1e-5 at 1024, 8e-5 at 384, 2e-4
    at 256, which is what published large and small encoders are fine-tuned with; never above 1e-3.
    """
    return min(2e-5 * (768 / width) ** 2, 1e-3)


def _width(model: nn.Module) -> int:
    return getattr(getattr(getattr(model, "config", None), "encoder", None), "hidden_size", 768)


def depth_of(name: str) -> int | None:
    """0 for embeddings, n + 1 for layer n, None for what belongs to no layer (a final norm): it counts as the top."""
    if found := LAYER.search(f".{name}"):
        return int(found.group(1)) + 1
    return 0 if "embedding" in name else None


def build_optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over the groups' learning rates and decays; plain AdamW without any.

    Adafactor takes the given learning rates as they are, without its own schedule or scaling by weights, and has no
    first moment. RAdam steps along the first moment while its variance is not known, as in the paper's algorithm 2.
    Where they are not as published: Adafactor's second moment decays by 1 - t^-0.8, but never by more than betas[1];
    RAdam's variance counts as known from a length of 5 on, where the paper has it above 4 (a step earlier at 0.999),
    and its epsilon is added before the second moment's correction; both have AdamW's weight decay, which their papers'
    algorithms have not.
    Sources: Loshchilov and Hutter 2019 (AdamW); Shazeer and Stern 2018 (Adafactor); You et al. 2020 (LAMB); Liu et al.
    2020 (RAdam); Zhang et al. 2019 (Lookahead, algorithm 1).
    """
    own, betas = config.optimizer, tuple(config.betas)
    if own is None or (own.name == "adamw" and not own.lookahead):
        # One pass over the weights in place of one an operation: a tenth of a small model's step.
        return torch.optim.AdamW(groups, betas=betas, fused=True)
    # Only now: the package is slow to import, and most runs do not need it.
    from pytorch_optimizer import AdaFactor, Lookahead, RAdam

    if own.name == "adafactor":
        optimizer = AdaFactor(groups, betas=(None, betas[1]), scale_parameter=False, relative_step=False)
    elif own.name == "lamb":
        optimizer = Lamb(groups, betas=betas)
    elif own.name == "radam":
        optimizer = RAdam(groups, betas=betas, degenerated_to_sgd=True)
    else:
        optimizer = torch.optim.AdamW(groups, betas=betas, fused=True)
    return Lookahead(optimizer, k=own.lookahead, alpha=own.lookahead_alpha) if own.lookahead else optimizer


class Lamb(torch.optim.Optimizer):
    """Adam whose step, weight decay included, has in each parameter the length lr times the parameter's norm.

    groups: parameters, with their own lr and weight_decay where they have any; lr, betas, eps: as Adam's.
    pytorch_optimizer's divides by 1 - beta1^t after it has scaled the step, which makes the first ones ten times too
    long.
    Source: You et al. 2020, algorithm 2.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One step along the gradients that the parameters have; those without one stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for value in group["params"]:
                if value.grad is None:
                    continue
                state = self.state[value]
                if not state:
                    state |= {"step": 0, "first": torch.zeros_like(value), "second": torch.zeros_like(value)}
                state["step"] += 1
                state["first"].lerp_(value.grad, 1 - beta1)
                state["second"].mul_(beta2).addcmul_(value.grad, value.grad, value=1 - beta2)
                spread = (state["second"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
                way = state["first"] / (1 - beta1 ** state["step"]) / spread + group["weight_decay"] * value
                norm, length = value.norm(), way.norm()
                # A parameter that starts at zero, such as a bias, could never leave it by steps of its own norm.
                ratio = torch.where((norm > 0) & (length > 0), norm / length, 1.0)
                value.sub_(group["lr"] * ratio * way)
        return loss
