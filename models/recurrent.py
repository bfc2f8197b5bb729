"""A bidirectional LSTM over word embeddings, as a Hugging Face encoder of model type "recurrent"."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput


class RecurrentConfig(PretrainedConfig):
    """Settings of `RecurrentEncoder`.

    vocab_size, embedding_size: of the embeddings. hidden_size: of the output, both directions together.
    num_layers: LSTM layers. pad_token_id: the id that embeds to zero.
    token_dropout: share of tokens that lose their embedding in training (they become unk_token_id where that is set).
    spatial_dropout: share of embedding features dropped for a whole text at once. embedding_dropout: of single values.
    dropout: of the values between layers and of the output. layer_norm: normalise the output.
    initializer_range: standard deviation of fresh embeddings (vectors far smaller than 0.1 start an LSTM slowly).
    bigram_size: features of an embedding of each pair of neighbouring tokens, looked up for (left, own) and (own,
    right); 0 for none. bigrams: how many pairs have one. bigram_dropout: share of pairs that lose theirs in training.
    bigram_initializer_range: standard deviation of fresh bigram embeddings; small, since most pairs are rare and what
    training does not reach stays as it began.
    type_vocab_size: token types that have an embedding, which is added to the word's; 0 for none.
    skip: the output ends with the embeddings themselves; hidden_size counts them, so that the LSTM has the rest of it.
    """

    model_type = "recurrent"

    vocab_size: int = 21128
    embedding_size: int = 128
    hidden_size: int = 256
    num_layers: int = 1
    pad_token_id: int | None = 0
    unk_token_id: int | None = None
    token_dropout: float = 0.0
    spatial_dropout: float = 0.0
    embedding_dropout: float = 0.1
    dropout: float = 0.1
    layer_norm: bool = True
    initializer_range: float = 0.1
    bigram_size: int = 0
    bigrams: int = 0
    bigram_dropout: float = 0.0
    bigram_initializer_range: float = 0.05
    type_vocab_size: int = 0
    skip: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.lstm_size % 2 or self.lstm_size < 2:
            raise ValueError(f"the LSTM holds two directions of one size: hidden_size={self.hidden_size} leaves it "
                             f"{self.lstm_size}, expected an even number above 0")  # fmt: skip
        if min(self.vocab_size, self.embedding_size, self.hidden_size, self.num_layers) < 1:
            raise ValueError("vocab_size, embedding_size, hidden_size and num_layers must be at least 1")
        for name in ("token_dropout", "spatial_dropout", "embedding_dropout", "dropout", "bigram_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")

    @property
    def input_size(self) -> int:
        """Features of a token as the LSTM sees it."""
        return self.embedding_size + 2 * self.bigram_size

    @property
    def lstm_size(self) -> int:
        """Features that the LSTM puts out, both directions together."""
        return self.hidden_size - (self.input_size if self.skip else 0)

    @property
    def num_hidden_layers(self) -> int:
        """The name that Hugging Face tools look for."""
        return self.num_layers


class BidirectionalLSTM(nn.Module):
    """Stacked bidirectional LSTM over right-padded rows whose padding influences nothing.

    input_size, hidden_size (both directions together, even), num_layers, dropout between layers.

    Each direction is an LSTM of its own, and the backward one reads every row mirrored by its length. On the CPU that
    takes 0.55 of the time of packed sequences (batch 32, 64 words, 256 -> 512), which oneDNN's LSTM cannot read.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(size, hidden_size // 2, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(nn.LSTM(size, hidden_size // 2, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """Read rows in both directions.

        x (batch, length, input_size); mask (batch, length), on for words, off for the padding to their right.
        Returns each layer's (batch, length, hidden_size), zero at padding.
        """
        mask = mask.bool()
        steps = torch.arange(x.shape[1], device=x.device)
        mirror = torch.where(mask, mask.sum(1, keepdim=True) - 1 - steps, steps)
        mirror = (mirror + torch.arange(len(x), device=x.device)[:, None] * x.shape[1]).flatten()
        layers: list[Tensor] = []
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            x = self.dropout(layers[-1]) if layers else x
            rightward = forwards(x)[0]
            leftward = _Mirrored.apply(backwards(_Mirrored.apply(x, mirror))[0], mirror)
            layers.append(torch.cat([rightward, leftward], dim=-1) * mask[..., None])
        return layers


class _Mirrored(torch.autograd.Function):
    """Rows with their words in another order, one that gives the first when it is applied twice."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor) -> Tensor:
        """x (batch, length, features); places (batch * length,), where each word comes from."""
        ctx.save_for_backward(places)
        return x.flatten(0, 1).index_select(0, places).view(x.shape)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        # The order is its own inverse, so that gradients are moved, not added up.
        return _Mirrored.apply(upstream, *ctx.saved_tensors), None


def initialise_lstm(lstm: nn.LSTM) -> None:
    """Xavier input weights, orthogonal recurrent weights, zero biases but for the forget gate's, which is 1.

    Source: Jozefowicz, Zaremba and Sutskever 2015, section 3.2 (forget gate bias).
    """
    for name, parameter in lstm.named_parameters():
        if getattr(parameter, "_is_hf_initialized", False):
            continue
        with torch.no_grad():
            if "bias" in name:
                init.zeros_(parameter)
                if "bias_ih" in name:
                    size = lstm.hidden_size
                    parameter[size : 2 * size] = 1.0
            else:
                initialise = init.xavier_uniform_ if "weight_ih" in name else init.orthogonal_
                for gate in parameter.chunk(4):
                    initialise(gate)


class RecurrentEncoder(PreTrainedModel):
    """Embeddings -> bidirectional LSTM -> layer norm, right-padded rows in, hidden states out.

    Source: Huang, Xu and Yu 2015, section 2.2.
    """

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.type_embeddings = None
        if config.type_vocab_size:
            self.type_embeddings = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        # Dropout1d drops whole rows of a (batch, rows, columns) tensor.
        self.spatial_dropout = nn.Dropout1d(config.spatial_dropout)
        self.bigram_embeddings = None
        if config.bigram_size:
            # Row 0 is every pair that has no embedding of its own.
            self.bigram_embeddings = nn.Embedding(config.bigrams + 1, config.bigram_size, padding_idx=0)
            self.register_buffer("bigram_keys", torch.zeros(config.bigrams, dtype=torch.long))
        self.lstm = BidirectionalLSTM(config.input_size, config.lstm_size, config.num_layers, config.dropout)
        self.LayerNorm = nn.LayerNorm(config.hidden_size) if config.layer_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            initialise_lstm(module)
        elif module is self.bigram_embeddings:
            init.normal_(module.weight, mean=0.0, std=self.config.bigram_initializer_range)
            if not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[0])
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings by others of the same embedding size."""
        self.embeddings = value

    def load_word_vectors(self, matrix: Tensor) -> None:
        """Start the embeddings from word vectors, e.g. word2vec's.

        matrix (vocab_size, embedding_size), row i for token id i; a row that is all NaN keeps its random start.
        Returns nothing. Raises ValueError for another shape or other values that are not finite.
        """
        matrix = torch.as_tensor(matrix)
        if matrix.shape != self.embeddings.weight.shape:
            raise ValueError(
                f"word vectors of shape {tuple(matrix.shape)} do not fit embeddings of shape "
                f"{tuple(self.embeddings.weight.shape)} (vocab_size, embedding_size)"
            )
        unknown = matrix.isnan().all(dim=1)
        if not matrix[~unknown].isfinite().all():
            raise ValueError("word vectors hold values that are not finite")
        with torch.no_grad():
            known = (~unknown).to(self.embeddings.weight.device)
            self.embeddings.weight[known] = matrix[~unknown].to(self.embeddings.weight)
            if self.config.pad_token_id is not None:
                self.embeddings.weight[self.config.pad_token_id] = 0.0

    def load_bigrams(self, keys: Tensor) -> None:
        """Names the pairs of tokens that have an embedding.

        keys (config.bigrams,): left id * vocab_size + right id, ascending. Raises ValueError for another number of
        them.
        """
        if self.bigram_embeddings is None or keys.shape != self.bigram_keys.shape:
            raise ValueError(f"{len(keys)} bigrams for an encoder with room for {self.config.bigrams}")
        self.bigram_keys.copy_(keys)

    def _bigrams(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings of (left, own) and (own, right) for each token: (batch, length, 2 * bigram_size)."""
        keys = input_ids[:, :-1] * self.config.vocab_size + input_ids[:, 1:]
        places = torch.searchsorted(self.bigram_keys, keys).clamp(max=max(0, self.config.bigrams - 1))
        known = mask[:, 1:].bool()
        known = known & (self.bigram_keys[places] == keys) if self.config.bigrams else known & False
        pairs = F.pad(torch.where(known, places + 1, 0), (1, 1))
        both = torch.stack([pairs[:, :-1], pairs[:, 1:]], dim=-1)
        if self.training and self.config.bigram_dropout:
            both = both.masked_fill(torch.rand(both.shape, device=both.device) < self.config.bigram_dropout, 0)
        return self.bigram_embeddings(both).flatten(-2)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """Encode texts.

        input_ids (batch, length), or inputs_embeds (batch, length, embedding_size); attention_mask (batch, length),
        1 for tokens, 0 for the padding to their right; token_type_ids (batch, length), not used without
        type_vocab_size.
        Returns last_hidden_state (batch, length, hidden_size) and, if asked for, hidden_states: the embeddings and
        each layer's output.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        shape = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]
        device = (input_ids if inputs_embeds is None else inputs_embeds).device
        mask = torch.ones(shape, device=device) if attention_mask is None else attention_mask
        if self.bigram_embeddings is not None and input_ids is None:
            raise ValueError("bigram embeddings need input_ids: inputs_embeds say nothing about neighbouring tokens")
        # Pairs are looked up before tokens are dropped: a dropped token must not be guessed from, but its pairs may be.
        bigrams = None if self.bigram_embeddings is None else self._bigrams(input_ids, mask)
        lost = None
        if self.training and self.config.token_dropout:
            lost = torch.rand(shape, device=device) < self.config.token_dropout
        if inputs_embeds is None:
            if lost is not None and self.config.unk_token_id is not None:
                input_ids, lost = input_ids.masked_fill(lost & mask.bool(), self.config.unk_token_id), None
            inputs_embeds = self.embeddings(input_ids)
        x = inputs_embeds if lost is None else inputs_embeds.masked_fill(lost[..., None], 0.0)
        if self.type_embeddings is not None:
            types = torch.zeros(shape, dtype=torch.long, device=device) if token_type_ids is None else token_type_ids
            x = x + self.type_embeddings(types)
        if bigrams is not None:
            x = torch.cat([x, bigrams], dim=-1)
        x = self.embedding_dropout(self.spatial_dropout(x.transpose(1, 2)).transpose(1, 2))
        layers = self.lstm(x, mask)
        last = torch.cat([layers[-1], x], dim=-1) if self.config.skip else layers[-1]
        last = self.dropout(last if self.LayerNorm is None else self.LayerNorm(last))
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutput(last_hidden_state=last, hidden_states=(x, *layers[:-1], last) if wanted else None)


AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
AutoModel.register(RecurrentConfig, RecurrentEncoder, exist_ok=True)
