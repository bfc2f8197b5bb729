"""Masked language modelling on any encoder, with scores computed for the masked tokens alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import ModelOutput

from models.encoders import located, masked_lm_head
from models.heads import Head, HeadConfig

HEAD_FILE = "masked_lm_head.safetensors"  # beside the encoder's weights, for who goes on pretraining it
HEAD_WEIGHTS = ("dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias")


class MaskedLMConfig(HeadConfig):
    """sentence_classes: how many relations of a row's two segments to tell apart; 0: there are no pairs.

    Which they are says `common.text.sentence_pairs`.
    """

    model_type = "kit_masked_lm"

    sentence_classes: int = 0


@dataclass
class MaskedLMOutput(ModelOutput):
    """What one batch gives.

    loss: what is trained on, the masked tokens' cross-entropy plus that of the pairs where there are some.
    masked_loss: of the masked tokens alone. correct: (masked,) bool, whether each was predicted; outside training only.
    pair_correct: (pairs with a relation,) bool, whether each one's relation was; outside training only.
    """

    loss: Tensor | None = None
    masked_loss: Tensor | None = None
    correct: Tensor | None = None
    pair_correct: Tensor | None = None


class MaskedLM(Head):
    """An encoder with the head that it is pretrained with.

    The scores of the vocabulary are computed where a token is masked and nowhere else: a seventh of the work. They come
    from the encoder's own word embeddings, whatever their size (ALBERT's and ELECTRA's are smaller than its states).
    Sources: Devlin et al. 2019, BERT, section 3.1; pairs by section 3.1 there and in Lan et al. 2020, ALBERT.
    """

    config_class = MaskedLMConfig
    # The Trainer then says how many tokens a whole step has, over all its batches and processes.
    accepts_loss_kwargs = True

    def add_layers(self, config: MaskedLMConfig) -> None:
        vocabulary, size = self.encoder.get_input_embeddings().weight.shape
        hidden = self.encoder.config.hidden_size
        self.activation = ACT2FN[getattr(self.encoder.config, "hidden_act", "gelu")]
        self.dense = nn.Linear(hidden, size)
        self.norm = nn.LayerNorm(size, eps=getattr(self.encoder.config, "layer_norm_eps", 1e-12))
        # The decoder's weight is the embedding itself and so not a parameter of the head: nothing is tied or stored.
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        if config.sentence_classes:
            self.relation = nn.Sequential(
                nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, config.sentence_classes)
            )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        pair_labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        num_rows_in_batch: Tensor | int | None = None,
    ) -> MaskedLMOutput:
        """The loss of one batch.

        input_ids (batch, length). attention_mask (batch, length), 1 for tokens, or bool (batch, length, length), which
        token may attend to which; None where nothing is padded. positions (masked,): places of the masked tokens in the
        flattened batch; labels (masked,): what stood there. token_type_ids, position_ids (batch, length).
        pair_labels (batch,): the relation of each row's segments, -100 for none. num_items_in_batch,
        num_rows_in_batch: masked tokens and rows of the whole step, which the two losses are divided by; without them,
        those of this batch. A row without a relation counts as one whose loss is 0: a step of few pairs weighs little.
        Returns a MaskedLMOutput. Raises ValueError for pair labels without the head for them.
        """
        states = self.encode(input_ids, self._mask(attention_mask), token_type_ids, **self._places(position_ids))[0]
        logits = self.vocabulary_logits(states.flatten(0, 1)[positions])
        total = F.cross_entropy(logits.float(), labels, reduction="sum")
        # In a step of few rows there may be nothing to mask: what has no share in the loss must not make it infinite.
        items = len(labels) if num_items_in_batch is None else num_items_in_batch
        masked_loss = total / torch.as_tensor(items).clamp(min=1)
        loss, pair_correct = masked_loss, None
        if pair_labels is not None:
            if not self.config.sentence_classes:
                raise ValueError("pair_labels need a head for them: MaskedLM with sentence_classes=2, say")
            relation, related = self.relation(states[:, 0]), pair_labels >= 0
            total = F.cross_entropy(relation.float(), pair_labels, reduction="sum")
            loss = loss + total / (len(pair_labels) if num_rows_in_batch is None else num_rows_in_batch)
            pair_correct = None if self.training else (relation.argmax(-1) == pair_labels)[related]
        correct = None if self.training else logits.argmax(-1) == labels
        return MaskedLMOutput(loss, masked_loss, correct, pair_correct)

    def vocabulary_logits(self, states: Tensor) -> Tensor:
        """states (..., hidden). Returns (..., vocabulary)."""
        transformed = self.norm(self.activation(self.dense(states)))
        return F.linear(transformed, self.encoder.get_input_embeddings().weight, self.bias)

    def save_encoder(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes the encoder alone: config.json and model.safetensors, as `load_encoder` and AutoModel read them.

        dtype: to store the weights in, e.g. float16 for half the size; None leaves them as they are.
        """
        weights = {
            name: value.to(dtype) if dtype is not None and value.is_floating_point() else value
            for name, value in self.encoder.state_dict().items()
        }
        before = self.encoder.config.dtype
        try:
            self.encoder.save_pretrained(folder, state_dict=weights)
        finally:
            self.encoder.config.dtype = before
        save_file({name: self.state_dict()[name].contiguous() for name in HEAD_WEIGHTS}, Path(folder) / HEAD_FILE)

    def load_head(self, name_or_folder: str | Path) -> bool:
        """Takes the head that an encoder was pretrained with, where its checkpoint has one.

        name_or_folder: what `load_encoder` loaded; from `save_encoder`, or any masked language model of transformers.
        Returns whether there was one that fits. To go on without costs the encoder: a random head first unlearns it.
        """
        file = Path(located(name_or_folder)) / HEAD_FILE
        weights = load_file(file) if file.is_file() else masked_lm_head(name_or_folder)
        own = self.state_dict()
        if any(name not in weights or weights[name].shape != own[name].shape for name in HEAD_WEIGHTS):
            return False
        with torch.no_grad():
            for name in HEAD_WEIGHTS:
                own[name].copy_(weights[name])
        return True

    @torch.no_grad()
    def reads_both_sides(self) -> bool:
        """Whether what a token becomes depends on those before and behind it, as masked language modelling wants.

        Tried out: decoders do not heed what comes later, and pairs of encoder and decoder take no such input.
        """
        training, ids = self.training, torch.arange(4, device=self.device)[None]
        ids = self.get_input_embeddings().weight.shape[0] - 1 - ids
        self.eval()
        try:
            states = self.encode(ids, None, None)[0][0]
            changed = (self.encode(other, None, None)[0][0] for other in (ids[:, [0, 1, 2, 0]], ids[:, [3, 1, 2, 3]]))
            return all(not torch.equal(state[1], states[1]) for state in changed)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        finally:
            self.train(training)

    @torch.no_grad()
    def keeps_documents_apart(self) -> bool:
        """Whether the encoder heeds a mask of each pair of tokens, so that two documents of a row do not meet.

        Tried out: some encoders (DeBERTa) take no such mask, recurrent ones could not.
        """
        training, count = self.training, torch.arange(8, device=self.device)
        ids, first = self.get_input_embeddings().weight.shape[0] - 1 - count[None], count < 4
        places = count[None] % 4
        self.eval()
        try:
            mask = self._mask((first[:, None] == first[None])[None])
            together = self.encode(ids, mask, None, **self._places(places))[0][:, :4]
            alone = self.encode(ids[:, :4], None, None)[0]
            return torch.allclose(together, alone, rtol=1e-4, atol=1e-4)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        finally:
            self.train(training)

    def _places(self, position_ids: Tensor | None) -> dict[str, Any]:
        # Encoders with relative positions (NEZHA, RoFormer) have no other places than those in the row.
        if position_ids is None or "position_ids" not in self._encoder_inputs:
            return {}
        # RoBERTa's places begin after its padding id.
        first = getattr(getattr(self.encoder, "embeddings", None), "padding_idx", -1) + 1
        return {"position_ids": position_ids + first}

    def _mask(self, mask: Tensor | None) -> Tensor | None:
        if mask is None or mask.ndim == 2:
            return mask
        mask = mask[:, None]
        if self.encoder.config._attn_implementation == "sdpa":
            return mask
        # Plain attention adds its mask to the scores.
        return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(self.dtype).min)


def set_dropout(model: nn.Module, share: float) -> None:
    """Drops this share everywhere in a model, in training, and leaves its configuration as it is.

    What is saved of the model is fine-tuned with the configuration's own dropout.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = share
        # Some attentions keep the number itself.
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, share)


def use_plain_attention(encoder: PreTrainedModel) -> None:
    """Has an encoder that leaves attention to torch's fused kernel compute it step by step: the same numbers.

    On a CPU the fused kernel's backward pass is slow in bf16: rows of 128 tokens trained 1.5 times as fast without. In
    fp32 the two are alike.
    Encoders with an attention of their own (NEZHA) stay as they are.
    """
    if encoder.config._attn_implementation == "sdpa" and encoder.config.model_type != "nezha":
        encoder.set_attn_implementation("eager")
