"""What every trainable head shares: a nested encoder, strict loading, and parts that take their own learning rates."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from models.conditional_layer_norm import remember_condition
from models.encoders import encoder_from_config, no_loading_report
from models.recurrent import initialise_lstm


class HeadConfig(PretrainedConfig):
    """Settings of a head, with the encoder's own configuration nested under `encoder`.

    encoder: configuration of the encoder, or its dict with `model_type`. dropout: in front of the last linear layer.
    multi_sample_dropout: how many dropout masks each training loss averages over. initializer_range: standard
    deviation of fresh weights.
    """

    sub_configs_defaults: ClassVar[dict] = {
        "encoder": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True)
    }

    encoder: PretrainedConfig | dict | None = None
    dropout: float = 0.1
    multi_sample_dropout: int = 1
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.multi_sample_dropout < 1:
            raise ValueError(f"multi_sample_dropout must be at least 1, got {self.multi_sample_dropout}")


class MultiSampleDropout(nn.Module):
    """Several dropout masks of one input, to average a loss over.

    dropout: probability. samples: masks in training; evaluation has one copy and drops nothing.
    Source: Inoue 2019, "Multi-Sample Dropout for Accelerated Training and Better Generalization".
    """

    def __init__(self, dropout: float, samples: int = 1) -> None:
        super().__init__()
        self.dropout, self.samples = nn.Dropout(dropout), samples

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, ...). Returns (samples, batch, ...), one sample in evaluation."""
        samples = self.samples if self.training else 1
        return self.dropout(x[None].expand(samples, *x.shape))


class Head(PreTrainedModel):
    """Base of all heads: a subclass builds its layers in `add_layers`, computes in `forward` and `_probabilities`."""

    config_class = HeadConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    # Losses other than a head's own read its features and every dropout sample; only then does `forward` return them.
    with_parts = False
    # Whether a head's likelihood is a product over its `distributions`, so that a loss of those can take its place.
    factored = True
    # Keys of `training.loss` that a head with distributions cannot be given.
    refused_losses: ClassVar[tuple[str, ...]] = ()
    # The log-probability, at least, that `distributions` give a class that this row cannot have, such as padding.
    impossible = -1e4
    # The encoder chooses its own attention; a head that did not say so would forbid it everything but eager.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: HeadConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if config.encoder is None:
            raise ValueError(f"{type(self).__name__} needs an encoder: its configuration has none")
        if encoder is None:
            encoder = encoder_from_config(config.encoder)
        else:
            # What a pretrained encoder holds is not to be initialised again.
            for module in encoder.modules():
                module._is_hf_initialized = True
        self.encoder = encoder
        self.supports_gradient_checkpointing = encoder.supports_gradient_checkpointing
        self._encoder_inputs = frozenset(inspect.signature(encoder.forward).parameters)
        self.add_layers(config)
        self.post_init()

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, **settings: Any) -> Self:
        """Put a fresh head on an encoder.

        encoder: e.g. from `load_encoder`; the head keeps it, it is not copied. settings: of the head's configuration.
        Returns the head. Raises TypeError for a setting that the head does not have.
        """
        kinds = [kind for kind in cls.config_class.__mro__ if issubclass(kind, HeadConfig)]
        own = {name for kind in kinds for name in kind.__annotations__} - {"encoder", "sub_configs_defaults"}
        for name in settings:
            if name not in own:
                raise TypeError(f"{cls.__name__} has no setting {name!r}: expected {', '.join(sorted(own))}")
        # The nested configuration is the encoder's own, and a new outer one would reset its attention to "unknown".
        attention = encoder.config._attn_implementation
        config = cls.config_class(encoder=encoder.config, attn_implementation=attention, **settings)
        return cls(config, encoder=encoder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Restore a head that `save_pretrained` wrote, with its encoder, from a local folder.

        folder: holds config.json and model.safetensors; other arguments as in transformers.
        Returns the head. Raises FileNotFoundError without such a folder and ValueError if weights do not match.
        """
        if not (Path(folder) / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no config.json: expected a folder that save_pretrained wrote")
        wants_information = kwargs.pop("output_loading_info", False)
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        with no_loading_report():
            head, information = super().from_pretrained(folder, *args, **kwargs)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if names := information.get(kind):
                raise ValueError(f"{folder} does not fit {cls.__name__}: {kind} {sorted(map(str, names))}")
        return (head, information) if wants_information else head

    def add_layers(self, config: HeadConfig) -> None:
        """Create the head's own layers, and whatever it changes in `self.encoder`."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            initialise_lstm(module)
        else:
            super()._init_weights(module)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable = checkpoint, **kwargs: Any
    ) -> None:
        # Every way to switch checkpointing on comes through here; the layers get a function that knows the condition.
        super()._set_gradient_checkpointing(enable, remember_condition(gradient_checkpointing_func), **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's word embeddings."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the encoder's word embeddings."""
        self.encoder.set_input_embeddings(value)

    def part_of(self, parameter_name: str) -> str:
        """The part whose learning rate a parameter takes.

        parameter_name: as in `named_parameters`. Returns "encoder" (a pretrained transformer; its condition
        projections too, as in the method's source), "recurrent" (any LSTM, a recurrent encoder as a whole) or "head".
        Raises ValueError for a name that this head does not have.
        """
        name = parameter_name.removeprefix("module.")
        if name.startswith("encoder."):
            if name.startswith("encoder.recurrent."):  # of a FeatureEncoder: all of it that learns
                return "recurrent"
            return "recurrent" if self.config.encoder.model_type == "recurrent" else "encoder"
        if name.startswith("recurrent."):
            return "recurrent"
        if name.split(".")[0] not in self._modules and name not in self._parameters:
            raise ValueError(f"{type(self).__name__} has no parameter {parameter_name!r}")
        return "head"

    def encode(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, token_type_ids: Tensor | None, **kwargs: Any
    ):
        """Run the encoder with those inputs that it takes (some know no token_type_ids). Returns its output."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids, **kwargs}
        # RoBERTa has a single segment; pair tokenizers of other families may still hand over a second one.
        single_segment = getattr(self.config.encoder, "type_vocab_size", 2) in (0, 1)
        if token_type_ids is None or "token_type_ids" not in self._encoder_inputs or single_segment:
            del inputs["token_type_ids"]
        return self.encoder(**inputs)

    @property
    def has_distributions(self) -> bool:
        """Whether the head says what its logits and labels mean as distributions, for losses other than its own."""
        return type(self).distributions is not Head.distributions

    def likelihood(self, samples: Tensor, **batch: Tensor) -> Tensor:
        """The head's own loss, a mean over rows, of logits (samples, batch, ...) and the labels in `batch`."""
        raise NotImplementedError

    def distributions(self, samples: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """What logits (samples, batch, ...) say, as log-probabilities (samples, batch, ..., classes), float32 or more.

        Returns them with weights (batch, ...) that make a weighted sum the mean over rows that `likelihood` is, zero at
        padding.
        """
        raise NotImplementedError

    def targets(self, **batch: Tensor) -> Tensor:
        """The labels as distributions (batch, ..., classes); all zero where there is no label."""
        raise NotImplementedError

    def feature_classes(self, **batch: Tensor) -> Tensor:
        """The gold class of each vector in an output's `features`, without the last axis; -1 for none."""
        raise NotImplementedError

    def partner_labels(self, order: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        """The labels of row order[i] as labels of row i, as far as row i has a place for them. order (batch,)."""
        return {name: value[order] for name, value in batch.items() if "labels" in name}

    @torch.no_grad()
    def probabilities(self, **batch: Tensor) -> Tensor:
        """What ensembling blends, computed without dropout or gradients.

        batch: the tensors of `forward`; labels are not looked at. Returns what the head documents.
        """
        training = self.training
        self.eval()
        try:
            return self._probabilities(**{name: value for name, value in batch.items() if "labels" not in name})
        finally:
            self.train(training)

    def _probabilities(self, **batch: Tensor) -> Tensor:
        raise NotImplementedError
