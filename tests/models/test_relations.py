"""Relations are found between entities that are there, and only between candidates."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from models.encoders import load_encoder
from models.relations import RelationClassifier, decode_relations

# Rows of 6, 2 and 4 words. (head, tail, relation): the first pair has two relations, and one in the other direction.
ENTITIES = {
    "entity_spans": torch.tensor([[[0, 3], [1, 2], [4, 6]], [[0, 1], [1, 2], [-1, -1]], [[0, 4], [-1] * 2, [-1] * 2]]),
    "entity_types": torch.tensor([[0, 1, 0], [1, 1, -1], [0, -1, -1]]),
}
RELATIONS = [[(0, 1, 0), (0, 1, 1), (1, 0, 1)], [(1, 0, 0)], []]
LABELS = torch.tensor([row + [(-1, -1, -1)] * (3 - len(row)) for row in RELATIONS])
CASES = pytest.mark.parametrize("features", ["pooled", "first"])
COUNTS = (3, 2, 1)


def model_of(encoder, **settings) -> RelationClassifier:
    torch.manual_seed(0)
    own = {"relations": ["of", "in"], "types": ["a", "b"], "type_size": 3, "pair_size": 16, "dropout": 0.0}
    return RelationClassifier.from_encoder(encoder, **(own | settings)).eval()


@CASES
def test_it_learns_relations_by_heart_and_comes_back(encoder, features: str, tagged: dict, tmp_path) -> None:
    model = model_of(encoder, features=features, several=True, recurrent_size=16, layer_norm=True).train()
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        model(**tagged, **ENTITIES, relation_labels=LABELS).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    for each in (model, RelationClassifier.from_pretrained(tmp_path)):
        rows = decode_relations(each.probabilities(**tagged, **ENTITIES).logit(), several=True)
        assert [[relation[:3] for relation in row] for row in rows] == RELATIONS


@CASES
def test_a_pair_is_made_of_its_entities_and_their_types(encoder, features: str, tagged: dict) -> None:
    """Against a loop over pairs in float64."""
    model = model_of(encoder, features=features, several=True).double()
    found = model(**tagged, **ENTITIES).logits
    words = model.words(tagged["input_ids"], tagged["attention_mask"], None, tagged["word_positions"], None)
    types = model.type_embedding(ENTITIES["entity_types"].clamp(min=0))
    for row, head, tail in itertools.product(range(3), range(3), range(3)):
        if head == tail or max(head, tail) >= COUNTS[row]:
            assert (found[row, head, tail] == -torch.inf).all()
            continue
        spans = [slice(*ENTITIES["entity_spans"][row, entity].tolist()) for entity in (head, tail)]
        one, two = (words[row, span].amax(0) if features == "pooled" else words[row, span.start] for span in spans)
        pair = torch.cat([one, two, one * two, types[row, head], types[row, tail]])
        torch.testing.assert_close(
            found[row, head, tail].double(), model.classifier(model.pair(pair)), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_counts_candidates_alone(encoder, several: bool, tagged: dict) -> None:
    model = model_of(encoder, several=several, multi_sample_dropout=2)
    labels = LABELS if several else LABELS[:, [1, 2]]  # one relation a pair: the first row's second and third
    if not several:
        labels = torch.stack([LABELS[0, 1:], LABELS[1, :2], LABELS[2, :2]])
    mask = torch.ones(3, 3, 3)
    mask[0, 2] = mask[0, :, 2] = 0  # the third entity is no candidate, and none of its pairs a negative
    logits, expected = model(**tagged, **ENTITIES).logits, 0.0
    gold = {(row, *relation) for row in range(3) for relation in map(tuple, labels[row].tolist()) if relation[0] >= 0}
    for row, head, tail in itertools.product(range(3), range(3), range(3)):
        if head == tail or max(head, tail) >= COUNTS[row] or not mask[row, head, tail]:
            continue
        wanted = torch.tensor([float((row, head, tail, relation) in gold) for relation in range(2)])
        if several:
            expected += F.binary_cross_entropy_with_logits(logits[row, head, tail], wanted, reduction="sum") / 3
        else:
            classes = F.pad(logits[row, head, tail], (1, 0))[None]
            expected += F.cross_entropy(classes, (wanted.argmax() + 1 if wanted.any() else wanted.argmax())[None]) / 3
    for training in (False, True):
        model.train(training)
        model.encoder.eval()
        output = model(**tagged, **ENTITIES, pair_mask=mask, relation_labels=labels)
        torch.testing.assert_close(output.loss, expected)
        assert (output.logits[0, 2] == -torch.inf).all() and output.logits[0, 0, 1].isfinite().all()


@CASES
def test_each_text_is_read_the_same_alone_and_in_a_batch(encoder, features: str, tagged: dict) -> None:
    model = model_of(encoder, features=features, recurrent_size=4)
    together = model.probabilities(**tagged, **ENTITIES)
    for row, (length, words, entities) in enumerate(((9, 6, 3), (5, 2, 2), (7, 4, 1))):
        sizes = {"word_positions": words, "entity_spans": entities, "entity_types": entities}
        alone = {name: value[row : row + 1, : sizes.get(name, length)] for name, value in (tagged | ENTITIES).items()}
        found = model.probabilities(**alone)[0]
        torch.testing.assert_close(found, together[row, :entities, :entities], atol=1e-5, rtol=1e-4)
        assert not together[row, entities:].any() and not together[row, :, entities:].any()


def test_every_part_gets_a_gradient_and_half_precision_works(bert_checkpoint, tagged: dict) -> None:
    model = model_of(load_encoder(bert_checkpoint), recurrent_size=4, layer_norm=True).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**tagged, **ENTITIES, relation_labels=LABELS).loss
    assert loss.dtype == torch.float32
    loss.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), name
    assert all(layer.weight.grad.any() for layer in (model.type_embedding, model.pair[0], model.classifier))
    assert model.encoder.get_input_embeddings().weight.grad.any()


def test_of_rival_relations_the_best_is_decoded() -> None:
    odds = torch.full((1, 2, 2, 2), -torch.inf)
    odds[0, 0, 1] = torch.tensor([1.0, 2.0])
    odds[0, 1, 0] = torch.tensor([-1.0, 0.5])
    assert decode_relations(odds) == [[(0, 1, 1, 2.0), (1, 0, 1, 0.5)]]
    assert decode_relations(odds, several=True)[0] == [(0, 1, 0, 1.0), (0, 1, 1, 2.0), (1, 0, 1, 0.5)]
    assert decode_relations(odds, threshold=1.5) == [[(0, 1, 1, 2.0)]]


def test_misuse_is_named(encoder, tagged: dict) -> None:
    with pytest.raises(ValueError, match="relations must be given once"):
        model_of(encoder, relations=["a", "a"])
    with pytest.raises(ValueError, match="expected one of pooled, first"):
        model_of(encoder, features="last")
    model = model_of(encoder)
    with pytest.raises(ValueError, match="needs entity_spans"):
        model(**tagged)
    for wrong in ([0, 0, 0], [0, 3, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match="no candidate"):
            model(**tagged, **ENTITIES, relation_labels=torch.tensor([[wrong], [[-1] * 3], [[-1] * 3]]))
