"""The loss that a trainer's step takes is the sum, by hand in float64, of what its settings put together."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torchcrf
from torch import nn

from common.members.neural import trainer_class
from common.training.arguments import training_arguments
from common.training.tricks import LossConfig
from models.taggers import Tagger
from tests.common.training.tiny import COLLATOR, fast, feature_rows, tagger

SETTINGS = {
    "cross entropy": {"kind": "cross_entropy"},
    "focal": {"kind": "focal", "gamma": 1.5},
    "root focal": {"kind": "focal", "gamma": 0.5},
    "dice": {"kind": "dice", "alpha": 0.6, "smooth": 0.8},
    "label smoothing": {"label_smoothing": 0.2},
    "smooth focal": {"kind": "focal", "gamma": 2.0, "label_smoothing": 0.3},
    "smooth dice of weighted classes": {"kind": "dice", "label_smoothing": 0.1, "class_weights": [0.5, 2.0, 3.0]},
    "class weights": {"class_weights": [0.5, 2.0, 3.0]},
    "r-drop": {"r_drop": 0.7},
    "contrastive": {"contrastive": 0.3, "contrastive_temperature": 0.4},
    "flooded": {"flooding": 50.0},
    "above the flood": {"flooding": 0.01},
    "several": {
        "kind": "focal", "gamma": 1.5, "label_smoothing": 0.2, "r_drop": 0.7, "contrastive": 0.3, "flooding": 50.0,
    },
}  # fmt: skip


@dataclass
class Step:
    """What one step of a trainer read and gave: its loss, the batch, and the model before it, with its features."""

    loss: float
    batch: dict[str, torch.Tensor]
    model: Tagger
    features: np.ndarray
    dropped: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """Of every dropout sample, (samples, rows, words, tags)."""
        weight, bias = (value.detach().numpy().astype(float) for value in self.model.classifier.parameters())
        return self.dropped @ weight.T + bias


def one_step(folder, model: Tagger, **loss) -> Step:
    settings = fast(batch_size=6, max_steps=1, loss=LossConfig(**loss))
    trainer = trainer_class(settings)(model, settings, training_arguments(settings, folder, 3), feature_rows(6),
                                      COLLATOR, lambda model: {"score": 0.0})  # fmt: skip
    seen, step, before = {}, trainer.training_step, copy.deepcopy(model).cpu()

    def watch(module, inputs, output):
        seen.update(features=inputs[0].detach().cpu().numpy(), dropped=output.detach().cpu().numpy())

    def watched(wrapped, inputs, *rest):
        assert not seen, "one batch, in one pass"
        batch = {name: value.cpu() for name, value in inputs.items()}
        hook = model.dropout.register_forward_hook(watch)
        loss = float(step(wrapped, inputs, *rest))
        hook.remove()
        seen.update(loss=loss, batch=batch)
        return loss * torch.ones(())

    trainer.training_step = watched
    trainer.train()
    floats = {name: seen[name].astype(float) for name in ("features", "dropped")}
    return Step(seen["loss"], seen["batch"], before, **floats)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def of_words(step: Step, config: LossConfig) -> float:
    """The loss of each sample's labelled words, one by one: summed over words, averaged over rows and samples."""
    log_p, labels, total = log_softmax(step.logits), step.batch["labels"].tolist(), 0.0
    samples, rows, _, count = log_p.shape
    labels = labels * (rows // len(labels))
    weights = np.array(config.class_weights or [1.0] * count)
    for sample in range(samples):
        for row in range(rows):
            for word, label in enumerate(labels[row]):
                if label == -100:
                    continue
                target = np.full(count, config.label_smoothing / count)
                target[label] += 1 - config.label_smoothing
                own = log_p[sample, row, word]
                p = np.exp(own)
                if config.kind == "dice":
                    q = (1 - p) ** config.alpha * p
                    parts = 1 - (2 * q * target + config.smooth) / (q + target + config.smooth)
                    total += parts.mean() * (weights * target).sum()
                elif config.kind == "focal":
                    total -= (weights * target * (1 - p) ** config.gamma * own).sum()
                else:
                    total -= (weights * target * own).sum()
    return total / rows / samples


def divergence_of_halves(step: Step) -> float:
    """Mean over samples and pairs of rows of the sum over words of half the divergences both ways."""
    one, other = np.split(log_softmax(step.logits), 2, axis=1)
    both = 0.5 * ((np.exp(one) - np.exp(other)) * (one - other)).sum(-1)
    inside = step.batch["word_positions"].numpy() >= 0
    return float((both * inside).sum() / both.shape[0] / both.shape[1])


def between_words(step: Step, temperature: float) -> float:
    """The contrastive loss of the words with a tag other than O."""
    labels = step.batch["labels"].numpy()
    labels = np.concatenate([labels] * (len(step.features) // len(labels)))
    vectors = step.features[labels > 0]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    classes, losses = labels[labels > 0], []
    for i, one in enumerate(vectors):
        others = {k: np.exp(one @ other / temperature) for k, other in enumerate(vectors) if k != i}
        alike = [np.log(value / sum(others.values())) for k, value in others.items() if classes[k] == classes[i]]
        losses.append(-np.mean(alike))
    assert len(losses) > 3
    return float(np.mean(losses))


def by_hand(step: Step, config: LossConfig) -> float:
    loss = of_words(step, config)
    if config.contrastive:
        near = between_words(step, config.contrastive_temperature)
        loss = (1 - config.contrastive) * loss + config.contrastive * near
    if config.r_drop:
        divergence = divergence_of_halves(step)
        assert divergence > 1e-4
        loss += config.r_drop * divergence
    if config.flooding:
        loss = loss if loss > config.flooding else 2 * config.flooding - loss
    return loss


@pytest.mark.parametrize("name", SETTINGS)
def test_a_trainers_loss_is_the_sum_by_hand(tmp_path, name):
    # Two samples of dropout, and weights so large that no word is as likely as another.
    model = tagger(dropout=0.3, multi_sample_dropout=2)
    nn.init.normal_(model.classifier.weight, std=2.0)
    step, config = one_step(tmp_path, model, **SETTINGS[name]), LossConfig(**SETTINGS[name])
    rows = 12 if config.r_drop else 6
    assert step.dropped.shape[:2] == (2, rows) and (step.batch["labels"] == -100).any()
    assert step.loss == pytest.approx(by_hand(step, config), rel=1e-5)
    if name not in ("cross entropy", "above the flood"):
        assert abs(step.loss - of_words(step, LossConfig())) > 1e-3, "the setting changes something"


def test_beside_a_crf_the_loss_of_words_is_added_to_the_likelihood(tmp_path):
    model = tagger(head="crf", dropout=0.3, multi_sample_dropout=2)
    step = one_step(tmp_path, model, kind="focal", gamma=1.5)
    reference, labels = torchcrf.CRF(3, batch_first=True).double(), step.batch["labels"]
    for name, value in reference.named_parameters():
        allowed = getattr(step.model.crf, name.replace("_transitions", "") + "_allowed")
        value.data = step.model.crf.get_parameter(name).detach().double().masked_fill(~allowed, -1e4)
    likelihood = sum(
        -reference(torch.from_numpy(logits), labels.clamp(min=0), labels >= 0).item() / 6 / 2 for logits in step.logits
    )
    assert step.loss == pytest.approx(likelihood + of_words(step, LossConfig("focal", gamma=1.5)), rel=1e-5)


def test_the_gradient_penalty_is_added_to_the_loss(tmp_path):
    model = tagger(dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    nn.init.normal_(model.classifier.weight, std=2.0)
    step = one_step(tmp_path, model, gradient_penalty=0.4)
    plain = step.model.double()
    embedded = plain.get_input_embeddings()(step.batch["input_ids"]).detach().requires_grad_()
    loss = plain(**{**step.batch, "input_ids": None}, inputs_embeds=embedded).loss
    (slope,) = torch.autograd.grad(loss, embedded)
    penalty = 0.5 * slope.square().sum().item()
    assert penalty > 1e-3
    assert step.loss == pytest.approx(of_words(step, LossConfig()) + 0.4 * penalty, rel=1e-5)
