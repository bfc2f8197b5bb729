"""Feature use: a frozen encoder's last layers, side by side, into a BiLSTM that any head takes for an encoder."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutput

from models.encoders import encoder_from_config
from models.recurrent import BidirectionalLSTM, initialise_lstm


class FeatureConfig(PretrainedConfig):
    """Settings of `FeatureEncoder`.

    encoder: configuration of the frozen encoder, or its dict with `model_type`. layers: how many of its last layers are
    read. hidden_size: of the BiLSTM, both directions together; recurrent_layers: how many LSTMs stand on each other.
    dropout: of the features, between the LSTMs and of the output.
    """

    model_type = "features"
    sub_configs_defaults: ClassVar[dict] = {
        "encoder": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True)
    }

    encoder: PretrainedConfig | dict | None = None
    layers: int = 4
    hidden_size: int = 768
    recurrent_layers: int = 2
    dropout: float = 0.1
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.hidden_size % 2 or min(self.layers, self.hidden_size, self.recurrent_layers) < 1:
            raise ValueError(
                f"layers, recurrent_layers and hidden_size must be at least 1, and hidden_size even for its two "
                f"directions: got {self.layers}, {self.recurrent_layers} and {self.hidden_size}"
            )
        depth = getattr(self.encoder, "num_hidden_layers", None)
        if depth is not None and self.layers > depth:
            raise ValueError(f"layers={self.layers} are more than the encoder has: {depth}")

    @property
    def num_hidden_layers(self) -> int:
        """The name that Hugging Face tools look for."""
        return self.recurrent_layers

    @property
    def vocab_size(self) -> int | None:
        """The frozen encoder's."""
        return getattr(self.encoder, "vocab_size", None)

    @property
    def type_vocab_size(self) -> int:
        """The frozen encoder's."""
        return getattr(self.encoder, "type_vocab_size", 2)

    @property
    def pad_token_id(self) -> int | None:
        """The frozen encoder's."""
        return getattr(self.encoder, "pad_token_id", None)

    @pad_token_id.setter
    def pad_token_id(self, value: int | None) -> None:
        # transformers sets it for every configuration; what counts is the nested one.
        pass


class FeatureEncoder(PreTrainedModel):
    """Frozen encoder -> last layers side by side -> BiLSTM.

    The frozen weights get no gradient, stand in no optimizer, and stay in evaluation mode whatever the head is in.
    Source: Devlin et al. 2019 (BERT), section 5.3: four layers into a two-layer BiLSTM of 768.
    """

    config_class = FeatureConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: FeatureConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if encoder is None:
            encoder = encoder_from_config(config.encoder)
        else:
            for module in encoder.modules():
                module._is_hf_initialized = True
        self.encoder = encoder.requires_grad_(False).eval()
        self.dropout = nn.Dropout(config.dropout)
        size = config.layers * encoder.config.hidden_size
        self.recurrent = BidirectionalLSTM(size, config.hidden_size, config.recurrent_layers, config.dropout)
        self.post_init()

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, **settings: Any) -> Self:
        """Freeze an encoder and put a fresh BiLSTM on it.

        encoder: e.g. from `load_encoder`; it is kept, not copied. settings: of `FeatureConfig`.
        Returns the feature encoder, in evaluation mode; give it to a head's `from_encoder`.
        """
        attention = encoder.config._attn_implementation
        return cls(FeatureConfig(encoder=encoder.config, attn_implementation=attention, **settings), encoder).eval()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            initialise_lstm(module)
        else:
            super()._init_weights(module)

    def train(self, mode: bool = True) -> Self:
        """Switch dropout of the BiLSTM on or off; the frozen encoder stays as it is."""
        super().train(mode)
        # from_pretrained puts new parameters in place of the frozen ones, then switches to evaluation.
        self.encoder.requires_grad_(False).eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The frozen encoder's word embeddings."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the frozen encoder's word embeddings."""
        self.encoder.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode texts.

        input_ids (batch, length), or inputs_embeds; attention_mask (batch, length), 1 for tokens, 0 for the padding to
        their right; token_type_ids (batch, length), handed on to an encoder that has several types.
        Returns last_hidden_state (batch, length, hidden_size), zero at padding, and, if asked for, hidden_states: the
        features and each LSTM's output.
        """
        inputs = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
        if token_type_ids is not None and self.config.type_vocab_size > 1:
            inputs["token_type_ids"] = token_type_ids
        with torch.no_grad():
            layers = self.encoder(**{k: v for k, v in inputs.items() if v is not None}, output_hidden_states=True)
            features = torch.cat(layers.hidden_states[-self.config.layers :], dim=-1)
        mask = torch.ones(features.shape[:2], device=features.device) if attention_mask is None else attention_mask
        outputs = self.recurrent(self.dropout(features), mask)
        last = self.dropout(outputs[-1])
        return BaseModelOutput(
            last_hidden_state=last, hidden_states=(features, *outputs[:-1], last) if output_hidden_states else None
        )


AutoConfig.register(FeatureConfig.model_type, FeatureConfig, exist_ok=True)
AutoModel.register(FeatureConfig, FeatureEncoder, exist_ok=True)
