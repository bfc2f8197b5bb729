"""Pointers find flat, nested and overlapping entities, and blend with tag marginals."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from common.text.labels import LabelScheme
from models.encoders import load_encoder
from models.spans import SpanPointerTagger, decode_spans, pointer_tag_probabilities
from tests.models.dropout_samples import dropped_by

# Words of the three texts that carry a start, an end: (row, word, type).
STARTS, ENDS = [(0, 0, 0), (0, 1, 1), (0, 3, 0), (2, 0, 1)], [(0, 2, 0), (0, 1, 1), (0, 4, 0), (2, 3, 1)]
ACTIVATIONS = ["sigmoid", "softmax"]


def labels(places: list[tuple[int, int, int]]) -> torch.Tensor:
    tensor = torch.zeros(3, 6, 2, dtype=torch.long)
    for place in places:
        tensor[place] = 1
    tensor[1, 2:] = tensor[2, 4:] = -100
    return tensor


def model_of(encoder, **settings) -> SpanPointerTagger:
    torch.manual_seed(0)
    return SpanPointerTagger.from_encoder(encoder, types=["a", "b"], **settings).eval()


def probabilities(pointers: list[tuple[int, int]], words: int, types: int = 1) -> torch.Tensor:
    tensor = torch.full((1, words, types), 0.1)
    for word, kind in pointers:
        tensor[0, word, kind] = 0.9
    return tensor


def found(starts: list, ends: list, max_length: int = 9, types: int = 2, **settings) -> list[tuple[int, int, int]]:
    rows = decode_spans(probabilities(starts, 6, types), probabilities(ends, 6, types), max_length, **settings)
    return [span[:3] for span in rows[0]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_learns_three_sentences_by_heart_and_comes_back(encoder, activation: str, tagged: dict, tmp_path) -> None:
    model = model_of(encoder, activation=activation, recurrent_size=16, layer_norm=True, dropout=0.0).train()
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        model(**tagged, start_labels=labels(STARTS), end_labels=labels(ENDS)).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    for each in (model, SpanPointerTagger.from_pretrained(tmp_path)):
        starts, ends = each.probabilities(**tagged).unbind(2)
        spans = [[span[:3] for span in row] for row in decode_spans(starts, ends, max_length=6)]
        assert spans == [[(0, 3, 0), (1, 2, 1), (3, 5, 0)], [], [(0, 4, 1)]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_loss_is_the_mean_over_rows_of_a_sum_over_words(encoder, activation: str, tagged: dict) -> None:
    model = model_of(encoder, activation=activation, multi_sample_dropout=3, dropout=0.3, positive_weight=1.0)

    def by_hand(logits: torch.Tensor) -> torch.Tensor:
        expected = 0.0
        for pointer, targets in enumerate((labels(STARTS), labels(ENDS))):
            kept = targets[..., 0] >= 0
            chosen, target = logits[:, :, pointer][kept], targets[kept]
            if activation == "sigmoid":
                expected += F.binary_cross_entropy_with_logits(chosen, target.float(), reduction="sum") / len(targets)
            else:
                classes = torch.where(target.any(-1), target.argmax(-1) + 1, 0)
                expected += F.cross_entropy(F.pad(chosen, (1, 0)), classes, reduction="sum") / len(targets)
        return expected

    marks = {"start_labels": labels(STARTS), "end_labels": labels(ENDS)}
    output = model(**tagged, **marks)
    torch.testing.assert_close(output.loss, by_hand(output.logits))
    model.train()
    model.encoder.eval()
    with dropped_by(model) as samples:
        output = model(**tagged, **marks)
    logits = [model.classifier(sample).unflatten(-1, (2, 2)) for sample in samples]
    losses = torch.stack([by_hand(each) for each in logits])
    assert losses.max() - losses.min() > 1e-3
    torch.testing.assert_close(output.loss, losses.mean())
    torch.testing.assert_close(output.logits, torch.stack(logits).mean(0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_text_is_read_the_same_alone_and_in_a_batch(encoder, activation: str, tagged: dict) -> None:
    model = model_of(encoder, activation=activation, recurrent_size=4)
    together = model.probabilities(**tagged)
    for row, (length, words) in enumerate(((9, 6), (5, 2), (7, 4))):
        alone = {
            name: value[row : row + 1, : words if name == "word_positions" else length]
            for name, value in tagged.items()
        }
        torch.testing.assert_close(model.probabilities(**alone)[0], together[row, :words], atol=1e-5, rtol=1e-4)
        assert not together[row, words:].any()


def test_every_family_takes_a_step_and_comes_back(checkpoint, tagged: dict, tmp_path) -> None:
    model = model_of(load_encoder(checkpoint)).train()
    before = model.classifier.weight.detach().clone()
    model(**tagged, start_labels=labels(STARTS), end_labels=labels(ENDS)).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(model.classifier.weight, before)
    model.save_pretrained(tmp_path)
    loaded = SpanPointerTagger.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_flat_nested_and_overlapping_entities_are_matched_as_brackets() -> None:
    assert found([(0, 0), (3, 0)], [(1, 0), (4, 0)]) == [(0, 2, 0), (3, 5, 0)]
    assert found([(2, 1)], [(2, 1)]) == [(2, 3, 1)]
    assert found([(0, 0), (1, 0)], [(2, 0), (3, 0)]) == [(0, 4, 0), (1, 3, 0)]
    assert found([(0, 0), (1, 1)], [(2, 0), (3, 1)]) == [(0, 3, 0), (1, 4, 1)]


def test_lone_pointers_are_dropped_or_share_a_partner() -> None:
    assert found([(0, 0), (2, 0)], [(3, 0)]) == [(2, 4, 0)]
    assert found([(0, 0)], [(1, 0), (3, 0)]) == [(0, 2, 0)]
    assert found([(0, 0)], [(1, 0), (3, 0)], share_pointers=True) == [(0, 2, 0), (0, 4, 0)]
    assert found([(0, 0), (2, 0)], [(3, 0)], share_pointers=True) == [(0, 4, 0), (2, 4, 0)]
    assert found([(3, 0)], [(1, 0)], share_pointers=True) == []


def test_long_spans_and_weak_pointers_are_no_entities() -> None:
    assert found([(0, 0)], [(3, 0)], max_length=3) == []
    assert found([(0, 0)], [(3, 0)], max_length=4) == [(0, 4, 0)]
    assert found([(0, 0)], [(3, 0)], threshold=0.95) == []
    ((span,),) = decode_spans(torch.tensor([[[0.8], [0.0]]]), torch.tensor([[[0.0], [0.6]]]), 5)
    assert span[:3] == (0, 2, 0) and math.isclose(span[3], math.sqrt(0.48), rel_tol=1e-6)
    assert decode_spans(torch.zeros(2, 0, 1), torch.zeros(2, 0, 1), 5) == [[], []]
    with pytest.raises(ValueError, match="max_length"):
        found([], [], max_length=0)
    with pytest.raises(ValueError, match="must both be"):
        decode_spans(torch.zeros(1, 2, 1), torch.zeros(1, 3, 1), 5)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_certain_pointers_of_flat_entities_become_their_tags(scheme: str) -> None:
    labels_of = LabelScheme(("a", "b"), scheme)
    rows, words = [[(0, 3, "a"), (3, 4, "b"), (5, 7, "a")], [(1, 2, "b")], []], 8
    pointers = torch.zeros(3, words, 2, 2)
    for row, spans in enumerate(rows):
        for first, stop, kind in spans:
            pointers[row, first, 0, "ab".index(kind)] = pointers[row, stop - 1, 1, "ab".index(kind)] = 1.0
    expected = [F.one_hot(torch.from_numpy(labels_of.encode(spans, words)), len(labels_of.tags)) for spans in rows]
    torch.testing.assert_close(pointer_tag_probabilities(pointers, labels_of), torch.stack(expected).float())


def test_doubtful_pointers_count_as_often_as_they_would_be_there() -> None:
    """Against an enumeration of all ways in which four words' pointers may be there or not."""
    words = 4
    chances = torch.rand(2 * words, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    start, end = chances[:words], chances[words:]
    opened, closing, closing_here = torch.zeros(3, words, dtype=torch.float64)
    for outcome in itertools.product((False, True), repeat=2 * words):
        there = torch.tensor(outcome)
        weight = torch.where(there, chances, 1 - chances).prod()
        starts, ends = outcome[:words], outcome[words:]
        for word in range(words):
            is_open = False
            for place in range(word):
                is_open = (is_open or starts[place]) and not ends[place]
            following = [place for place in range(word, words) if ends[place]]
            closes = bool(following) and not any(starts[word + 1 : following[0] + 1])
            opened[word] += weight * is_open
            closing[word] += weight * closes
            closing_here[word] += weight * ends[word]
    begin, inside = start * closing.sqrt(), (1 - start) * (opened * closing).sqrt()
    last = closing_here / closing
    pointers = torch.stack([start, end], dim=-1)[None, :, :, None]
    for scheme, parts in (
        ("BIO", [begin, inside]),
        ("BIOES", [begin * (1 - last), inside * (1 - last), inside * last, begin * last]),
    ):
        claimed = torch.stack(parts, dim=-1)
        claimed = claimed / claimed.sum(-1, keepdim=True).clamp(min=1)
        found = pointer_tag_probabilities(pointers, LabelScheme(("a",), scheme))[0]
        torch.testing.assert_close(found[:, 1:], claimed.float())
        torch.testing.assert_close(found.sum(-1), torch.ones(words))


def test_rival_types_share_a_word() -> None:
    pointers = torch.zeros(1, 1, 2, 2)
    pointers[:, :, :, :] = torch.tensor([0.9, 0.6])
    found = pointer_tag_probabilities(pointers, LabelScheme(("a", "b")))[0, 0]
    claims = torch.tensor([0.9**1.5, 0.6**1.5])
    torch.testing.assert_close(found[[1, 3]], claims / claims.sum())
    assert found[0] == 0


def test_misuse_is_named(encoder, tagged: dict) -> None:
    with pytest.raises(ValueError, match="expected sigmoid or softmax"):
        model_of(encoder, activation="relu")
    with pytest.raises(ValueError, match="start_labels and end_labels, or neither"):
        model_of(encoder)(**tagged, start_labels=labels(STARTS))
    with pytest.raises(ValueError, match="needs word_positions"):
        model_of(encoder)(tagged["input_ids"])
