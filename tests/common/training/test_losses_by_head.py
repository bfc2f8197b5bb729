"""Which losses a head takes: those of its distributions where it has some, and flooding and gradient penalty always."""

import pytest
import torch
from torch.nn import functional as F

from common.config import ConfigError
from common.training.losses import Objective, doubled, r_drop
from common.training.tricks import LossConfig
from models.biaffine import BiaffineTagger
from models.global_pointer import GlobalPointer
from models.multi_task import MultiTask
from models.relations import RelationClassifier
from models.word_pairs import WordPairTagger
from tests.common.training.test_losses import (
    HEADS,
    batch,
    choices,
    chooser,
    loss_of,
    own_tagger,
    questions,
    reader,
    still,
)


def words() -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch().items() if name != "labels"}


def on_words(kind, **settings):
    torch.manual_seed(1)
    return kind.from_encoder(own_tagger().encoder, dropout=0.0, **settings)


# Every head without distributions, with labels of a batch.
SCALAR = {
    "global pointer": (lambda: on_words(GlobalPointer, types=["a"], head_size=4),
                       lambda: words() | {"span_labels": torch.tensor([[[0, 2, 0]]] * 4)}),
    "biaffine": (lambda: on_words(BiaffineTagger, types=["a"], span_size=4),
                 lambda: words() | {"span_labels": torch.tensor([[[0, 2, 0]]] * 4)}),
    "word pairs": (lambda: on_words(WordPairTagger, types=["a"], pair_size=4, distance_size=2, convolutions=[1]),
                   lambda: words() | {"pair_labels": torch.tensor([[[0, 1, 1], [1, 0, 2]]] * 4)}),
    "relations": (lambda: on_words(RelationClassifier, relations=["a"], pair_size=4),
                  lambda: words() | {"entity_spans": torch.tensor([[[0, 1], [1, 2]]] * 4),
                                     "relation_labels": torch.tensor([[[0, 1, 0]]] * 4)}),
    "multi-task": (lambda: MultiTask.from_encoder(own_tagger().encoder, tasks={
                       "words": {"class": "taggers.Tagger", "types": ["a"], "dropout": 0.0}}),
                   lambda: batch() | {"task": torch.zeros(4, dtype=torch.long)}),
}  # fmt: skip


@pytest.mark.parametrize("name", [*SCALAR, "reader", "choices", "softmax tagger"])
def test_flooding_and_gradient_penalty_need_nothing_but_a_loss(name):
    build, rows = (SCALAR | HEADS)[name]
    head, rows = still(build()), rows()
    own = float(head(**rows).loss.detach())
    assert float(loss_of(head, rows, flooding=own + 1.0).detach()) == pytest.approx(own + 2.0, rel=1e-5)
    penalised = loss_of(head, rows, gradient_penalty=100.0)
    assert float(penalised.detach()) > own
    penalised.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in head.parameters())


@pytest.mark.parametrize("name", SCALAR)
def test_a_head_without_distributions_says_before_it_trains_what_it_takes(name):
    head = SCALAR[name][0]()
    for refused in ({"kind": "focal"}, {"label_smoothing": 0.1}, {"class_weights": [1.0]}, {"r_drop": 1.0},
                    {"contrastive": 0.1}, {"mixup": 0.4}):  # fmt: skip
        said = (
            rf"{type(head).__name__} does not take training[.]loss[.]{next(iter(refused))}: of training[.]loss it takes"
        )
        with pytest.raises(ConfigError, match=said + " flooding, gradient_penalty;"):
            Objective(head, LossConfig(**refused))
    with pytest.raises(
        ConfigError, match=r"does not take training[.]loss[.]r_drop, training[.]adversarial[.]kind=vat:"
    ):
        Objective(head, LossConfig(r_drop=1.0, flooding=0.1), virtual=True)


@pytest.mark.parametrize("build", [reader, chooser])
def test_classes_that_change_from_row_to_row_are_neither_weighed_nor_mixed(build):
    with pytest.raises(
        ConfigError, match=r"training[.]loss[.]class_weights, training[.]loss[.]contrastive, training[.]loss[.]mixup"
    ):
        Objective(build(), LossConfig(class_weights=[1.0], contrastive=0.1, mixup=0.1, r_drop=1.0))


@pytest.mark.parametrize("name", ["reader", "choices"])
def test_padding_has_no_part_in_any_loss(name):
    head, rows = HEADS[name][0](), HEADS[name][1]()
    wider = {key: F.pad(value, (0, 0, 0, 2) if value.ndim == 3 else (0, 2)) if value.ndim > 1 else value
             for key, value in rows.items()}  # fmt: skip
    for settings in ({"label_smoothing": 0.2}, {"kind": "focal"}, {"kind": "dice"}, {"kind": "dice", "smooth": 0.0}):
        one, other = loss_of(head, rows, **settings), loss_of(head, wider, **settings)
        assert one.isfinite() and float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-5), settings
        head.zero_grad()
        one.backward()
        assert head.classifier.weight.grad.isfinite().all()


def test_smoothed_labels_of_choices_are_spread_over_those_that_a_row_has():
    head, rows = chooser(), choices()
    log_p, present = head(**rows).logits.log_softmax(-1), rows["attention_mask"].any(-1)
    expected = 0.0
    for own, there, label in zip(log_p, present, rows["labels"], strict=True):
        expected -= (0.8 * own[label] + 0.2 * own[there].mean()) / 4
    assert torch.allclose(loss_of(head, rows, label_smoothing=0.2), expected, atol=1e-6)


def test_the_divergence_of_two_readers_is_finite_and_averaged_over_starts_and_ends():
    head, rows = reader(dropout=0.5), doubled(questions())
    torch.manual_seed(3)
    log_p, weights = head.distributions(Objective(head, LossConfig()).head(**rows).samples, **rows)
    one, other = log_p[0].chunk(2)
    both = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2
    expected = both[[0, 2, 3]].mean()  # row 1 has no label
    assert float(r_drop(log_p, weights).detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert expected > 1e-4 and log_p.isfinite().all()
