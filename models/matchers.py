"""Do two texts match? Both in one encoder (cross-encoder) or each for itself (bi-encoder), for one task or several."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from models.conditional_layer_norm import condition_layer_norms, conditioned
from models.pooled import PooledConfig, PooledHead

TASK_HANDLINGS = ("conditional_norm", "classifier_per_task", "both", "none")


class MatcherConfig(PooledConfig):
    """Settings of `CrossEncoder` and `BiEncoder`.

    tasks: how many tasks (subtasks, standards) there are. task_handling: "conditional_norm" (the task's embedding
    conditions every layer norm; one classifier), "classifier_per_task", "both" or "none". condition_size: features of
    the task's embedding. Others: see `PooledConfig`.
    """

    model_type = "matcher"

    tasks: int = 1
    task_handling: str = "none"
    condition_size: int = 128

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.task_handling not in TASK_HANDLINGS:
            raise ValueError(f"unknown task_handling {self.task_handling!r}: expected {', '.join(TASK_HANDLINGS)}")
        if self.tasks < 1 or self.condition_size < 1:
            raise ValueError("tasks and condition_size must be at least 1")


@dataclass
class MatcherOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch,): above 0 for a match.

    Only of a head with `with_parts`: samples (samples, batch), features (batch, size).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None
    features: Tensor | None = None


class Matcher(PooledHead):
    """What cross-encoder and bi-encoder share: tasks, pooling, classifier and loss."""

    config_class = MatcherConfig
    vectors = 1

    def add_layers(self, config: MatcherConfig) -> None:
        """Create task embedding, pooling and classifier; condition the encoder's layer norms."""
        self.task_embedding = None
        if config.task_handling in ("conditional_norm", "both"):
            self.task_embedding = nn.Embedding(config.tasks, config.condition_size)
            condition_layer_norms(self.encoder, config.condition_size)
        features = self.add_pooling(config)
        rows = config.tasks if config.task_handling in ("classifier_per_task", "both") else 1
        self.classifier = nn.Linear(features * self.vectors, rows)

    def pool(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        task: Tensor | None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """One vector a text: (batch, pooling.output_size)."""
        with nullcontext() if self.task_embedding is None else conditioned(self.task_embedding(self._tasks(task))):
            return super().pool(input_ids, attention_mask, token_type_ids, inputs_embeds)

    def classify(self, features: Tensor, task: Tensor | None, labels: Tensor | None) -> MatcherOutput:
        """Logits of pooled features (batch, features), and the mean binary cross-entropy where there are labels."""
        samples = self.dropout(features)
        if self.classifier.out_features == 1:
            samples = self.classifier(samples)[..., 0]
        else:
            task = self._tasks(task)
            # A gather through F.embedding refuses a negative task, which plain indexing would take from the end.
            rows = F.embedding(task, self.classifier.weight)
            samples = (samples * rows).sum(-1) + self.classifier.bias[task]
        loss = None if labels is None else self.likelihood(samples, labels=labels)
        parts = {"samples": samples, "features": features} if self.with_parts else {}
        return MatcherOutput(loss=loss, logits=samples.mean(0), **parts)

    def likelihood(self, samples: Tensor, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """Mean binary cross-entropy of samples (samples, batch) and labels (batch,)."""
        return F.binary_cross_entropy_with_logits(samples.float(), labels.to(torch.float32).expand(samples.shape))

    def distributions(self, samples: Tensor, **batch: Tensor) -> tuple[Tensor, Tensor]:
        """No match, match."""
        logits = samples.float()
        weights = torch.full(samples.shape[1:], 1.0 / samples.numel(), device=samples.device)
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1), weights

    def targets(self, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch, 2): no match, match; labels may be probabilities."""
        return torch.stack([1.0 - labels.float(), labels.float()], dim=-1)

    def feature_classes(self, *, labels: Tensor, **batch: Tensor) -> Tensor:
        """(batch,): 1 for a match, else 0."""
        return labels.round().long()

    def _tasks(self, task: Tensor | None) -> Tensor:
        if task is None:
            raise ValueError(f"task_handling={self.config.task_handling} needs the batch's task numbers: task (batch,)")
        return task

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """P(label = 1), (batch,); at least float32."""
        return self(**batch).logits.float().sigmoid()


class CrossEncoder(Matcher):
    """Both texts in one sequence -> pooled -> one logit.

    Source: Su Jianlin 2021, the Sohu 2021 baseline (one model for six subtasks by conditional layer normalization).
    """

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        task: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> MatcherOutput:
        """Score pairs.

        input_ids, attention_mask, token_type_ids (batch, length); task (batch,), from 0; labels (batch,), 0 or 1, or
        probabilities in between. Returns `MatcherOutput`. Raises ValueError if the task is needed and not given.
        """
        features = self.pool(input_ids, attention_mask, token_type_ids, task, inputs_embeds)
        return self.classify(features, task, labels)


class BiEncoder(Matcher):
    """Each text by itself -> pooled u and v -> [u; v; |u - v|; u * v] -> one logit.

    Source: Conneau et al. 2017 (InferSent), section 3.1; Reimers and Gurevych 2019, section 3.
    """

    main_input_name = "input_ids_a"
    vectors = 4

    def forward(
        self,
        input_ids_a: Tensor,
        input_ids_b: Tensor,
        attention_mask_a: Tensor | None = None,
        attention_mask_b: Tensor | None = None,
        token_type_ids_a: Tensor | None = None,
        token_type_ids_b: Tensor | None = None,
        task: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MatcherOutput:
        """Score pairs.

        The tensors of the first texts end in _a (batch, length_a), those of the second in _b (batch, length_b); task
        and labels as in `CrossEncoder`. Returns `MatcherOutput`. Raises ValueError if the task is needed and missing.
        """
        u = self.pool(input_ids_a, attention_mask_a, token_type_ids_a, task)
        v = self.pool(input_ids_b, attention_mask_b, token_type_ids_b, task)
        return self.classify(torch.cat([u, v, (u - v).abs(), u * v], dim=-1), task, labels)
