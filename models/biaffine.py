"""Entities by a biaffine classifier: each pair of a first and a last word is of one type, or of none."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.span_grids import SpanGridConfig, SpanGridTagger


class BiaffineConfig(SpanGridConfig):
    """Settings of `BiaffineTagger`.

    span_size: features of a word as first and as last word. Others: see `SpanGridConfig`.
    """

    model_type = "biaffine"

    span_size: int = 150

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.span_size < 1:
            raise ValueError(f"span_size must be at least 1, got {self.span_size}")


class BiaffineTagger(SpanGridTagger):
    """Words -> features as first and as last word -> [first; 1] U [last; 1] for no entity and each type -> softmax.

    The 1s make the linear terms and the bias of the source part of U.
    Source: Yu, Bohnet and Poesio 2020, "Named Entity Recognition as Dependency Parsing", section 3.
    """

    config_class = BiaffineConfig

    def add_layers(self, config: BiaffineConfig) -> None:
        """Create the words' layers, the two projections and the biaffine form."""
        size, classes = self.add_word_layers(config), 1 + len(config.types)
        self.first = nn.Sequential(nn.Linear(size, config.span_size), nn.GELU(), nn.Dropout(config.dropout))
        self.last = nn.Sequential(nn.Linear(size, config.span_size), nn.GELU(), nn.Dropout(config.dropout))
        self.form = nn.Linear(config.span_size + 1, classes * (config.span_size + 1), bias=False)

    def grid(self, words: Tensor) -> Tensor:
        """Scores (samples, batch, words, words, 1 + types), no entity first."""
        words = self.dropout(words)
        first, last = (F.pad(side(words), (0, 1), value=1.0) for side in (self.first, self.last))
        bent = self.form(first).unflatten(-1, (-1, last.shape[-1]))
        return torch.einsum("sbmcj,sbnj->sbmnc", bent, last)

    def grid_loss(self, scores: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Cross entropy of each span's class, summed over spans, averaged over rows and dropout samples.

        A span of several types has its target spread over them. Arguments as in `SpanGridTagger.grid_loss`.
        """
        kinds = targets.to(scores.dtype)
        kinds = kinds / kinds.sum(-1, keepdim=True).clamp(min=1.0)
        classes = torch.cat([1.0 - kinds.sum(-1, keepdim=True), kinds], dim=-1)
        losses = -(classes * scores.log_softmax(-1)).sum(-1)
        return (losses * valid).sum() / (scores.shape[0] * scores.shape[1])

    def log_odds(self, scores: Tensor) -> Tensor:
        """Scores (..., 1 + types) as log-odds (..., types) of each type against no entity."""
        return scores[..., 1:] - scores[..., :1]
