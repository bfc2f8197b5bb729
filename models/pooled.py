"""What heads that read one vector a text share: the encoder run over padded texts, and its states pooled."""

from typing import Any

import torch
from torch import Tensor

from models.heads import Head, HeadConfig, MultiSampleDropout
from models.pooling import KINDS, Pooling


class PooledConfig(HeadConfig):
    """Settings of heads on a pooled text. pooling: see `Pooling`. Others: see `HeadConfig`."""

    pooling: str = "cls"

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.pooling not in KINDS:
            raise ValueError(f"unknown pooling {self.pooling!r}: expected one of {', '.join(KINDS)}")


class PooledHead(Head):
    """Encoder -> pooling -> multi-sample dropout; a subclass makes something of the vectors."""

    config_class = PooledConfig

    def add_pooling(self, config: PooledConfig) -> int:
        """Create pooling and dropout. Returns how many features a text then has."""
        self.pooling = Pooling(config.pooling, config.encoder.hidden_size, getattr(config.encoder, "vocab_size", None))
        self.dropout = MultiSampleDropout(config.dropout, config.multi_sample_dropout)
        return self.pooling.output_size

    def pool(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """One vector a text: (batch, pooling.output_size)."""
        if attention_mask is None:
            shape = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]
            attention_mask = torch.ones(shape, dtype=torch.long, device=self.device)
        extra: dict[str, Any] = {} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        if self.pooling.needs_layers:
            extra["output_hidden_states"] = True
        output = self.encode(input_ids, attention_mask, token_type_ids, **extra)
        return self.pooling(
            output.last_hidden_state, attention_mask, input_ids, output.hidden_states if extra else None
        )
