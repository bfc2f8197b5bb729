"""Extractive reading comprehension: which token of the passage starts the answer, and which one ends it?"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from models.heads import Head, HeadConfig, MultiSampleDropout

IGNORED = -100


class ReaderConfig(HeadConfig):
    """Settings of `Reader`: those of `HeadConfig`."""

    model_type = "reader"


@dataclass
class ReaderOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, length, 2): starts and ends, -inf for what can be neither; those of
    token 0 ([CLS]) say that there is no answer.

    Only of a head with `with_parts`: samples (samples, batch, length, 2).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None


class Reader(Head):
    """Question and passage -> encoder -> a start vector and an end vector, by which each token is multiplied.

    Source: Devlin et al. 2019 (BERT), sections 4.2 (SQuAD 1.1) and 4.3 (SQuAD 2.0, no answer as a span at [CLS]).
    """

    config_class = ReaderConfig
    # Its classes are the row's own tokens: there is none to weigh, and the tokens of two rows do not mix.
    refused_losses = ("class_weights", "contrastive", "mixup")

    def add_layers(self, config: ReaderConfig) -> None:
        """Create the two vectors."""
        self.dropout = MultiSampleDropout(config.dropout, config.multi_sample_dropout)
        self.classifier = nn.Linear(config.encoder.hidden_size, 2)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        passage_mask: Tensor | None = None,
        start_labels: Tensor | None = None,
        end_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> ReaderOutput:
        """Logits of starts and ends, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); passage_mask (batch, length), 1 for the passage's
        tokens; start_labels, end_labels (batch,): the answer's first and last token, 0 for no answer (in this window),
        -100 for rows without a label.
        Returns `ReaderOutput`; the loss is the mean of the two cross entropies, averaged over labelled rows.
        Raises ValueError without passage_mask, with only one of the labels, or for a label outside the passage.
        """
        if passage_mask is None:
            raise ValueError("a reader needs passage_mask (batch, length): 1 for the tokens an answer may consist of")
        if (start_labels is None) != (end_labels is None):
            raise ValueError("give start_labels and end_labels, or neither")
        embedded = {} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        hidden = self.encode(input_ids, attention_mask, token_type_ids, **embedded).last_hidden_state
        samples = self.classifier(self.dropout(hidden)).float()
        samples = samples.masked_fill(~_answerable(passage_mask)[..., None], -torch.inf)
        loss = None
        if start_labels is not None:
            labels = {"start_labels": start_labels, "end_labels": end_labels}
            loss = self.likelihood(samples, passage_mask=passage_mask, **labels)
        return ReaderOutput(loss=loss, logits=samples.mean(0), samples=samples if self.with_parts else None)

    def likelihood(
        self, samples: Tensor, *, passage_mask: Tensor, start_labels: Tensor, end_labels: Tensor, **batch: Tensor
    ) -> Tensor:
        """Mean cross-entropy of starts and ends over labelled rows, of samples (samples, batch, length, 2)."""
        labels, answerable = torch.stack([start_labels, end_labels], dim=-1), _answerable(passage_mask)
        labelled = (labels != IGNORED).all(-1)
        if not labelled.any():
            return samples[:, :, 0].sum() * 0.0
        samples, labels = samples[:, labelled], labels[labelled]
        inside = (labels >= 0) & (labels < answerable.shape[1])
        if not inside.all() or not answerable[labelled].gather(1, labels).all():
            raise ValueError("an answer does not lie in its passage: start_labels and end_labels count all tokens of "
                             "the window, and are 0 for a window without the answer")  # fmt: skip
        targets = labels.expand(len(samples), *labels.shape)
        return F.cross_entropy(samples.flatten(0, 1), targets.flatten(0, 1))

    def distributions(
        self, samples: Tensor, *, start_labels: Tensor, end_labels: Tensor, **batch: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The tokens, of start and of end: (samples, batch, 2, length). A row without a label weighs nothing."""
        log_p = samples.float().log_softmax(2).clamp(min=self.impossible).transpose(2, 3)
        labelled = ((start_labels != IGNORED) & (end_labels != IGNORED)).float()
        weights = labelled / (2 * len(samples) * labelled.sum().clamp(min=1))
        return log_p, weights[:, None].expand(-1, 2)

    def targets(self, *, passage_mask: Tensor, start_labels: Tensor, end_labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch, 2, length), one token each."""
        labels = torch.stack([start_labels, end_labels], dim=-1)
        labelled = (labels != IGNORED).all(-1)[:, None, None]
        return F.one_hot(labels.clamp(min=0), passage_mask.shape[1]).float() * labelled

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Start and end probabilities, (batch, length, 2), over the passage and token 0; at least float32."""
        return self(**batch).logits.softmax(1)


def _answerable(passage_mask: Tensor) -> Tensor:
    """Where an answer may start or end, (batch, length): the passage, and token 0 for there being none."""
    return passage_mask.bool() | (torch.arange(passage_mask.shape[1], device=passage_mask.device) == 0)


@torch.no_grad()
def best_answers(
    logits: Tensor, passage_mask: Tensor, max_length: int = 30, n: int = 20
) -> list[tuple[list[tuple[int, int, float]], float]]:
    """The n best answers of each row, and the score of there being none.

    logits (batch, length, 2), those of `forward`; passage_mask (batch, length); max_length: most tokens of an answer.
    Returns for each row its answers (first token, last token, score), best first, and the null score; a score is the
    sum of the start's and the end's logit.
    Raises ValueError for a max_length or n below 1.
    Source: Devlin et al. 2019 (BERT), sections 4.2 and 4.3.
    """
    if max_length < 1 or n < 1:
        raise ValueError(f"max_length and n must be at least 1, got {max_length} and {n}")
    starts, ends = logits.float().masked_fill(~passage_mask.bool()[..., None], -torch.inf).unbind(-1)
    # Cell [first, size - 1]: only pairs that are short enough are looked at.
    pairs = starts[..., None] + F.pad(ends, (0, max_length - 1), value=-torch.inf).unfold(1, max_length, 1)
    scores, places = pairs.flatten(1).topk(min(n, pairs[0].numel()), dim=1)
    null = logits[:, 0].float().sum(-1).tolist()
    rows = zip(scores.tolist(), places.tolist(), null, strict=True)
    return [
        (
            [(place // max_length, place // max_length + place % max_length, score)
             for score, place in zip(values, cells, strict=True) if score > -torch.inf],
            without,
        )
        for values, cells, without in rows
    ]  # fmt: skip
