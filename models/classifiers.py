"""Which class is a text or a pair of texts? One class, several labels, a grade, or the best of several choices."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from models.pooled import PooledConfig, PooledHead

KINDS = ("single_label", "multi_label", "ordinal")


class ClassifierConfig(PooledConfig):
    """Settings of `Classifier`.

    classes: their names, in order of their numbers; from low to high where they are grades. kind: "single_label" (one
    of the classes), "multi_label" (any number of them) or "ordinal" (one of the grades, of which neighbours are
    alike). Others: see `PooledConfig`.
    """

    model_type = "classifier"

    classes: list[str] | tuple[str, ...] = ("0", "1")
    kind: str = "single_label"

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.classes = list(self.classes)
        self.id2label = dict(enumerate(self.classes))
        self.label2id = {name: number for number, name in self.id2label.items()}
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of classes {self.kind!r}: expected {', '.join(KINDS)}")
        if len(self.label2id) != len(self.classes) or len(self.classes) < (1 if self.kind == "multi_label" else 2):
            raise ValueError(f"classes must be given once each, and at least two of them, got {self.classes}")


class ChoiceConfig(PooledConfig):
    """Settings of `ChoiceClassifier`: those of `PooledConfig`."""

    model_type = "choice_classifier"


@dataclass
class ClassifierOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, classes): their softmax (multi_label: their sigmoid) is what the model
    believes.

    Only of a head with `with_parts`: samples (samples, batch, classes), features (batch, size).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None
    features: Tensor | None = None


class Classifier(PooledHead):
    """One text, or both texts of a pair in one sequence -> pooled -> classes.

    Grades follow the proportional odds model: a text has one place on a line, which ordered thresholds cut into grades,
    P(grade <= k) = sigmoid(threshold_k - place). Its logits are the grades' log-probabilities.
    Source: Devlin et al. 2019, BERT, section 4.1; McCullagh 1980, "Regression Models for Ordinal Data", section 2.
    """

    config_class = ClassifierConfig

    def add_layers(self, config: ClassifierConfig) -> None:
        size, count = self.add_pooling(config), len(config.classes)
        ordinal = config.kind == "ordinal"
        self.classifier = nn.Linear(size, 1 if ordinal else count, bias=not ordinal)
        self.thresholds = OrderedThresholds(count) if ordinal else None

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> ClassifierOutput:
        """Classify.

        input_ids, attention_mask, token_type_ids (batch, length). labels: class numbers (batch,), or probabilities of
        the classes (batch, classes); for multi_label 0, 1 or probabilities in between, (batch, classes).
        Returns `ClassifierOutput`; several dropout samples give the mean loss and the mean of their logits.
        """
        features = self.pool(input_ids, attention_mask, token_type_ids, inputs_embeds)
        samples = self.classifier(self.dropout(features))
        if self.thresholds is not None:
            samples = self.thresholds(samples[..., 0])
        loss = None if labels is None else self.likelihood(samples, labels=labels)
        parts = {"samples": samples, "features": features} if self.with_parts else {}
        return ClassifierOutput(loss=loss, logits=samples.mean(0), **parts)

    def likelihood(self, samples: Tensor, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """Mean cross-entropy of samples (samples, batch, classes), of each label by itself for multi_label."""
        if self.config.kind == "multi_label":
            return F.binary_cross_entropy_with_logits(samples.float(), labels.to(torch.float32).expand(samples.shape))
        return mean_cross_entropy(samples, labels)

    def distributions(self, samples: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """The classes; for multi_label absent and present, of each label."""
        logits = samples.float()
        if self.config.kind == "multi_label":
            log_p = torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1)
        else:
            log_p = logits.log_softmax(-1)
        count = log_p[..., 0].numel()
        return log_p, torch.full(log_p.shape[1:-1], 1.0 / count, device=samples.device)

    def targets(self, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch, classes), or (batch, labels, 2) for multi_label; labels may be probabilities."""
        if self.config.kind == "multi_label":
            return torch.stack([1.0 - labels.float(), labels.float()], dim=-1)
        return F.one_hot(labels, len(self.config.classes)).float() if labels.ndim == 1 else labels.float()

    def feature_classes(self, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch,): the class; -1 for multi_label, where a text has no one class."""
        if self.config.kind == "multi_label":
            return labels.new_full((len(labels),), -1, dtype=torch.long)
        return labels if labels.ndim == 1 else labels.argmax(-1)

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """P(class), or for multi_label P(label is present), (batch, classes); at least float32."""
        logits = self(**batch).logits.float()
        return logits.sigmoid() if self.config.kind == "multi_label" else logits.softmax(-1)


class ChoiceClassifier(PooledHead):
    """Several texts (a question with each of its answers, say) -> one score each -> the best of them.

    A choice whose attention mask is all zero is padding: it is not encoded, and never chosen.
    Source: Zellers et al. 2018, SWAG; Devlin et al. 2019, BERT, section 4.4.
    """

    config_class = ChoiceConfig
    # Rows have choices of their own, and a vector each: there is no class to weigh, and no one vector to mix.
    refused_losses = ("class_weights", "contrastive", "mixup")

    def add_layers(self, config: ChoiceConfig) -> None:
        self.classifier = nn.Linear(self.add_pooling(config), 1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> ClassifierOutput:
        """Choose.

        input_ids, attention_mask, token_type_ids (batch, choices, length); inputs_embeds with features behind. labels:
        the right choice (batch,), or probabilities of the choices (batch, choices).
        Returns `ClassifierOutput` with logits (batch, choices), the lowest number there is at padding.
        """
        shape = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]
        present = torch.ones(shape, dtype=torch.bool, device=self.device)
        if attention_mask is not None:
            present = attention_mask.bool().any(-1)
        parts = (input_ids, attention_mask, token_type_ids, inputs_embeds)
        # How many choices are padding cannot decide the shapes of an exported graph: it encodes them all.
        whole = torch.compiler.is_exporting()
        features = self.pool(
            *(None if part is None else part.flatten(0, 1) if whole else part[present] for part in parts)
        )
        scores = self.classifier(self.dropout(features))[..., 0].float()
        lowest = torch.finfo(scores.dtype).min
        if whole:
            samples = scores.unflatten(-1, shape).masked_fill(~present, lowest)
        else:
            samples = scores.new_full((len(scores), *shape), lowest)
            samples[:, present] = scores
        loss = None if labels is None else self.likelihood(samples, labels=labels)
        return ClassifierOutput(loss=loss, logits=samples.mean(0), samples=samples if self.with_parts else None)

    def likelihood(self, samples: Tensor, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """Mean cross-entropy of samples (samples, batch, choices)."""
        return mean_cross_entropy(samples, labels)

    def distributions(self, samples: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """The choices."""
        log_p = samples.float().log_softmax(-1).clamp(min=self.impossible)
        return log_p, torch.full(log_p.shape[1:-1], 1.0 / log_p[..., 0].numel(), device=samples.device)

    def targets(self, *, labels: Tensor, attention_mask: Tensor | None = None, **batch: Tensor) -> Tensor:
        """(batch, choices); labels may be probabilities."""
        if labels.ndim == 2:
            return labels.float()
        choices = next(
            value for value in (attention_mask, *batch.values()) if torch.is_tensor(value) and value.ndim > 2
        )
        return F.one_hot(labels, choices.shape[1]).float()

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """P(choice is right), (batch, choices), zero at padding; at least float32."""
        return self(**batch).logits.softmax(-1)


class OrderedThresholds(nn.Module):
    """Cuts a line into grades, as likely as each other for a text in the middle until it is trained.

    grades: how many. The distances between thresholds are learned as what softplus makes positive.
    """

    def __init__(self, grades: int) -> None:
        super().__init__()
        cuts = torch.arange(1, grades, dtype=torch.float32) / grades
        cuts = cuts.logit()
        self.first = nn.Parameter(cuts[:1].clone())
        self.distances = nn.Parameter(cuts.diff().expm1().log())

    def forward(self, places: Tensor) -> Tensor:
        """places (...). Returns the grades' log-probabilities (..., grades), float32."""
        gaps = F.softplus(self.distances)
        above = torch.cat([self.first, self.first + gaps.cumsum(0)]) - places.float()[..., None]
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), which keeps its digits far from the middle.
        inner = F.logsigmoid(above[..., 1:]) + F.logsigmoid(-above[..., :-1]) + (-torch.expm1(-gaps)).log()
        return torch.cat([F.logsigmoid(above[..., :1]), inner, F.logsigmoid(-above[..., -1:])], dim=-1)


def mean_cross_entropy(samples: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over dropout samples and rows.

    samples (samples, batch, classes), logits; labels (batch,) class numbers, or (batch, classes) probabilities.
    """
    repeated = labels.expand(len(samples), *labels.shape).flatten(0, 1)
    return F.cross_entropy(samples.float().flatten(0, 1), repeated)
