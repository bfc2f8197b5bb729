"""From the hidden states of a text to one vector."""

import torch
from torch import Tensor, nn

KINDS = ("cls", "mean", "max", "attention", "idf", "last_four")


class Pooling(nn.Module):
    """One vector for each text.

    kind: "cls" (the first token), "mean", "max", "attention" (learned weights), "idf" (mean weighted by the tokens'
    inverse document frequency, see `set_idf`) or "last_four" (first tokens of the last four layers, side by side).
    hidden_size: features of the hidden states. vocab_size: tokens that have an idf, for "idf" only.
    `output_size` tells the features of the result. Padding influences nothing.
    Raises ValueError for an unknown kind.
    """

    def __init__(self, kind: str, hidden_size: int, vocab_size: int | None = None) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown pooling {kind!r}: expected one of {', '.join(KINDS)}")
        self.kind = kind
        self.output_size = hidden_size * (4 if kind == "last_four" else 1)
        if kind == "attention":
            self.attention = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1))
        if kind == "idf":
            if vocab_size is None:
                raise ValueError("idf pooling needs vocab_size")
            # Until `set_idf`, every token weighs the same and the pooling is a mean.
            self.register_buffer("token_idf", torch.ones(vocab_size))

    @property
    def needs_layers(self) -> bool:
        """Whether `forward` reads hidden_states, so that the encoder is called with output_hidden_states=True."""
        return self.kind == "last_four"

    def set_idf(self, idf: Tensor) -> None:
        """Set the weights of "idf" pooling, fitted on training texts only.

        idf (vocab_size,): finite and not negative. Returns nothing. Raises ValueError otherwise, or for another kind.
        """
        if self.kind != "idf":
            raise ValueError(f"{self.kind} pooling has no idf")
        idf = torch.as_tensor(idf, dtype=self.token_idf.dtype)
        if idf.shape != self.token_idf.shape or not idf.isfinite().all() or (idf < 0).any():
            raise ValueError(
                f"idf must hold {len(self.token_idf)} finite values of at least 0, got shape {tuple(idf.shape)}"
            )
        self.token_idf.copy_(idf)

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor,
        input_ids: Tensor | None = None,
        hidden_states: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Pool.

        hidden (batch, length, hidden_size); attention_mask (batch, length); input_ids (batch, length), for "idf";
        hidden_states: embeddings and every layer's output, for "last_four".
        Returns (batch, output_size); zeros for a text without tokens, but for "cls" and "last_four".
        Raises ValueError if an input that the kind needs is missing.
        """
        if self.kind == "cls":
            return hidden[:, 0]
        if self.kind == "last_four":
            if hidden_states is None or len(hidden_states) < 5:
                layers = len(hidden_states or ()) - 1
                raise ValueError(f"last_four pooling needs an encoder of at least four layers, got {max(layers, 0)}")
            return torch.cat([layer[:, 0] for layer in hidden_states[-4:]], dim=-1)
        mask = attention_mask.bool()
        if self.kind == "max":
            highest = hidden.masked_fill(~mask[..., None], torch.finfo(hidden.dtype).min).amax(1)
            return highest * mask.any(1, keepdim=True)
        if self.kind == "attention":
            scores = self.attention(hidden)[..., 0].float().masked_fill(~mask, torch.finfo(torch.float32).min)
            weights = (scores.softmax(1) * mask).to(hidden.dtype)
        elif self.kind == "idf":
            if input_ids is None:
                raise ValueError("idf pooling needs input_ids")
            weights = _shares(self.token_idf[input_ids] * mask, mask).to(hidden.dtype)
        else:
            weights = _shares(mask.float(), mask).to(hidden.dtype)
        return torch.einsum("bl,blh->bh", weights, hidden.masked_fill(~mask[..., None], 0.0))


def _shares(weights: Tensor, mask: Tensor) -> Tensor:
    """Weights that sum to one in each row; a row whose tokens all weigh nothing takes the plain mean."""
    total = weights.sum(1, keepdim=True)
    weights = torch.where(total > 0, weights, mask.to(weights.dtype))
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
