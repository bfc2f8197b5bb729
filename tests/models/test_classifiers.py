"""Classifiers give the losses that their formulas say, learn with every part, and come back from a folder."""

import math
from itertools import pairwise

import pytest
import torch

from models.classifiers import KINDS, ChoiceClassifier, Classifier, OrderedThresholds
from models.encoders import load_encoder
from tests.models.dropout_samples import dropped_by

CLASSES = ["low", "middle", "high", "highest"]
LABELS = {
    "single_label": torch.tensor([3, 0, 1]),
    "multi_label": torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]),
    "ordinal": torch.tensor([3, 0, 1]),
}


def classifier(encoder, kind: str, **settings) -> Classifier:
    torch.manual_seed(0)
    return spread(Classifier.from_encoder(encoder, **({"classes": CLASSES, "kind": kind} | settings)).eval())


def spread(model):
    """Weights so large that answers differ from each other."""
    for name, parameter in model.named_parameters():
        if "embedding" in name or name.startswith("classifier.weight"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def choices(texts: dict) -> dict[str, torch.Tensor]:
    """Three questions of three, one and two choices."""
    present = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 1]])[..., None]
    shuffled = [torch.stack([value, value.flip(0), value.roll(1, 0)], dim=1) for value in texts.values()]
    return {name: value * present for name, value in zip(texts, shuffled, strict=True)}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def by_hand(model: Classifier, pooled: torch.Tensor) -> list[list[float]]:
    """Probabilities of each row's classes, in plain Python from the pooled features (batch, size)."""
    rows = pooled.tolist()
    weight, result = model.classifier.weight.tolist(), []
    for features in rows:
        scores = [sum(w * x for w, x in zip(line, features, strict=True)) for line in weight]
        if model.config.kind == "ordinal":
            first, gaps = model.thresholds.first.item(), model.thresholds.distances.tolist()
            cuts = [first + sum(math.log1p(math.exp(gap)) for gap in gaps[:k]) for k in range(len(gaps) + 1)]
            below = [0.0, *(sigmoid(cut - scores[0]) for cut in cuts), 1.0]
            result.append([high - low for low, high in pairwise(below)])
            continue
        scores = [score + bias for score, bias in zip(scores, model.classifier.bias.tolist(), strict=True)]
        if model.config.kind == "multi_label":
            result.append([sigmoid(score) for score in scores])
        else:
            result.append([math.exp(score) / sum(map(math.exp, scores)) for score in scores])
    return result


def loss_by_hand(kind: str, chances: list[list[float]], labels: torch.Tensor) -> float:
    if kind == "multi_label":
        pairs = [
            (p, y) for row, own in zip(chances, labels.tolist(), strict=True) for p, y in zip(row, own, strict=True)
        ]
        return -sum(math.log(p if y else 1 - p) for p, y in pairs) / len(pairs)
    return -sum(math.log(row[label]) for row, label in zip(chances, labels.tolist(), strict=True)) / len(chances)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_and_loss_are_those_of_the_formula(encoder, kind: str, texts: dict) -> None:
    model = classifier(encoder, kind, dropout=0.3, multi_sample_dropout=3, pooling="mean")
    pooled = model.pool(texts["input_ids"], texts["attention_mask"], None)
    chances = by_hand(model, pooled)
    torch.testing.assert_close(model.probabilities(**texts), torch.tensor(chances), atol=1e-6, rtol=1e-4)
    assert model(**texts, labels=LABELS[kind]).loss.item() == pytest.approx(
        loss_by_hand(kind, chances, LABELS[kind]), rel=1e-4
    )
    model.train()
    model.encoder.eval()
    with dropped_by(model) as samples:
        loss = model(**texts, labels=LABELS[kind]).loss
    losses = [loss_by_hand(kind, by_hand(model, sample), LABELS[kind]) for sample in samples]
    assert max(losses) - min(losses) > 1e-3
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-4)


@pytest.mark.parametrize("kind", ["single_label", "ordinal"])
def test_labels_may_be_probabilities(encoder, kind: str, texts: dict) -> None:
    model = classifier(encoder, kind)
    certain = torch.nn.functional.one_hot(LABELS[kind], 4).float()
    torch.testing.assert_close(model(**texts, labels=certain).loss, model(**texts, labels=LABELS[kind]).loss)


def test_grades_begin_equally_likely_and_stay_in_order_and_finite_far_from_the_middle() -> None:
    thresholds = OrderedThresholds(5)
    torch.testing.assert_close(thresholds(torch.zeros(2)).exp(), torch.full((2, 5), 0.2))
    torch.nn.init.normal_(thresholds.distances, std=5.0)
    places = torch.tensor([-80.0, -3.0, 0.0, 3.0, 80.0], requires_grad=True)
    found = thresholds(places)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(5))
    expected = (found.exp() * torch.arange(5)).sum(-1)
    assert (expected.diff() > 0).all() and found.isfinite().all()
    found.sum().backward()
    assert places.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(encoder, kind: str, texts: dict, tmp_path) -> None:
    model = classifier(encoder, kind)
    model.save_pretrained(tmp_path)
    loaded = Classifier.from_pretrained(tmp_path)
    assert loaded.config.id2label == dict(enumerate(CLASSES)) and loaded.config.kind == kind
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.probabilities(**texts), model.probabilities(**texts), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_learns_until_the_labels_are_known(encoder, kind: str, texts: dict) -> None:
    model = classifier(encoder, kind, dropout=0.0).train()
    encoder.eval()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        model(**texts, labels=LABELS[kind]).loss.backward()
        optimizer.step()
    # What stands under the first token alone in the last layer, such as a second segment, has nothing to learn.
    still = {name for name, value in model.named_parameters() if torch.equal(before[name], value)}
    assert not {name for name in still if not name.startswith("encoder.")}, still
    assert len(still) <= 2, still
    found = model.probabilities(**texts)
    expected = LABELS[kind].bool() if kind == "multi_label" else LABELS[kind]
    assert ((found > 0.5) if kind == "multi_label" else found.argmax(-1)).equal(expected)


def test_a_classifier_of_every_family_comes_back(checkpoint, texts: dict, tmp_path) -> None:
    pairs = texts | {"token_type_ids": (torch.arange(9) > 3).long() * texts["attention_mask"]}
    model = classifier(load_encoder(checkpoint), "ordinal")
    assert {model.part_of(name) for name, _ in model.named_parameters()} == {"encoder", "head"}
    assert model.part_of("thresholds.first") == model.part_of("classifier.weight") == "head"
    model.save_pretrained(tmp_path)
    found = Classifier.from_pretrained(tmp_path).probabilities(**pairs)
    torch.testing.assert_close(found, model.probabilities(**pairs), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "attention"])
def test_choices_are_scored_one_by_one_and_padding_is_never_chosen(encoder, pooling: str, texts: dict) -> None:
    torch.manual_seed(0)
    model = spread(ChoiceClassifier.from_encoder(encoder, pooling=pooling, dropout=0.0).eval())
    batch, labels, total = choices(texts), torch.tensor([2, 0, 2]), 0.0
    found = model.probabilities(**batch)
    for row in range(3):
        scores = {}
        for place in range(3):
            length = int(batch["attention_mask"][row, place].sum())
            if length:
                ids, mask = (batch[name][row, place : place + 1, :length] for name in ("input_ids", "attention_mask"))
                scores[place] = math.exp(model.classifier(model.pool(ids, mask, None)).item())
        chances = [scores.get(place, 0.0) / sum(scores.values()) for place in range(3)]
        torch.testing.assert_close(found[row], torch.tensor(chances), atol=1e-5, rtol=1e-4)
        total -= math.log(chances[labels[row]]) / 3
    assert found[1].tolist() == [1.0, 0.0, 0.0]
    assert model(**batch, labels=labels).loss.item() == pytest.approx(total, rel=1e-4)
    certain = torch.nn.functional.one_hot(labels, 3).float()
    assert model(**batch, labels=certain).loss.item() == pytest.approx(total, rel=1e-4)


def test_the_loss_of_choices_averages_over_dropout_samples(encoder, texts: dict) -> None:
    torch.manual_seed(0)
    model = spread(ChoiceClassifier.from_encoder(encoder, pooling="mean", dropout=0.3, multi_sample_dropout=3))
    model.train()
    encoder.eval()
    batch, labels, losses = choices(texts), [2, 0, 2], []
    with dropped_by(model) as samples:
        loss = model(**batch, labels=torch.tensor(labels)).loss
    present = batch["attention_mask"].any(-1).nonzero().tolist()
    for sample in samples:
        scores = dict(zip(map(tuple, present), model.classifier(sample)[:, 0].tolist(), strict=True))
        rows = [{place: math.exp(s) for (row, place), s in scores.items() if row == own} for own in range(3)]
        pairs = zip(rows, labels, strict=True)
        losses.append(-sum(math.log(row[label] / sum(row.values())) for row, label in pairs) / 3)
    assert max(losses) - min(losses) > 1e-3
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_a_choice_classifier_learns_with_every_part_and_comes_back(encoder, texts: dict, tmp_path) -> None:
    torch.manual_seed(0)
    model, batch, labels = ChoiceClassifier.from_encoder(encoder, multi_sample_dropout=2), choices(texts), [1, 0, 2]
    encoder.eval()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor(labels)).loss.backward()
        optimizer.step()
    moved = {name.split(".")[0] for name, value in model.named_parameters() if value.grad.abs().sum() > 0}
    assert moved == {"encoder", "classifier"} and model.probabilities(**batch).argmax(-1).tolist() == labels
    model.save_pretrained(tmp_path)
    loaded = ChoiceClassifier.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.probabilities(**batch), model.probabilities(**batch), atol=1e-6, rtol=1e-5)
    assert loaded.part_of("classifier.bias") == "head"


def test_misuse_is_named(encoder) -> None:
    with pytest.raises(ValueError, match="unknown kind of classes 'grades'"):
        Classifier.from_encoder(encoder, kind="grades")
    with pytest.raises(ValueError, match="given once each"):
        Classifier.from_encoder(encoder, classes=["a", "a"])
    with pytest.raises(ValueError, match="unknown pooling 'min'"):
        ChoiceClassifier.from_encoder(encoder, pooling="min")
    with pytest.raises(TypeError, match="no setting 'tasks': expected classes, dropout, initializer_range, kind"):
        Classifier.from_encoder(encoder, tasks=2)
