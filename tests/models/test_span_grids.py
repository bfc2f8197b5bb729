"""GlobalPointer and the biaffine classifier find flat, nested and overlapping entities, and blend with taggers."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.text.labels import LabelScheme
from models.biaffine import BiaffineTagger
from models.encoders import load_encoder
from models.global_pointer import GlobalPointer, rotate
from models.span_grids import SpanGridTagger, decode_grid, grid_tag_probabilities, valid_spans

# (first word, last word + 1, type) in rows of 6, 2 and 4 words; those of the first row nest.
ENTITIES = [[(0, 3, 0), (1, 2, 1), (3, 5, 0)], [], [(0, 4, 1)]]
SPAN_LABELS = torch.tensor([row + [(-1, -1, -1)] * (3 - len(row)) for row in ENTITIES])
HEADS = [
    pytest.param(GlobalPointer, {"head_size": 8, "efficient": False}, id="global_pointer"),
    pytest.param(GlobalPointer, {"head_size": 8}, id="efficient_global_pointer"),
    pytest.param(BiaffineTagger, {"span_size": 16}, id="biaffine"),
]
heads = pytest.mark.parametrize("kind, settings", HEADS)


def model_of(kind: type[SpanGridTagger], encoder, **settings) -> SpanGridTagger:
    torch.manual_seed(0)
    return kind.from_encoder(encoder, types=["a", "b"], **settings).eval()


def grid_of(*cells: tuple[int, int, int, float], words: int = 6, types: int = 2) -> torch.Tensor:
    """Log-odds of -5 but for cells (first word, last word + 1, type, log-odds)."""
    grid = torch.full((1, words, words, types), -5.0)
    for first, stop, kind, value in cells:
        grid[0, first, stop - 1, kind] = value
    return grid.masked_fill(~valid_spans(torch.ones(1, words, dtype=torch.bool))[..., None], -torch.inf)


def found(grid: torch.Tensor, **settings) -> list[tuple[int, int, int]]:
    return [span[:3] for span in decode_grid(grid, **settings)[0]]


@heads
def test_it_learns_nested_entities_by_heart_and_comes_back(kind, settings, encoder, tagged: dict, tmp_path) -> None:
    model = model_of(kind, encoder, recurrent_size=16, layer_norm=True, dropout=0.0, **settings).train()
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        model(**tagged, span_labels=SPAN_LABELS).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    for each in (model, kind.from_pretrained(tmp_path)):
        rows = decode_grid(each.probabilities(**tagged).logit(), overlap="nested")
        assert [[span[:3] for span in row] for row in rows] == ENTITIES


@heads
def test_each_text_is_read_the_same_alone_and_in_a_batch(kind, settings, encoder, tagged: dict) -> None:
    model = model_of(kind, encoder, recurrent_size=4, **settings)
    together = model.probabilities(**tagged)
    for row, (length, words) in enumerate(((9, 6), (5, 2), (7, 4))):
        alone = {
            name: value[row : row + 1, : words if name == "word_positions" else length]
            for name, value in tagged.items()
        }
        torch.testing.assert_close(model.probabilities(**alone)[0], together[row, :words, :words], atol=1e-5, rtol=1e-4)
        assert not together[row, words:].any() and not together[row, :, words:].any()
        assert not together[row][torch.ones(6, 6).tril(-1).bool()].any(), "nothing ends before it begins"


@heads
def test_every_part_gets_a_gradient_and_half_precision_works(kind, settings, encoder, tagged: dict) -> None:
    model = model_of(kind, encoder, recurrent_size=4, layer_norm=True, multi_sample_dropout=2, **settings).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**tagged, span_labels=SPAN_LABELS)
    assert output.loss.dtype == torch.float32 and output.logits.shape == (3, 6, 6, 2)
    output.loss.backward()
    lacking = [
        name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()
    ]
    assert [name for name in lacking if "pooler" not in name] == []
    for layer in model.children():
        own = [value.grad for name, value in layer.named_parameters() if "pooler" not in name]
        assert not own or any(grad.abs().sum() > 0 for grad in own)


@pytest.mark.parametrize("kind, settings", [HEADS[1].values, HEADS[2].values])
def test_every_family_takes_a_step_and_comes_back(kind, settings, checkpoint, tagged: dict, tmp_path) -> None:
    model = model_of(kind, load_encoder(checkpoint), **settings).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters() if "encoder" not in name}
    model(**tagged, span_labels=SPAN_LABELS).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(not torch.equal(dict(model.named_parameters())[name], value) for name, value in before.items())
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


# Scores and losses


@pytest.mark.parametrize("efficient", [False, True])
def test_global_pointer_scores_are_the_formula_of_the_source(encoder, efficient: bool, tagged: dict) -> None:
    """Against loops over spans in float64, each vector rotated by a matrix of its own."""
    model = model_of(GlobalPointer, encoder, head_size=4, efficient=efficient).double()
    with torch.no_grad():
        words = model.words(tagged["input_ids"], tagged["attention_mask"], None, tagged["word_positions"], None)
        pointers, scores = model.pointers(words)[0], model.grid(words)[0, 0]
    heads = 1 if efficient else 2
    for first, last, kind in itertools.product(range(6), range(6), range(2)):
        place = 8 * min(kind, heads - 1)
        query, key = pointers[first, place : place + 4], pointers[last, place + 4 : place + 8]
        wanted = (turned(query, first) @ turned(key, last)) / 2.0
        if efficient:
            types = [model.type_scores(pointers[word]) / 2 for word in (first, last)]
            wanted = wanted + types[0][kind] + types[1][2 + kind]
        torch.testing.assert_close(scores[first, last, kind].double(), wanted, atol=1e-6, rtol=1e-5)


def turned(x: torch.Tensor, position: int) -> torch.Tensor:
    parts = []
    for place in range(0, len(x), 2):
        angle = position * 10_000 ** (-place / len(x))
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        parts.append(torch.tensor(turn, dtype=x.dtype) @ x[place : place + 2])
    return torch.cat(parts)


def test_rotated_inner_products_know_distances_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 1, 8, generator=torch.Generator().manual_seed(4))
    queries, keys = (rotate(x.expand(1, 1, 20, 1, 8))[0, 0, :, 0] for x in (query, key))
    products = queries @ keys.T
    for distance in range(-19, 20):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-4)
    assert products[0].std() > 0.1


def test_the_global_pointer_loss_is_that_of_the_source(encoder, tagged: dict) -> None:
    model = model_of(GlobalPointer, encoder, head_size=4, dropout=0.0)
    logits, expected = model(**tagged).logits.detach().double(), 0.0
    for row, kind in itertools.product(range(3), range(2)):
        words, gold = (6, 2, 4)[row], {(first, stop - 1) for first, stop, own in ENTITIES[row] if own == kind}
        spans = list(itertools.combinations_with_replacement(range(words), 2))
        entities = sum(math.exp(-logits[row, *span, kind]) for span in spans if span in gold)
        others = sum(math.exp(logits[row, *span, kind]) for span in spans if span not in gold)
        expected += (math.log1p(entities) + math.log1p(others)) / 3
    assert model(**tagged, span_labels=SPAN_LABELS).loss.item() == pytest.approx(expected, rel=1e-5)


def test_biaffine_scores_and_loss_are_the_formulas_of_the_source(encoder, tagged: dict) -> None:
    """U, W and b of the source, cut out of the form, in float64."""
    model = model_of(BiaffineTagger, encoder, span_size=5, dropout=0.0).double()
    with torch.no_grad():
        words = model.words(tagged["input_ids"], tagged["attention_mask"], None, tagged["word_positions"], None)
        scores, first, last = model.grid(words)[0], model.first(words), model.last(words)
    form = model.form.weight.detach().view(3, 6, 6)  # class, last, first
    expected = 0.0
    for row, one, two in itertools.product(range(3), range(6), range(6)):
        start, end = first[row, one], last[row, two]
        wanted = [
            end @ form[c, :5, :5] @ start + form[c, 5, :5] @ start + form[c, :5, 5] @ end + form[c, 5, 5]
            for c in range(3)
        ]
        torch.testing.assert_close(scores[row, one, two], torch.stack(wanted))
        if one <= two < (6, 2, 4)[row]:
            gold = [1 + kind for begin, stop, kind in ENTITIES[row] if (begin, stop - 1) == (one, two)] or [0]
            expected += F.cross_entropy(scores[row, one, two][None], torch.tensor(gold)).item() / 3
    assert model.float()(**tagged, span_labels=SPAN_LABELS).loss.item() == pytest.approx(expected, rel=1e-5)


# Decoding


def test_what_excludes_each_other_is_up_to_the_config() -> None:
    nested = grid_of((0, 4, 0, 3.0), (1, 2, 1, 2.0), (5, 6, 0, 1.0))
    assert found(nested, overlap="any") == found(nested, overlap="nested") == [(0, 4, 0), (1, 2, 1), (5, 6, 0)]
    assert found(nested) == [(0, 4, 0), (5, 6, 0)]
    crossing = grid_of((0, 3, 0, 2.0), (2, 5, 0, 3.0))
    assert found(crossing, overlap="any") == [(0, 3, 0), (2, 5, 0)]
    assert found(crossing, overlap="nested") == found(crossing) == [(2, 5, 0)]
    twice = grid_of((0, 3, 0, 2.0), (0, 3, 1, 3.0))
    assert found(twice, overlap="any") == [(0, 3, 0), (0, 3, 1)] and found(twice, overlap="nested") == [(0, 3, 1)]


def test_the_threshold_decides_what_is_there() -> None:
    grid = grid_of((0, 1, 0, 0.5), (2, 3, 0, 1.5))
    assert found(grid) == [(0, 1, 0), (2, 3, 0)] and found(grid, threshold=1.0) == [(2, 3, 0)]
    assert decode_grid(grid, threshold=1.0) == [[(2, 3, 0, 1.5)]]
    assert decode_grid(torch.zeros(2, 0, 0, 1)) == [[], []]
    with pytest.raises(ValueError, match="expected one of flat, nested, any"):
        decode_grid(grid, overlap="some")


# Tag probabilities


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_sure_entities_become_their_tags(scheme: str) -> None:
    labels = LabelScheme(("a", "b"), scheme)
    spans = [(0, 3, "a"), (3, 4, "b"), (5, 7, "a")]
    grid = grid_of(*((first, stop, "ab".index(kind), 30.0) for first, stop, kind in spans), words=8) * 6
    expected = F.one_hot(torch.from_numpy(labels.encode(spans, 8)), len(labels.tags)).float()
    torch.testing.assert_close(grid_tag_probabilities(grid, labels)[0], expected)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_tag_probabilities_are_shares_of_all_flat_sets_of_entities(scheme: str) -> None:
    """Against an enumeration of the tag sequences of four words, and of a row of two padded to four."""
    labels, words = LabelScheme(("a", "b"), scheme), 4
    inside = torch.tensor([[True] * 4, [True, True, False, False]])
    grid = torch.randn(2, words, words, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    grid = grid.masked_fill(~valid_spans(inside)[..., None], -torch.inf)
    spans = [(*pair, kind) for pair in itertools.combinations(range(words + 1), 2) for kind in (0, 1)]
    for row in range(2):
        shares, total = np.zeros((words, len(labels.tags))), 0.0
        for chosen in itertools.chain.from_iterable(itertools.combinations(spans, size) for size in range(words + 1)):
            if any(one[0] < two[1] and two[0] < one[1] for one, two in itertools.combinations(chosen, 2)):
                continue
            weight = math.exp(sum(grid[row, first, stop - 1, kind].item() for first, stop, kind in chosen))
            tags = labels.encode([(first, stop, "ab"[kind]) for first, stop, kind in chosen], words)
            shares[np.arange(words), tags] += weight
            total += weight
        found = grid_tag_probabilities(grid, labels)[row]
        np.testing.assert_allclose(found.numpy(), shares / total, atol=1e-6)


def test_misuse_is_named(encoder, tagged: dict) -> None:
    with pytest.raises(ValueError, match="head_size must be even"):
        model_of(GlobalPointer, encoder, head_size=3)
    with pytest.raises(ValueError, match="span_size"):
        model_of(BiaffineTagger, encoder, span_size=0)
    with pytest.raises(ValueError, match="needs word_positions"):
        model_of(GlobalPointer, encoder)(tagged["input_ids"])
    for entity in ([0, 3, 0], [1, 1, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match="does not lie inside its row"):
            model_of(GlobalPointer, encoder)(**tagged, span_labels=torch.tensor([[[-1] * 3], [entity], [[-1] * 3]]))
