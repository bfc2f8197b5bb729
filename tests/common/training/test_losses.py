"""Losses are their papers' formulas, computed here by hand in float64 or by numpy."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.config import ConfigError
from common.training import losses
from common.training.losses import Objective, contrastive, doubled, flooded, gradient_penalty, mixed, r_drop
from common.training.tricks import LossConfig
from models.classifiers import KINDS, ChoiceClassifier, Classifier
from models.encoders import encoder_from_config
from models.matchers import CrossEncoder
from models.reading import Reader
from models.spans import SpanPointerTagger
from tests.common.training.tiny import VOCABULARY, tagger

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=torch.float64)
GOLD = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]], dtype=torch.float64)
LENGTHS = [5, 3, 4, 2]


def batch(labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Four rows; row 1 has a word without a label."""
    torch.manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(5, VOCABULARY, mask.shape) * mask
    tags = torch.tensor([[0, 1, 2, 0, 1], [1, -100, 0, 0, 0], [0, 0, 1, 2, 0], [1, 0, 0, 0, 0]])
    words = torch.where(mask, torch.arange(max(LENGTHS)), -1)
    return {"input_ids": ids, "attention_mask": mask.long(), "word_positions": words,
            "labels": tags.masked_fill(~mask, -100)}  # fmt: skip


def pairs() -> dict[str, torch.Tensor]:
    own = batch()
    return {name: own[name] for name in ("input_ids", "attention_mask")} | {"labels": torch.tensor([0, 1, 1, 0])}


def matcher(**settings) -> CrossEncoder:
    torch.manual_seed(1)
    sizes = {"vocab_size": VOCABULARY, "embedding_size": 6, "hidden_size": 8, "num_layers": 1}
    encoder = encoder_from_config({"model_type": "recurrent", **sizes})
    return still(CrossEncoder.from_encoder(encoder, pooling="mean", **settings))


def still(model):
    """The model without the dropout of its encoder."""
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def own_tagger(**settings):
    return still(tagger(**({"dropout": 0.0} | settings)))


def pointers(activation: str) -> SpanPointerTagger:
    torch.manual_seed(1)
    return SpanPointerTagger.from_encoder(own_tagger().encoder, types=["a", "b"], activation=activation, dropout=0.0)


def pointer_batch() -> dict[str, torch.Tensor]:
    own = batch()
    marks = torch.randint(0, 2, (2, *own["input_ids"].shape, 2))
    # One type a place, as softmax has it.
    marks[..., 1] *= 1 - marks[..., 0]
    own["start_labels"], own["end_labels"] = marks.masked_fill((own.pop("labels") == -100)[..., None], -100)
    return own


def loss_of(head, rows, **settings) -> torch.Tensor:
    return Objective(head, LossConfig(**settings))(head, rows)


def classifier(kind: str) -> Classifier:
    torch.manual_seed(1)
    encoder = matcher().encoder
    return Classifier.from_encoder(encoder, pooling="mean", classes=["x", "y", "z"], kind=kind, dropout=0.0)


def texts(kind: str) -> dict[str, torch.Tensor]:
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
    return pairs() | {"labels": labels if kind == "multi_label" else torch.tensor([2, 0, 1, 0])}


def reader(**settings) -> Reader:
    torch.manual_seed(1)
    return Reader.from_encoder(own_tagger().encoder, **({"dropout": 0.0} | settings))


def questions() -> dict[str, torch.Tensor]:
    """Row 1 has no label, row 2 no answer."""
    own = pairs()
    passage = own["attention_mask"].clone()
    passage[:, 0] = 0
    return {"input_ids": own["input_ids"], "attention_mask": own["attention_mask"], "passage_mask": passage,
            "start_labels": torch.tensor([2, -100, 0, 1]), "end_labels": torch.tensor([4, -100, 0, 1])}  # fmt: skip


def chooser(**settings) -> ChoiceClassifier:
    torch.manual_seed(1)
    return ChoiceClassifier.from_encoder(matcher().encoder, **({"pooling": "mean", "dropout": 0.0} | settings))


def choices() -> dict[str, torch.Tensor]:
    """Row 1 has two choices, the others three."""
    own = {name: torch.stack([value, value.flip(0), value.roll(1, 0)], 1) for name, value in pairs().items()
           if name != "labels"}  # fmt: skip
    for value in own.values():
        value[1, 2] = 0
    return own | {"labels": torch.tensor([2, 0, 1, 0])}


HEADS = {
    "reader": (reader, questions),
    "choices": (chooser, choices),
    **{kind: (partial(classifier, kind), partial(texts, kind)) for kind in KINDS},
    "softmax tagger": (lambda: own_tagger(), batch),
    "samples": (lambda: own_tagger(dropout=0.3, multi_sample_dropout=3), batch),
    "matcher": (lambda: matcher(dropout=0.0), pairs),
    "sigmoid pointers": (lambda: pointers("sigmoid"), pointer_batch),
    "softmax pointers": (lambda: pointers("softmax"), pointer_batch),
}


@pytest.mark.parametrize("name", HEADS)
def test_cross_entropy_of_a_heads_distributions_is_the_heads_own_loss(name):
    head, rows = HEADS[name][0](), HEADS[name][1]()
    torch.manual_seed(7)
    own = head(**rows).loss
    torch.manual_seed(7)
    assert torch.allclose(loss_of(head, rows, kind="cross_entropy"), own, atol=1e-6)
    torch.manual_seed(7)
    assert torch.equal(loss_of(head, rows), own)


def test_focal_loss_is_its_formula():
    found = losses.focal(PROBABILITIES.log(), GOLD, 2.0)
    assert torch.allclose(found, torch.tensor([-(0.3**2) * np.log(0.7), -(0.7**2) * np.log(0.3)], dtype=torch.float64))
    assert torch.allclose(losses.focal(PROBABILITIES.log(), GOLD, 0.0), -(GOLD * PROBABILITIES.log()).sum(-1))


def test_dice_loss_is_its_formula():
    found = losses.dice(PROBABILITIES[:1].log(), GOLD[:1], alpha=1.0, smooth=0.5)
    q = [0.3 * 0.7, 0.8 * 0.2, 0.9 * 0.1]
    expected = [1 - (2 * q[0] + 0.5) / (q[0] + 1.5), 1 - 0.5 / (q[1] + 0.5), 1 - 0.5 / (q[2] + 0.5)]
    assert float(found) == pytest.approx(sum(expected) / 3)
    sure = torch.tensor([[1.0, 1e-12, 1e-12]], dtype=torch.float64).log()
    assert losses.dice(sure, GOLD[:1], alpha=0.0, smooth=1.0) == pytest.approx(0.0, abs=1e-9)


def test_label_smoothing_and_class_weights_are_those_of_torch():
    head, rows = own_tagger(), batch()
    logits = head(**rows).logits
    found = loss_of(head, rows, label_smoothing=0.2, class_weights=[0.5, 2.0, 3.0])
    expected = F.cross_entropy(logits.flatten(0, 1), rows["labels"].flatten(), torch.tensor([0.5, 2.0, 3.0]),
                               label_smoothing=0.2, reduction="sum")  # fmt: skip
    assert torch.allclose(found, expected / 4, atol=1e-6)


def test_a_crf_keeps_its_likelihood_and_the_other_loss_is_added():
    head, rows = own_tagger(head="crf"), batch()
    output = head(**rows)
    words = F.cross_entropy(output.logits.flatten(0, 1), rows["labels"].flatten(), reduction="sum") / 4
    assert torch.allclose(loss_of(head, rows, kind="cross_entropy"), output.loss + words, atol=1e-5)
    assert torch.allclose(loss_of(head, rows), output.loss)


def test_class_weights_of_another_number_are_refused():
    with pytest.raises(ConfigError, match="class_weights are 2: expected 3"):
        loss_of(tagger(), batch(), class_weights=[1.0, 2.0])


@pytest.mark.parametrize("name", HEADS)
def test_r_drop_adds_the_divergence_of_two_passes_both_ways(name):
    head, rows = HEADS[name][0](), HEADS[name][1]()
    twice = doubled(rows)
    torch.manual_seed(3)
    output = Objective(head, LossConfig()).head(**twice)
    log_p, weights = head.distributions(output.samples, **twice)
    size = 4
    kl = 0.0
    for sample in log_p.detach().numpy().astype(float):
        one, other = np.split(sample, 2)
        for p, q in ((one, other), (other, one)):
            kl += 0.5 * ((np.exp(p) * (p - q)).sum(-1) * (weights[:size].numpy() > 0)).sum() / size / len(log_p)
    torch.manual_seed(3)
    found = loss_of(head, twice, r_drop=0.7)
    assert float((found - output.loss).detach()) == pytest.approx(0.7 * kl, abs=1e-5)
    assert float(r_drop(log_p, weights).detach()) == pytest.approx(kl, abs=1e-6)
    if name == "samples":
        assert kl > 1e-3
    else:  # without dropout both passes say the same
        assert kl == pytest.approx(0, abs=1e-9)


def test_the_contrastive_loss_is_its_formula():
    torch.manual_seed(0)
    features, classes = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 2])
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    total = []
    for i in range(5):  # row 5 has no other of its class
        others = [k for k in range(6) if k != i]
        bottom = sum(np.exp(unit[i] @ unit[k] / 0.3) for k in others)
        same = [k for k in others if classes[k] == classes[i]]
        total.append(-np.mean([np.log(np.exp(unit[i] @ unit[k] / 0.3) / bottom) for k in same]))
    assert float(contrastive(features, classes, 0.3)) == pytest.approx(np.mean(total), abs=1e-6)
    shuffled = torch.tensor([-1, 1, -1, 1, 1, -1])
    chosen = contrastive(features[[1, 3, 4]], torch.ones(3), 0.3)
    assert torch.allclose(contrastive(features, shuffled, 0.3), chosen)
    assert contrastive(features, torch.arange(6), 0.3) == 0


def test_many_words_are_thinned_to_a_number_that_memory_holds():
    features = torch.randn(2, 2000, 4)
    assert contrastive(features, torch.ones(2, 2000).long(), 0.1).isfinite()


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_the_gradient_penalty_is_half_the_squared_gradient_and_so_is_its_gradient(head):
    model, rows = own_tagger(head=head).double(), batch()
    Objective(model, LossConfig(gradient_penalty=1.0))

    def penalty() -> tuple[torch.Tensor, torch.Tensor]:
        with losses.twice_differentiable(model) as embedded:
            loss = model(**rows).loss
        return gradient_penalty(loss, embedded, scale=64.0), embedded[0]

    value, embedded = penalty()
    leaf = embedded.detach().requires_grad_()
    by_input = torch.autograd.grad(model(**{**rows, "input_ids": None}, inputs_embeds=leaf).loss, leaf)[0]
    assert float(value) == pytest.approx(0.5 * float(by_input.square().sum()), rel=1e-5)
    weight = model.classifier.weight
    (slope,) = torch.autograd.grad(value, weight)
    way, step = torch.randn_like(weight), 1e-4
    with torch.no_grad():
        weight += step * way
    above = penalty()[0].item()
    with torch.no_grad():
        weight -= 2 * step * way
    below = penalty()[0].item()
    assert float((slope * way).sum()) == pytest.approx((above - below) / (2 * step), rel=1e-2)


def test_flooding_turns_the_gradient_below_its_level():
    for value, expected, slope in ((0.5, 0.5, 1.0), (0.1, 0.3, -1.0)):
        loss = torch.tensor(value, requires_grad=True)
        found = flooded(loss, 0.2)
        found.backward()
        assert float(found) == pytest.approx(expected) and float(loss.grad) == slope


@pytest.mark.parametrize("repeated", [False, True])
def test_mixup_mixes_features_and_losses_by_one_share(repeated):
    head, rows = matcher(dropout=0.0), pairs()
    rows = doubled(rows) if repeated else rows
    torch.manual_seed(5)
    with mixed(head, rows, 0.5, repeated) as (share, partners):
        output = Objective(head, LossConfig()).head(**rows)
    torch.manual_seed(5)
    assert share == float(torch.distributions.Beta(0.5, 0.5).sample())
    order = torch.randperm(4)
    order = torch.cat([order, order + 4]) if repeated else order
    assert torch.equal(partners["labels"], rows["labels"][order])
    features = share * output.features + (1 - share) * output.features[order]
    assert torch.allclose(output.logits, head.classifier(features)[:, 0], atol=1e-6)
    torch.manual_seed(5)
    expected = share * F.binary_cross_entropy_with_logits(output.logits, rows["labels"].float())
    expected += (1 - share) * F.binary_cross_entropy_with_logits(output.logits, rows["labels"][order].float())
    found = loss_of(head, rows, mixup=0.5, r_drop=1e-9 if repeated else 0.0)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not head.dropout._forward_pre_hooks


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_mixed_words_are_those_that_both_rows_have(head):
    model, rows = own_tagger(head=head), batch()
    order = torch.tensor([3, 0, 1, 2])
    labels = model.partner_labels(order, **rows)["labels"]
    assert labels[0].tolist() == [1, 0, -100, -100, -100]
    assert labels[1].tolist() == [0, 1, 2, -100, -100] and labels[3].tolist() == [0, 0, -100, -100, -100]


def test_an_entity_that_is_cut_in_a_longer_partner_has_no_tags_there():
    model, rows = tagger(head="crf", scheme="BIOES"), batch()
    scheme = model.scheme.tags  # O, B, I, E, S
    begin, inside, end = (next(place for place, tag in enumerate(scheme) if tag[0] == kind) for kind in "BIE")
    rows["labels"] = torch.tensor([[0, begin, inside, inside, end], [0, 0, 0, -100, -100],
                                   [0, 0, 0, 0, -100], [0, 0, -100, -100, -100]])  # fmt: skip
    labels = model.partner_labels(torch.tensor([0, 0, 0, 1]), **rows)["labels"]
    assert labels[0].tolist() == rows["labels"][0].tolist()
    assert labels[1].tolist() == labels[2].tolist() == [0, -100, -100, -100, -100]
    assert loss_of(model, rows, mixup=1.0).isfinite()


def shared(head, rows, share: float) -> torch.Tensor:
    """The teacher's distributions for `rows`, times `share`: random, and zero where there is no label."""
    torch.manual_seed(5)
    gold = head.targets(**rows)
    return torch.rand(gold.shape).softmax(-1) * share * gold.sum(-1, keepdim=True)


@pytest.mark.parametrize("build", [own_tagger, matcher], ids=["tagger", "matcher"])
def test_a_teacher_has_its_share_in_the_labels(build):
    head, rows = build().eval(), batch() if build is own_tagger else pairs()
    log_p, weights = head.distributions(head(**{name: value for name, value in rows.items() if name != "labels"})
                                        .logits[None], **rows)  # fmt: skip
    for share in (0.0, 0.3, 1.0):
        teacher = shared(head, rows, share)
        mixture = (1 - share) * head.targets(**rows) + teacher
        expected = -(mixture * log_p[0] * weights[..., None]).sum()
        found = Objective(head, LossConfig())(head, {**rows, losses.TEACHER: teacher})
        assert float(found) == pytest.approx(float(expected), rel=1e-5), share
    assert float(Objective(head, LossConfig())(head, rows)) == pytest.approx(float(head(**rows).loss), rel=1e-5)


def test_a_crf_keeps_its_likelihood_beside_a_teacher():
    head, rows = own_tagger(head="crf").eval(), batch()
    teacher = shared(head, rows, 1.0)
    log_p, weights = head.distributions(head(**rows).logits[None], **rows)
    expected = head(**rows).loss - (teacher * log_p[0] * weights[..., None]).sum()
    found = Objective(head, LossConfig())(head, {**rows, losses.TEACHER: teacher})
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
