"""Word pairs find entities with gaps, nested ones and flat ones."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from models.encoders import load_encoder
from models.word_pairs import FIRST_TYPE, NEXT, WordPairTagger, _distance_classes, decode_word_pairs, word_pairs
from tests.models.dropout_samples import dropped_by

# Words and type of entities in rows of 6, 2 and 4 words: with a gap, nested, of one word.
ENTITIES = [[((0, 1, 2), 0), ((0, 1, 4), 0), ((5,), 1)], [], [((0, 1, 2, 3), 0), ((1, 2), 1)]]
PAIRS = [word_pairs([(list(words), kind) for words, kind in row]) for row in ENTITIES]
LABELS = torch.tensor([row + [(-1, -1, -1)] * (6 - len(row)) for row in PAIRS])


def model_of(encoder, **settings) -> WordPairTagger:
    torch.manual_seed(0)
    return WordPairTagger.from_encoder(
        encoder, **({"types": ["a", "b"], "pair_size": 12, "distance_size": 4} | settings)
    ).eval()


def grid_of(*pairs: tuple[int, int, int], words: int = 6, classes: int = 4) -> torch.Tensor:
    grid = torch.zeros(1, words, words, dtype=torch.long)
    for one, two, kind in pairs:
        grid[0, one, two] = kind
    return F.one_hot(grid, classes).float()


def test_it_learns_entities_with_gaps_by_heart_and_comes_back(encoder, tagged: dict, tmp_path) -> None:
    model = model_of(encoder, recurrent_size=16, layer_norm=True, dropout=0.0).train()
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        model(**tagged, pair_labels=LABELS).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    for each in (model, WordPairTagger.from_pretrained(tmp_path)):
        assert decode_word_pairs(each.probabilities(**tagged)) == ENTITIES


def test_entities_go_into_the_grid_and_come_back() -> None:
    for entities in ([], *ENTITIES, [((0, 2, 5), 1)], [((3,), 0), ((3, 4), 0)]):
        grid = grid_of(*word_pairs([(list(words), kind) for words, kind in entities]))
        assert decode_word_pairs(grid) == [sorted(entities)]


def test_every_way_from_head_to_tail_is_an_entity() -> None:
    """Against an enumeration of all sets of words."""
    random = torch.Generator().manual_seed(7)
    for _ in range(20):
        grid = torch.randint(0, 4, (1, 5, 5), generator=random)
        grid[0][torch.ones(5, 5).triu(1).bool() & (grid[0] >= FIRST_TYPE)] = 0
        wanted = []
        for size in range(1, 6):
            for words in itertools.combinations(range(5), size):
                joined = all(grid[0, one, two] == NEXT for one, two in itertools.pairwise(words))
                kind = int(grid[0, words[-1], words[0]])
                if joined and kind >= FIRST_TYPE:
                    wanted.append((words, kind - FIRST_TYPE))
        assert decode_word_pairs(F.one_hot(grid, 4).float()) == [sorted(wanted)]


def test_the_loss_is_the_mean_over_the_rows_own_pairs(encoder, tagged: dict) -> None:
    model = model_of(encoder, multi_sample_dropout=3, dropout=0.3)

    def by_hand(logits: torch.Tensor) -> torch.Tensor:
        expected = 0.0
        for row, words in enumerate((6, 2, 4)):
            targets = torch.zeros(6, 6, dtype=torch.long)
            for one, two, kind in PAIRS[row]:
                targets[one, two] = kind
            own = logits[row, :words, :words]
            expected += F.cross_entropy(own.flatten(0, 1), targets[:words, :words].flatten()) / 3
        return expected

    output = model(**tagged, pair_labels=LABELS)
    torch.testing.assert_close(output.loss, by_hand(output.logits))
    model.train()
    model.encoder.eval()
    with dropped_by(model) as samples:
        loss = model(**tagged, pair_labels=LABELS).loss
    inside = tagged["word_positions"] >= 0
    losses = [by_hand(model._grid(sample, inside[:, :, None] & inside[:, None, :])) for sample in samples]
    assert max(losses) - min(losses) > 1e-5
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_each_text_is_read_the_same_alone_and_in_a_batch(encoder, tagged: dict) -> None:
    model = model_of(encoder, recurrent_size=4)
    together = model.probabilities(**tagged)
    for row, (length, words) in enumerate(((9, 6), (5, 2), (7, 4))):
        alone = {
            name: value[row : row + 1, : words if name == "word_positions" else length]
            for name, value in tagged.items()
        }
        torch.testing.assert_close(model.probabilities(**alone)[0], together[row, :words, :words], atol=1e-5, rtol=1e-4)
        assert not together[row, words:].any() and not together[row, :, words:].any()


def test_every_part_gets_a_gradient_and_half_precision_works(bert_checkpoint, tagged: dict) -> None:
    model = model_of(load_encoder(bert_checkpoint), recurrent_size=4, layer_norm=True).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**tagged, pair_labels=LABELS).loss
    assert loss.dtype == torch.float32
    loss.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), name
    assert all(convolution.weight.grad.any() for convolution in model.convolutions)
    assert model.distance.weight.grad.any() and model.encoder.get_input_embeddings().weight.grad.any()


def test_distances_are_told_apart_by_sign_and_power_of_two() -> None:
    found = _distance_classes(torch.tensor([0, 1, 2, 3, 4, 255, 256, 9999, -1, -2, -3, -9999])).tolist()
    assert found == [0, 1, 2, 2, 3, 8, 9, 9, 11, 12, 12, 19]


def test_misuse_is_named(encoder, tagged: dict) -> None:
    with pytest.raises(ValueError, match="every dilation"):
        model_of(encoder, convolutions=[0])
    with pytest.raises(ValueError, match="needs word_positions"):
        model_of(encoder)(tagged["input_ids"])
