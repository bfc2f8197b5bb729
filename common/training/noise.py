"""Random noise inside an encoder while it is trained: NEFTune on embeddings, HyPe on what each layer reads."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from common.config import ConfigError
from common.training.optimizers import LAYER
from common.training.tricks import NoiseConfig


def add_noise(model: nn.Module, config: NoiseConfig) -> list[RemovableHandle]:
    """Registers the noise on a model; in evaluation there is none. Returns the hooks, each with `remove`."""
    hooks = []
    if config.neftune:

        def neftune(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            return output + embedding_noise(output, config.neftune) if module.training else None

        hooks.append(model.get_input_embeddings().register_forward_hook(neftune))
    if config.hype:

        def hype(module: nn.Module, inputs: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
            if not module.training:
                return None
            if inputs:
                return (inputs[0] + hidden_noise(inputs[0], config.hype, config.hype_kind), *inputs[1:]), kwargs
            hidden = kwargs["hidden_states"]
            return inputs, {**kwargs, "hidden_states": hidden + hidden_noise(hidden, config.hype, config.hype_kind)}

        for layer in encoder_layers(model):
            hooks.append(layer.register_forward_pre_hook(hype, with_kwargs=True))
    return hooks


def embedding_noise(embedded: Tensor, alpha: float) -> Tensor:
    """Uniform noise of up to alpha / sqrt(length * size). embedded (batch, length, size).

    Source: Jain et al. 2024 (NEFTune), algorithm 1.
    """
    return torch.empty_like(embedded).uniform_(-1, 1) * alpha / (embedded.shape[1] * embedded.shape[2]) ** 0.5


def hidden_noise(hidden: Tensor, size: float, kind: str) -> Tensor:
    """Noise like hidden: normal with standard deviation `size`, or uniform of up to `size`.

    Source: Yuan et al. 2023 (HyPe), section 3.
    """
    noise = torch.empty_like(hidden)
    return noise.normal_(0, size) if kind == "normal" else noise.uniform_(-size, size)


def encoder_layers(model: nn.Module) -> list[nn.Module]:
    """The encoder's layers from the lowest to the top. Raises ConfigError for one that has no stack of layers."""
    found: dict[int, nn.Module] = {}
    for name, module in model.named_modules():
        # "encoder.layer.3." and no deeper: what stands right under a numbered member of the stack.
        if (match := LAYER.search(f".{name}.")) and match.end() == len(name) + 2 and not isinstance(module, nn.LSTM):
            found.setdefault(int(match.group(1)), module)
    if not found:
        raise ConfigError("training.noise.hype and training.layers need an encoder with a stack of layers, such as "
                          "BERT; this one has none: set them to 0 for this member")  # fmt: skip
    return [found[number] for number in sorted(found)]
