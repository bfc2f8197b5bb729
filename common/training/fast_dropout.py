"""Dropout for training on a CPU: torch draws its masks one number at a time, which is a third of a step."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

ATTENTION = "fast_dropout"
LEVELS = 1 << 16  # a share is rounded to a multiple of 1 / LEVELS, and what is kept is scaled by the rounded one


class FastDropout(nn.Dropout):
    """`nn.Dropout` that draws its masks by `drop` on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        return drop(x, self.p)


def drop(x: Tensor, share: float) -> Tensor:
    """Sets each value to zero with probability `share` and scales the others so that the mean stays.

    x: of any shape, on the CPU. The mask's seed is drawn from torch's generator, so that a seed, a resumed run and a
    checkpointed layer's second pass get the masks that they would get from torch's own dropout: the same each time.
    """
    dropped = round(share * LEVELS)
    if not dropped or not x.numel():
        return x
    if dropped >= LEVELS:
        return x * 0.0
    source = np.random.SFC64(int(torch.randint(1 << 62, ())))
    bits = source.random_raw(math.ceil(x.numel() / 4)).view(np.uint16)[: x.numel()]
    mask = np.multiply(bits >= dropped, np.float32(LEVELS / (LEVELS - dropped)), dtype=np.float32)
    return x * torch.from_numpy(mask).view(x.shape).to(x.dtype)


def use_fast_dropout(model: nn.Module) -> int:
    """Changes a model that is to be trained on a CPU, in place: its weights, their names and its configuration stay.

    Attention goes step by step where it was left to torch's fused kernel, which on a CPU has neither dropout nor a
    fast backward pass in bf16; a model in evaluation still has the fused one.
    Returns how many layers were changed.
    """
    changed = 0
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if type(module) is nn.Dropout:
                replacement = FastDropout(module.p).train(module.training)
                setattr(parent, name, replacement)
                changed += 1
    encoder = getattr(model, "encoder", None)
    fused = isinstance(encoder, PreTrainedModel) and encoder.config._attn_implementation == "sdpa"
    # NEZHA has an attention of its own, which knows all of this.
    if fused and encoder.config.model_type != "nezha":
        AttentionInterface.register(ATTENTION, attend)
        AttentionMaskInterface.register(ATTENTION, eager_mask)
        encoder.set_attn_implementation(ATTENTION)
    return changed


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: object,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention of all heads.

    query, key, value (batch, heads, length, head_size); attention_mask (batch, 1, length or 1, length), added to the
    scores. Returns the contexts (batch, length, heads, head_size), and in training the weights.
    """
    if not module.training:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = drop(scores.softmax(-1), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), weights
