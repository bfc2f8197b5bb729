"""A tagger sees words only, learns, and comes back from a folder as it was."""

from itertools import pairwise

import pytest
import torch
import torchcrf
from torch.nn import functional as F

from common.text.labels import LabelScheme
from models.encoders import encoder_from_config, load_encoder
from models.heads import MultiSampleDropout
from models.taggers import Tagger, gather_words
from tests.models.dropout_samples import dropped_by

LABELS = torch.tensor([[0, 1, 2, 0, 3, 4], [3, 0, -100, -100, -100, -100], [0, 0, 1, 2, -100, -100]])
KINDS = [
    {"head": "crf"},
    {"head": "softmax"},
    {"head": "crf", "recurrent_size": 6, "layer_norm": True, "multi_sample_dropout": 3},
    {"head": "crf", "scheme": "BIOES"},
]


def tagger(encoder, **settings) -> Tagger:
    torch.manual_seed(0)
    return Tagger.from_encoder(encoder, types=["a", "b"], **settings).eval()


@pytest.mark.parametrize("settings", KINDS)
def test_saved_and_loaded_it_is_the_same(encoder, settings: dict, tagged: dict, tmp_path) -> None:
    model = tagger(encoder, **settings)
    model.save_pretrained(tmp_path)
    loaded = Tagger.from_pretrained(tmp_path)
    assert type(loaded.encoder) is type(encoder) and loaded.scheme == model.scheme
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.probabilities(**tagged), model.probabilities(**tagged), atol=1e-6, rtol=1e-5)
    assert loaded.decode(loaded(**tagged).logits, tagged["word_positions"]) == model.decode(
        model(**tagged).logits, tagged["word_positions"]
    )


@pytest.mark.parametrize("settings", KINDS)
def test_each_text_is_tagged_the_same_alone_and_in_a_batch(encoder, settings: dict, tagged: dict) -> None:
    model = tagger(encoder, **settings)
    together = model.probabilities(**tagged)
    for row in range(3):
        length = int(tagged["attention_mask"][row].sum())
        words = int((tagged["word_positions"][row] >= 0).sum())
        cuts = {"word_positions": words}
        alone = {name: value[row : row + 1, : cuts.get(name, length)] for name, value in tagged.items()}
        torch.testing.assert_close(together[row, :words], model.probabilities(**alone)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together[row, :words].sum(-1), torch.ones(words))
        assert not together[row, words:].any()


def test_only_first_pieces_of_words_reach_the_head(tagged: dict) -> None:
    hidden = torch.randn(3, 9, 4)
    words = gather_words(hidden, tagged["word_positions"])
    for row, places in enumerate(tagged["word_positions"].tolist()):
        for word, place in enumerate(places):
            expected = hidden[row, place] if place >= 0 else torch.zeros(4)
            assert torch.equal(words[row, word], expected)


def test_words_without_label_leave_the_loss_of_either_head(encoder, tagged: dict) -> None:
    holes = LABELS.clone()
    holes[0, 1:3] = -100
    holes[1] = -100
    for head in ("crf", "softmax"):
        model = tagger(encoder, head=head)
        emissions = model(**tagged).logits
        kept = [(0, [0, 3, 4, 5]), (2, [0, 1, 2, 3])]
        if head == "crf":
            total = sum(model.crf(emissions[row, places][None], LABELS[row, places][None]) for row, places in kept)
        else:
            rows = [F.cross_entropy(emissions[row, at], LABELS[row, at], reduction="sum") for row, at in kept]
            total = -(rows[0] + rows[1])
        expected = -total / 3
        torch.testing.assert_close(model(**tagged, labels=holes).loss, expected)
        nothing = model(**tagged, labels=torch.full_like(LABELS, -100)).loss
        assert nothing == 0 and nothing.requires_grad


def test_labels_at_padding_are_not_looked_at(encoder, tagged: dict) -> None:
    model = tagger(encoder)
    careless = LABELS.masked_fill(LABELS == -100, 0)
    torch.testing.assert_close(model(**tagged, labels=careless).loss, model(**tagged, labels=LABELS).loss)


def test_a_row_without_words_gets_no_tags(encoder, tagged: dict) -> None:
    tagged["word_positions"][1] = -1
    for head in ("crf", "softmax"):
        model = tagger(encoder, head=head)
        assert not model.probabilities(**tagged)[1].any()
        assert [len(row) for row in model.decode(model(**tagged).logits, tagged["word_positions"])] == [6, 0, 4]


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_a_crf_never_breaks_the_scheme(encoder, scheme: str, tagged: dict) -> None:
    model = tagger(encoder, scheme=scheme)
    labels = LabelScheme(("a", "b"), scheme)
    start, transition, end = labels.allowed()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        emissions = 9 * torch.randn(3, 6, len(labels.tags), generator=generator)
        for tags in model.decode(emissions, tagged["word_positions"]):
            assert start[tags[0]] and end[tags[-1]]
            assert all(transition[pair] for pair in pairwise(tags))
            assert (labels.encode(labels.decode(tags), len(tags)) == tags).all()


@pytest.mark.parametrize("settings", KINDS[:3])
def test_it_learns_three_sentences_by_heart(encoder, settings: dict, tagged: dict) -> None:
    model = tagger(encoder, dropout=0.0, **settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        model(**tagged, labels=LABELS).loss.backward()
        optimizer.step()
    model.eval()
    decoded = model.decode(model(**tagged).logits, tagged["word_positions"])
    assert decoded == [[tag for tag in row if tag >= 0] for row in LABELS.tolist()]


def test_every_family_takes_a_step_and_comes_back(checkpoint, tagged: dict, tmp_path) -> None:
    model = tagger(load_encoder(checkpoint)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    tokens = torch.zeros_like(tagged["input_ids"])
    model(**tagged, token_type_ids=tokens, labels=LABELS).loss.backward()
    optimizer.step()
    assert sum(not torch.equal(before[name], value) for name, value in model.named_parameters()) > 20
    model.eval().save_pretrained(tmp_path)
    loaded = Tagger.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.probabilities(**tagged), model.probabilities(**tagged), atol=1e-6, rtol=1e-5)


def test_a_head_leaves_the_encoder_as_it_was_loaded(checkpoint) -> None:
    encoder = load_encoder(checkpoint)
    attention = encoder.config._attn_implementation
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = tagger(encoder, recurrent_size=4)
    assert model.encoder is encoder and encoder.config._attn_implementation == attention is not None
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_checkpointing_gives_the_same_gradients(checkpoint, tagged: dict) -> None:
    model = tagger(load_encoder(checkpoint, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), dropout=0.0)
    if not model.supports_gradient_checkpointing:
        with pytest.raises(ValueError, match="does not support"):
            model.gradient_checkpointing_enable()
        return
    gradients = []
    for _ in range(2):
        model.train().zero_grad()
        model(**tagged, labels=LABELS).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_gradient_checkpointing
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_learning_rates_find_their_parts(encoder) -> None:
    model = tagger(encoder, recurrent_size=6)
    parts = {name: model.part_of(name) for name, _ in model.named_parameters()}
    inner = "recurrent" if encoder.config.model_type == "recurrent" else "encoder"
    assert {part for name, part in parts.items() if name.startswith("encoder.")} == {inner}
    assert parts["crf.transitions"] == parts["classifier.weight"] == "head"
    assert parts["recurrent.forwards.0.weight_ih_l0"] == "recurrent"
    with pytest.raises(ValueError, match="no parameter 'clasifier"):
        model.part_of("clasifier.weight")


def test_dropout_samples_differ_in_training_and_are_one_in_evaluation() -> None:
    dropout = MultiSampleDropout(0.5, 4)
    samples = dropout.train()(torch.ones(2, 50))
    assert samples.shape == (4, 2, 50) and not torch.equal(samples[0], samples[1])
    assert torch.equal(dropout.eval()(torch.ones(2, 50)), torch.ones(1, 2, 50))


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_the_loss_averages_over_dropout_samples(encoder, head: str, tagged: dict) -> None:
    model = tagger(encoder, head=head, multi_sample_dropout=3, dropout=0.3).train()
    encoder.eval()
    with dropped_by(model) as samples:
        output = model(**tagged, labels=LABELS)
    losses, emissions = [], [model.classifier(sample) for sample in samples]
    for scores in emissions:
        if head == "softmax":
            losses.append(F.cross_entropy(scores.flatten(0, 1), LABELS.flatten(), reduction="sum") / len(LABELS))
            continue
        reference = torchcrf.CRF(len(model.scheme.tags), batch_first=True)
        for name, value in reference.named_parameters():
            # torchcrf forbids nothing; such a score is never taken either.
            allowed = getattr(model.crf, name.replace("_transitions", "") + "_allowed")
            value.data = model.crf.get_parameter(name).detach().masked_fill(~allowed, -1e4)
        mask = LABELS >= 0
        losses.append(-reference(scores, LABELS.clamp(min=0), mask) / len(LABELS))
    assert (losses[0] - losses[1]).abs() > 1e-4 and (losses[1] - losses[2]).abs() > 1e-4
    torch.testing.assert_close(output.loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.logits, torch.stack(emissions).mean(0), atol=1e-6, rtol=1e-5)


def test_probabilities_use_no_dropout_and_leave_training_on(encoder, tagged: dict) -> None:
    model = tagger(encoder, dropout=0.5).train()
    first, second = (model.probabilities(**tagged, labels=LABELS) for _ in range(2))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)
    assert model.training and not first.requires_grad


def test_misuse_is_named(encoder, tagged: dict, tmp_path) -> None:
    with pytest.raises(TypeError, match="no setting 'typs'"):
        Tagger.from_encoder(encoder, typs=["a"])
    with pytest.raises(ValueError, match="expected crf or softmax"):
        tagger(encoder, head="crfs")
    with pytest.raises(ValueError, match="expected BIO or BIOES"):
        tagger(encoder, scheme="IO")
    with pytest.raises(ValueError, match="needs word_positions"):
        tagger(encoder)(tagged["input_ids"])
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        Tagger.from_pretrained(tmp_path)
    tagger(encoder).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"recurrent_size": 0', '"recurrent_size": 4'))
    with pytest.raises(ValueError, match=r"missing_keys .*recurrent\.forwards"):
        Tagger.from_pretrained(tmp_path)


def test_fresh_weights_follow_the_seed() -> None:
    settings = {"model_type": "recurrent", "vocab_size": 30}
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(Tagger.from_encoder(encoder_from_config(settings), types=["a"], recurrent_size=4))
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(first, second)
