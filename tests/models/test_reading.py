"""A reader points into its passage and nowhere else, and knows when there is no answer."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from models.encoders import load_encoder
from models.reading import Reader, best_answers
from tests.models.dropout_samples import dropped_by

# Passages: tokens 4 to 7, 3, and 3 to 5 of texts of 9, 5 and 7 tokens. The second question has no answer.
PASSAGES = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0, 0]])
LABELS = {"start_labels": torch.tensor([5, 0, 3]), "end_labels": torch.tensor([6, 0, 5])}


@pytest.fixture
def questions(texts: dict) -> dict[str, torch.Tensor]:
    return texts | {"passage_mask": PASSAGES}


def model_of(encoder, **settings) -> Reader:
    torch.manual_seed(0)
    return Reader.from_encoder(encoder, **settings).eval()


def test_it_learns_three_answers_by_heart_and_comes_back(encoder, questions: dict, tmp_path) -> None:
    model = model_of(encoder, dropout=0.0).train()
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        model(**questions, **LABELS).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    for each in (model, Reader.from_pretrained(tmp_path)):
        first, second, third = best_answers(each(**questions).logits, PASSAGES)
        assert first[0][0][:2] == (5, 6) and third[0][0][:2] == (3, 5)
        assert first[0][0][2] > first[1] and third[0][0][2] > third[1] and second[1] > second[0][0][2]


def test_the_loss_is_the_mean_of_two_cross_entropies_over_passage_and_null(encoder, questions: dict) -> None:
    model = model_of(encoder, multi_sample_dropout=3, dropout=0.3)

    def by_hand(logits: torch.Tensor) -> float:
        expected = 0.0
        for row, side in itertools.product(range(3), range(2)):
            places = [0, *PASSAGES[row].nonzero()[:, 0].tolist()]
            label = (LABELS["start_labels"], LABELS["end_labels"])[side][row].item()
            chosen = logits[row, places, side].double()
            expected += F.cross_entropy(chosen, torch.tensor(places.index(label))).item() / 6
        return expected

    output = model(**questions, **LABELS)
    assert output.loss.item() == pytest.approx(by_hand(output.logits), rel=1e-5)
    model.train()
    model.encoder.eval()
    with dropped_by(model) as samples:
        loss = model(**questions, **LABELS).loss
    losses = [by_hand(model.classifier(sample)) for sample in samples]
    assert max(losses) - min(losses) > 1e-4
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    model.eval()
    # A row without a label takes no part.
    ignored = {name: value.clone() for name, value in LABELS.items()}
    ignored["start_labels"][1] = ignored["end_labels"][1] = -100
    pair = {name: value[[0, 2]] for name, value in (questions | LABELS).items()}
    torch.testing.assert_close(model(**questions, **ignored).loss, model(**pair).loss)
    ignored = {name: torch.full((3,), -100) for name in LABELS}
    assert model(**questions, **ignored).loss == 0


def test_each_text_is_read_the_same_alone_and_in_a_batch(encoder, questions: dict) -> None:
    model = model_of(encoder)
    together = model.probabilities(**questions)
    torch.testing.assert_close(together.sum(1), torch.ones(3, 2))
    outside = PASSAGES == 0
    outside[:, 0] = False
    assert not together[outside].any()
    for row, length in enumerate((9, 5, 7)):
        alone = model.probabilities(**{name: value[row : row + 1, :length] for name, value in questions.items()})
        torch.testing.assert_close(alone[0], together[row, :length], atol=1e-5, rtol=1e-4)


def test_every_family_takes_a_step_in_half_precision_and_comes_back(checkpoint, questions: dict, tmp_path) -> None:
    model = model_of(load_encoder(checkpoint)).train()
    before = model.classifier.weight.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**questions, **LABELS).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())
    assert model.get_input_embeddings().weight.grad.any()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(model.classifier.weight, before)
    model.save_pretrained(tmp_path)
    loaded = Reader.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("max_length, n", [(1, 3), (3, 4), (30, 100)])
def test_the_best_answers_are_those_of_an_enumeration(max_length: int, n: int) -> None:
    logits = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(6))
    for row, (answers, null) in enumerate(best_answers(logits, PASSAGES, max_length, n)):
        inside = PASSAGES[row].nonzero()[:, 0].tolist()
        wanted = [
            (first, last, (logits[row, first, 0] + logits[row, last, 1]).item())
            for first, last in itertools.combinations_with_replacement(inside, 2)
            if last - first < max_length
        ]
        wanted = sorted(wanted, key=lambda answer: -answer[2])[:n]
        assert [answer[:2] for answer in answers] == [answer[:2] for answer in wanted]
        assert all(math.isclose(a[2], b[2], abs_tol=1e-6) for a, b in zip(answers, wanted, strict=True))
        assert null == pytest.approx(logits[row, 0].sum().item())


def test_misuse_is_named(encoder, questions: dict) -> None:
    model = model_of(encoder)
    with pytest.raises(ValueError, match="needs passage_mask"):
        model(questions["input_ids"])
    with pytest.raises(ValueError, match="or neither"):
        model(**questions, start_labels=LABELS["start_labels"])
    for wrong in (2, 8, 9, -1):
        with pytest.raises(ValueError, match="does not lie in its passage"):
            model(**questions, start_labels=torch.tensor([wrong, 0, 3]), end_labels=LABELS["end_labels"])
    with pytest.raises(ValueError, match="max_length"):
        best_answers(torch.zeros(1, 2, 2), torch.ones(1, 2), max_length=0)
