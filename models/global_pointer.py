"""GlobalPointer: every span scored by the inner product of its first and last word, for nested entities too."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.span_grids import SpanGridConfig, SpanGridTagger


class GlobalPointerConfig(SpanGridConfig):
    """Settings of `GlobalPointer`.

    head_size: features of the inner product, even. efficient: one inner product says where entities are, and two
    linear scores of each word say of which type (far fewer weights for many types); else an inner product a type.
    rotary: rotate the features by the word's position, so that the score knows how long a span is.
    Others: see `SpanGridConfig`.
    """

    model_type = "global_pointer"

    head_size: int = 64
    efficient: bool = True
    rotary: bool = True

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.head_size < 2 or self.head_size % 2:
            raise ValueError(f"head_size must be even and at least 2, got {self.head_size}")


class GlobalPointer(SpanGridTagger):
    """Words -> query and key of each type -> rotary positions -> score of each span and type.

    The loss pulls the scores of entities above 0 and those of all other spans below, without a weight for how few the
    entities are.
    Source: Su Jianlin 2021 (kexue.fm/archives/8373) and Su et al. 2022, arXiv 2208.03054 (GlobalPointer); Su Jianlin
    2022 (kexue.fm/archives/8877, Efficient GlobalPointer); Su et al. 2021, arXiv 2104.09864 (rotary positions).
    """

    config_class = GlobalPointerConfig

    def add_layers(self, config: GlobalPointerConfig) -> None:
        """Create the words' layers, and the projections to queries, keys and types."""
        size, types = self.add_word_layers(config), len(config.types)
        self.pointers = nn.Linear(size, 2 * config.head_size * (1 if config.efficient else types))
        self.type_scores = nn.Linear(2 * config.head_size, 2 * types) if config.efficient else None

    def grid(self, words: Tensor) -> Tensor:
        """Scores (samples, batch, words, words, types)."""
        pointers = self.pointers(self.dropout(words))
        # (samples, batch, words, 1 or types, 2, head_size)
        query, key = pointers.unflatten(-1, (-1, 2, self.config.head_size)).unbind(-2)
        if self.config.rotary:
            query, key = rotate(query), rotate(key)
        scores = torch.einsum("sbmtd,sbntd->sbmnt", query, key) / math.sqrt(self.config.head_size)
        if self.type_scores is None:
            return scores
        first, last = (self.type_scores(pointers) / 2).chunk(2, dim=-1)
        return scores + first[:, :, :, None] + last[:, :, None]

    def grid_loss(self, scores: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """log(1 + sum of e^score over no entities) + log(1 + sum of e^-score over entities), for each row and type.

        Summed over types, averaged over rows and dropout samples. Arguments as in `SpanGridTagger.grid_loss`.
        """
        others = scores.masked_fill(targets | ~valid[..., None], -torch.inf)
        entities = (-scores).masked_fill(~targets, -torch.inf)
        # The class in front is the threshold: it has the fixed score 0.
        sides = [F.pad(side.flatten(2, 3), (0, 0, 1, 0)).logsumexp(2) for side in (others, entities)]
        return (sides[0] + sides[1]).sum(-1).mean()


def rotate(x: Tensor) -> Tensor:
    """Rotary positions: features 2i and 2i + 1 turn by position * 10000^(-2i / features).

    x (samples, batch, words, heads, features), features even. Returns a float32 tensor of that shape; the inner product
    of two rotated vectors depends on their positions by the difference alone.
    Source: Su et al. 2021, arXiv 2104.09864, section 3.4.2.
    """
    words, features = x.shape[2], x.shape[-1]
    # Angles in half precision would take distant words for neighbours.
    rates = 10_000.0 ** (-torch.arange(0, features, 2, device=x.device, dtype=torch.float32) / features)
    angles = torch.arange(words, device=x.device, dtype=torch.float32)[:, None, None] * rates
    even, odd = x.float()[..., 0::2], x.float()[..., 1::2]
    sine, cosine = angles.sin(), angles.cos()
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)
