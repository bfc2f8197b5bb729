"""Layer norms whose gain and shift depend on a condition, e.g. on the task, put into any encoder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

# A context variable belongs to one thread (or task) and to one `with`: what a call sets, no other call can see.
_condition: ContextVar[Tensor | None] = ContextVar("condition", default=None)


@contextmanager
def conditioned(condition: Tensor) -> Iterator[None]:
    """Give the conditional layer norms of encoders that are called inside this `with` their condition.

    condition (batch, condition_size), one row for each row of the encoder's inputs.
    """
    token = _condition.set(condition)
    try:
        yield
    finally:
        _condition.reset(token)


class ConditionalLayerNorm(nn.Module):
    """Layer norm with gain and shift projected from a condition; it starts as a plain layer norm.

    y = (x - mean) / sqrt(variance + eps) * (weight + condition_gain @ c) + (bias + condition_shift @ c)

    hidden_size: features that are normalised. condition_size: features of the condition. eps: as in `nn.LayerNorm`.
    `weight` and `bias` are named as in `nn.LayerNorm`, so that pretrained weights fit; the projections start at zero.
    Source: Su Jianlin 2019, conditional layer normalization for text generation (kexue.fm/archives/7124).
    """

    def __init__(self, hidden_size: int, condition_size: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.condition_gain = nn.Parameter(torch.zeros(hidden_size, condition_size))
        self.condition_shift = nn.Parameter(torch.zeros(hidden_size, condition_size))

    def extra_repr(self) -> str:
        """Sizes, for `print(model)`."""
        return f"{self.condition_gain.shape[0]}, condition_size={self.condition_gain.shape[1]}, eps={self.eps}"

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise.

        x (batch, ..., hidden_size); condition (batch, condition_size), by default that of the `with conditioned(...)`
        around the call. Returns a tensor shaped like x.
        Raises RuntimeError without a condition and ValueError for a condition of another size or batch.
        """
        condition = _condition.get() if condition is None else condition
        if condition is None:
            raise RuntimeError("an encoder with conditional layer norms must be called inside `with conditioned(...)`")
        if condition.dim() != 2 or condition.shape != (x.shape[0], self.condition_gain.shape[1]):
            raise ValueError(
                f"a condition of shape {tuple(condition.shape)} does not fit hidden states {tuple(x.shape)}: expected "
                f"({x.shape[0]}, {self.condition_gain.shape[1]})"
            )
        condition = condition.to(self.weight.dtype)
        shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
        gain = (self.weight + F.linear(condition, self.condition_gain)).view(shape)
        shift = (self.bias + F.linear(condition, self.condition_shift)).view(shape)
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=self.eps), gain)


def condition_layer_norms(encoder: PreTrainedModel, condition_size: int) -> int:
    """Replace every layer norm of an encoder by a conditional one that keeps its gain and shift.

    encoder: changed in place; from then on call it inside `with conditioned(condition):`. condition_size: features
    of the condition. The names of existing weights do not change. Gradient checkpointing works, reentrant or not.
    Returns how many norms were replaced. Raises ValueError if there are none, or if they are conditional already.
    """
    if any(isinstance(module, ConditionalLayerNorm) for module in encoder.modules()):
        raise ValueError(f"{type(encoder).__name__} has conditional layer norms already")
    replaced = 0
    for parent in list(encoder.modules()):
        # DeBERTa normalises its table of relative positions, which all rows of a batch share: no row's condition fits.
        shared = hasattr(parent, "rel_embeddings")
        for name, module in list(parent.named_children()):
            if _is_layer_norm(module) and not shared:
                setattr(parent, name, _conditional(module, condition_size))
                replaced += 1
    if not replaced:
        raise ValueError(f"{type(encoder).__name__} has no layer norm to condition")

    encoder._set_gradient_checkpointing = partial(_switch_checkpointing, encoder)
    return replaced


def remember_condition(checkpointing: Callable) -> Callable:
    """A gradient checkpointing function whose recomputation runs under the condition of the first run.

    checkpointing: called as checkpointing(function, *inputs). Returns the same, wrapped once however often it is asked.

    The recomputation happens in the backward pass: after the `with` has ended and, on a GPU, in another thread. The
    condition therefore travels as one of the inputs, which also carries its gradient when checkpointing is reentrant.
    """
    if getattr(checkpointing, "remembers_condition", False):
        return checkpointing

    def remembering(function: Callable, *inputs: Any, **settings: Any) -> Any:
        condition = _condition.get()
        if condition is None:
            return checkpointing(function, *inputs, **settings)

        def run(condition: Tensor, *inputs: Any) -> Any:
            with conditioned(condition):
                return function(*inputs)

        return checkpointing(run, condition, *inputs, **settings)

    remembering.remembers_condition = True
    return remembering


def _switch_checkpointing(
    encoder: PreTrainedModel, enable: bool = True, gradient_checkpointing_func: Callable = checkpoint, **kwargs: Any
) -> None:
    """Stands in for a conditioned encoder's `_set_gradient_checkpointing`."""
    function = remember_condition(gradient_checkpointing_func)
    type(encoder)._set_gradient_checkpointing(encoder, enable, function, **kwargs)


def _is_layer_norm(module: nn.Module) -> bool:
    """nn.LayerNorm, and look-alikes by name: those with one gain and one shift for each feature."""
    if isinstance(module, nn.LayerNorm):
        return module.elementwise_affine and len(module.normalized_shape) == 1 and module.bias is not None
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    named = type(module).__name__.lower().endswith("layernorm")
    return named and weight is not None and bias is not None and weight.dim() == 1 and weight.shape == bias.shape


def _conditional(norm: nn.Module, condition_size: int) -> ConditionalLayerNorm:
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 1e-12)
    with torch.device(norm.weight.device):
        conditional = ConditionalLayerNorm(norm.weight.shape[0], condition_size, eps).to(norm.weight.dtype)
    conditional.weight, conditional.bias = norm.weight, norm.bias
    conditional.train(norm.training)
    # Its gain and shift are those of the norm that it replaces: nothing is left to initialise.
    conditional._is_hf_initialized = True
    return conditional
