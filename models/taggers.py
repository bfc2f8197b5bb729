"""Sequence labelling: an encoder, optionally a BiLSTM, and a CRF or softmax over the words' tags."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from common.text.labels import LabelScheme
from models.crf import CRF
from models.heads import Head, HeadConfig, MultiSampleDropout
from models.recurrent import BidirectionalLSTM

IGNORED = -100


class TaggerConfig(HeadConfig):
    """Settings of `Tagger`.

    types: entity types. scheme: "BIO" or "BIOES". head: "crf" or "softmax". recurrent_size: output size of the BiLSTM
    between encoder and head, 0 for none. layer_norm: normalise what the head reads. Others: see `HeadConfig`.
    """

    model_type = "tagger"

    types: list[str] | tuple[str, ...] = ("a",)
    scheme: str = "BIO"
    head: str = "crf"
    recurrent_size: int = 0
    layer_norm: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.types = list(self.types)
        self.id2label = dict(enumerate(LabelScheme(tuple(self.types), self.scheme).tags))
        self.label2id = {tag: number for number, tag in self.id2label.items()}
        if self.head not in ("crf", "softmax"):
            raise ValueError(f"unknown tagger head {self.head!r}: expected crf or softmax")
        if self.recurrent_size % 2:
            raise ValueError(f"recurrent_size holds two directions and must be even, got {self.recurrent_size}")


@dataclass
class TaggerOutput(ModelOutput):
    """loss: scalar, with labels. logits: emissions (batch, words, tags).

    Only of a head with `with_parts`: samples (samples, batch, words, tags), features (batch, words, size).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None
    features: Tensor | None = None


def gather_words(hidden: Tensor, word_positions: Tensor) -> Tensor:
    """Hidden states of the words' first pieces.

    hidden (batch, length, features); word_positions (batch, words), indices in length, -1 for padding.
    Returns (batch, words, features), zero at padding.
    """
    # Whole rows of a table: an index for each feature takes several times as long, and more in the backward pass.
    first = torch.arange(hidden.shape[0], device=hidden.device)[:, None] * hidden.shape[1]
    words = hidden.flatten(0, 1).index_select(0, (first + word_positions.clamp(min=0)).flatten())
    return words.view(*word_positions.shape, hidden.shape[-1]) * (word_positions >= 0)[..., None]


class WordHead(Head):
    """A head that reads words: encoder -> words -> [BiLSTM] -> [layer norm]; a subclass makes something of them.

    The words are gathered before anything else, so that special tokens, padding and continuation pieces never reach
    the BiLSTM or what follows. Its configuration has recurrent_size and layer_norm.
    """

    def add_word_layers(self, config: HeadConfig) -> int:
        """Create the BiLSTM and the layer norm. Returns how many features a word then has."""
        size = config.encoder.hidden_size
        self.recurrent = BidirectionalLSTM(size, config.recurrent_size) if config.recurrent_size else None
        size = config.recurrent_size or size
        self.layer_norm = nn.LayerNorm(size) if config.layer_norm else None
        self.dropout = MultiSampleDropout(config.dropout, config.multi_sample_dropout)
        return size

    def words(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        word_positions: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        """What the layers make of each word, (batch, words, features). Raises ValueError without word_positions."""
        if word_positions is None:
            raise ValueError("a tagger needs word_positions (batch, words): where each word's first piece stands")
        embedded = {} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        hidden = self.encode(input_ids, attention_mask, token_type_ids, **embedded).last_hidden_state
        words = gather_words(hidden, word_positions)
        if self.recurrent is not None:
            words = self.recurrent(words, word_positions >= 0)[-1]
        return words if self.layer_norm is None else self.layer_norm(words)


class Tagger(WordHead):
    """Encoder -> words -> [BiLSTM] -> [layer norm] -> [multi-sample dropout] -> linear -> CRF or softmax.

    With either head the loss is summed over a row's words and averaged over rows: where batches
    hold rows of like length, a mean over words would give those of short rows many times the weight of others.
    Source: Huang, Xu and Yu 2015 (BiLSTM-CRF); Lample et al. 2016, section 2.
    """

    config_class = TaggerConfig

    def add_layers(self, config: TaggerConfig) -> None:
        self.scheme = LabelScheme(tuple(config.types), config.scheme)
        size = self.add_word_layers(config)
        self.classifier = nn.Linear(size, len(self.scheme.tags))
        self.crf = None
        if config.head == "crf":
            self.crf = CRF(len(self.scheme.tags), batch_first=True)
            # from_pretrained builds the head without storage ("meta") and then reads the masks from the checkpoint.
            if not self.crf.start_allowed.is_meta:
                self.crf.forbid(*(torch.from_numpy(~allowed) for allowed in self.scheme.allowed()))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_positions: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> TaggerOutput:
        """Emissions, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); word_positions (batch, words), -1 for padding;
        labels (batch, words), tag ids, -100 for words without a label (they take no part in the loss).
        Returns `TaggerOutput`; several dropout samples give the mean loss and the mean of their emissions.
        """
        words = self.words(input_ids, attention_mask, token_type_ids, word_positions, inputs_embeds)
        samples = self.classifier(self.dropout(words))
        loss = None if labels is None else self.likelihood(samples, word_positions=word_positions, labels=labels)
        parts = {"samples": samples, "features": words} if self.with_parts else {}
        return TaggerOutput(loss=loss, logits=samples.mean(0), **parts)

    @property
    def factored(self) -> bool:
        """A CRF's likelihood is one of whole rows; softmax is one of words."""
        return self.crf is None

    def likelihood(self, samples: Tensor, *, word_positions: Tensor, labels: Tensor, **batch: Tensor) -> Tensor:
        """samples (samples, batch, words, tags), labels (batch, words). Returns the mean over rows of their losses."""
        labels = labels.masked_fill(word_positions < 0, IGNORED)
        count, batch, size = samples.shape[0], samples.shape[1], samples.shape[-1]
        labelled = labels != IGNORED
        if not labelled.any():
            return samples.sum() * 0.0
        if self.crf is None:
            repeated = labels.expand(count, *labels.shape)
            total = F.cross_entropy(
                samples.float().flatten(0, -2), repeated.flatten(), ignore_index=IGNORED, reduction="sum"
            )
            return total / (count * batch)
        # Words without a label leave the sequence, as special tokens do; rows without a labelled word leave the batch.
        rows = labelled.any(1)
        labels, samples = labels[rows], samples[:, rows]
        order = (labels == IGNORED).to(torch.uint8).argsort(dim=1, stable=True)
        labels = labels.gather(1, order).repeat(count, 1)
        index = order.repeat(count, 1)[..., None].expand(-1, -1, size)
        emissions = samples.flatten(0, 1).gather(1, index)
        return -self.crf(emissions, labels, mask=labels != IGNORED, reduction="sum") / (count * batch)

    def distributions(self, samples: Tensor, *, word_positions: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax of the emissions, with a CRF too."""
        return samples.float().log_softmax(-1), (word_positions >= 0) / (samples.shape[0] * samples.shape[1])

    def targets(self, *, word_positions: Tensor, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch, words, tags), one tag each."""
        labelled = (labels != IGNORED) & (word_positions >= 0)
        return F.one_hot(labels.masked_fill(~labelled, 0), len(self.scheme.tags)) * labelled[..., None].float()

    def feature_classes(self, *, word_positions: Tensor, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch, words): the tag; none for O, which nearly every word is."""
        return labels.masked_fill((word_positions < 0) | (labels <= 0), -1)

    def partner_labels(self, order: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        labels = batch["labels"][order].masked_fill(batch["word_positions"] < 0, IGNORED)
        if self.crf is None:
            return {"labels": labels}
        # A partner that is longer is cut: of an entity at the cut, what the scheme does not let end there has no tag.
        ends = self.crf.end_allowed[labels.clamp(min=0)] & (labels != IGNORED)
        return {"labels": labels.masked_fill(~ends.flip(1).cummax(1).values.flip(1), IGNORED)}

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Tag marginals (CRF) or softmax, (batch, words, tags), zero at padding; at least float32."""
        return self.marginals(self(**batch).logits, batch["word_positions"])

    @torch.no_grad()
    def marginals(self, emissions: Tensor, word_positions: Tensor) -> Tensor:
        """Tag probabilities of emissions (batch, words, tags), the logits of `forward`; zero at padding, float32.

        word_positions (batch, words), -1 for padding.
        """
        inside, emissions = word_positions >= 0, emissions.float()
        if self.crf is None:
            return emissions.softmax(-1) * inside[..., None]
        return self.crf.marginals(emissions, _with_a_word(inside)) * inside[..., None]

    @torch.no_grad()
    def decode(self, emissions: Tensor, word_positions: Tensor) -> list[list[int]]:
        """Best tag ids of each row: Viterbi with a CRF, else each word's best tag.

        emissions (batch, words, tags), the logits of `forward`; word_positions (batch, words), -1 for padding.
        Returns one list a row, as long as the row has words.
        """
        inside = word_positions >= 0
        best = emissions.argmax(-1).tolist() if self.crf is None else self.crf.decode(emissions, _with_a_word(inside))
        return [tags[:length] for tags, length in zip(best, inside.sum(1).tolist(), strict=True)]


def _with_a_word(inside: Tensor) -> Tensor:
    """A CRF has no empty sequences: a row without words gets one, and its result is thrown away."""
    inside = inside.clone()
    inside[:, 0] = True
    return inside
