"""Parameter groups: learning rates by part and by depth, weight decay where it belongs."""

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
        "encoder": config.learning_rate,
        "recurrent": config.recurrent_learning_rate,
        "head": config.head_learning_rate,
    }
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    depths = {name: _depth(name) for name, _ in named if part_of(name) == "encoder"}
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


def _depth(name: str) -> int | None:
    """0 for embeddings, n + 1 for layer n, None for what belongs to no layer (a final norm): it counts as the top."""
    if found := LAYER.search(f".{name}"):
        return int(found.group(1)) + 1
    return 0 if "embedding" in name else None
