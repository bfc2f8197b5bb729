"""NEZHA: BERT with relative positions in place of position embeddings. transformers 5 no longer has it."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput
from transformers.models.bert.modeling_bert import (
    BertIntermediate,
    BertLMPredictionHead,
    BertOnlyMLMHead,
    BertOutput,
    BertPooler,
    BertSelfOutput,
)
from transformers.utils.generic import can_return_tuple

from models.relative_positions import ClippedPositions, GatheredPositions, UnclippedPositions, relative_positions

Positions = UnclippedPositions | ClippedPositions | GatheredPositions


class NezhaConfig(PretrainedConfig):
    """Settings of `NezhaModel`, named and preset as in transformers 4.

    max_relative_position: the distance, in tokens, at which relative positions are clipped.
    max_position_embeddings: the longest row of the pretraining; longer ones work, since nothing is learned by place.
    The other settings are BERT's. Raises ValueError for heads that do not divide hidden_size into even sizes, which
    sinusoids need.
    """

    model_type = "nezha"

    vocab_size: int = 21128
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    max_relative_position: int = 64
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = 0.1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} gives {self.num_attention_heads} heads no even size each: expected a "
                f"multiple of {2 * self.num_attention_heads}"
            )
        if self.max_relative_position < 1:
            raise ValueError(f"max_relative_position must be at least 1, got {self.max_relative_position}")


class NezhaEmbeddings(nn.Module):
    """Words and token types, normalised; places come into the attention only."""

    def __init__(self, config: NezhaConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, inputs_embeds: Tensor, token_type_ids: Tensor) -> Tensor:
        """inputs_embeds (batch, length, hidden_size), token_type_ids (batch, length). Returns the first one's shape."""
        return self.dropout(self.LayerNorm(inputs_embeds + self.token_type_embeddings(token_type_ids)))


class NezhaSelfAttention(nn.Module):
    """Attention in which relative positions are added to the keys and to the values.

    Source: Wei et al. 2019, section 3.1, equations 3 and 4.
    """

    def __init__(self, config: NezhaConfig) -> None:
        super().__init__()
        self.head_size = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, hidden: Tensor, mask: Tensor | None, positions: Positions, fused: bool
    ) -> tuple[Tensor, Tensor | None]:
        """hidden (batch, length, hidden_size); mask as `NezhaModel` makes it; fused: never hold the weights.

        Returns the context, shaped as hidden, and the weights (batch, heads, length, length), None if fused.
        """
        query, key, value = (
            layer(hidden).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        dropout, weights = (self.dropout.p if self.training else 0.0), None
        # The values' positions need the weights, so only what `attend` can do is fused. On the CPU torch has no fused
        # kernel with dropout, and what takes its place is slower than the lines below.
        if fused and isinstance(positions, UnclippedPositions) and not (dropout and hidden.device.type == "cpu"):
            context = positions.attend(query, key, value, mask, dropout)
        else:
            query = query / math.sqrt(self.head_size)
            scores = query @ key.transpose(-1, -2) + positions.scores(query)
            weights = self.dropout(F.softmax(_masked(scores, mask), dim=-1))
            context = weights @ value + positions.values(weights)
        return context.transpose(1, 2).flatten(-2), weights


class NezhaLayer(GradientCheckpointingLayer):
    """A BERT layer with relative positions."""

    def __init__(self, config: NezhaConfig) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": NezhaSelfAttention(config), "output": BertSelfOutput(config)})
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(
        self, hidden: Tensor, mask: Tensor | None, positions: Positions, fused: bool
    ) -> tuple[Tensor, Tensor | None]:
        """As `NezhaSelfAttention.forward`, with the layer's output in place of the context."""
        context, weights = self.attention["self"](hidden, mask, positions, fused)
        hidden = self.attention["output"](context, hidden)
        return self.output(self.intermediate(hidden), hidden), weights


class NezhaPreTrainedModel(PreTrainedModel):
    """What both models share: how they start, and what they leave out of a checkpoint in silence."""

    config_class = NezhaConfig
    base_model_prefix = "nezha"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _input_embed_layer = "word_embeddings"
    _no_split_modules = ("NezhaLayer",)
    # Sinusoids, which early releases stored in each layer; what a checkpoint has for tasks that a model does not have.
    _keys_to_ignore_on_load_unexpected = (
        r"relative_positions_encoding\.positions_encoding$",
        r"(^|\.)pooler\.",
        r"^cls\.",
    )

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BertLMPredictionHead):
            init.zeros_(module.bias)


class NezhaModel(NezhaPreTrainedModel):
    """Texts to hidden states.

    add_pooling_layer: also transform the first token's state, as next sentence prediction trained it.
    Source: Wei et al. 2019, "NEZHA: Neural Contextualized Representation for Chinese Language Understanding".
    """

    def __init__(self, config: NezhaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = NezhaEmbeddings(config)
        layers = nn.ModuleList(NezhaLayer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode texts of any length.

        input_ids (batch, length), or inputs_embeds (batch, length, hidden_size); attention_mask (batch, length), 1 for
        tokens, 0 for padding, or (batch, 1, length, length) for each pair of tokens; token_type_ids (batch, length).
        Returns last_hidden_state (batch, length, hidden_size), pooler_output (batch, hidden_size) with a pooling layer
        and, if asked for, hidden_states (the embeddings and each layer's output) and attentions (each layer's weights).
        Raises ValueError unless given exactly one of input_ids and inputs_embeds.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embeddings.word_embeddings(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
        all_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        all_weights = self.config.output_attentions if output_attentions is None else output_attentions

        mask = create_bidirectional_mask(self.config, inputs_embeds, attention_mask)
        hidden = self.embeddings(inputs_embeds, token_type_ids)
        positions = self._positions(hidden)
        fused = self.config._attn_implementation == "sdpa" and not all_weights
        states, attentions = [hidden], []
        for layer in self.encoder["layer"]:
            hidden, weights = layer(hidden, mask, positions, fused)
            if all_states:
                states.append(hidden)
            if all_weights:
                attentions.append(weights)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=None if self.pooler is None else self.pooler(hidden),
            hidden_states=tuple(states) if all_states else None,
            attentions=tuple(attentions) if all_weights else None,
        )

    def _positions(self, hidden: Tensor) -> Positions:
        config, kind = self.config, hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        size = config.hidden_size // config.num_attention_heads
        return relative_positions(hidden.shape[1], size, config.max_relative_position, dtype, hidden.device)


class NezhaForMaskedLM(NezhaPreTrainedModel):
    """NEZHA with the masked language model head that it was pretrained with."""

    _tied_weights_keys = {  # noqa: RUF012
        "cls.predictions.decoder.weight": "nezha.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: NezhaConfig) -> None:
        super().__init__(config)
        self.nezha = NezhaModel(config, add_pooling_layer=False)
        self.cls = BertOnlyMLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The layer that scores the vocabulary."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the layer that scores the vocabulary."""
        self.cls.predictions.decoder, self.cls.predictions.bias = value, value.bias

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Predict the vocabulary at every place.

        Inputs as in `NezhaModel.forward`; labels (batch, length), -100 where nothing is predicted.
        Returns logits (batch, length, vocab_size), the mean cross-entropy as loss if there are labels, hidden_states
        and attentions as `NezhaModel` does. Raises as `NezhaModel.forward`.
        """
        outputs = self.nezha(input_ids, attention_mask, token_type_ids, inputs_embeds, **kwargs | {"return_dict": True})
        logits = self.cls(outputs.last_hidden_state)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss, logits, outputs.hidden_states, outputs.attentions)


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores under a mask of either kind: on for what is seen, or numbers to add."""
    if mask is None:
        return scores
    # The smallest number, where minus infinity would make a row that sees nothing not a number.
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask


AutoConfig.register(NezhaConfig.model_type, NezhaConfig, exist_ok=True)
AutoModel.register(NezhaConfig, NezhaModel, exist_ok=True)
AutoModelForMaskedLM.register(NezhaConfig, NezhaForMaskedLM, exist_ok=True)
AutoTokenizer.register(NezhaConfig, tokenizer_class=BertTokenizer, exist_ok=True)
