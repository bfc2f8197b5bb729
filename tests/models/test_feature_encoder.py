"""A frozen encoder stays as it was; the BiLSTM on its last layers learns; any head takes it for an encoder."""

import pytest
import torch

from common.training.arguments import TrainingConfig
from common.training.optimizers import parameter_groups
from models.encoders import load_encoder
from models.feature_encoder import FeatureEncoder
from models.reading import Reader
from models.taggers import Tagger

LABELS = torch.tensor([[1, 2, 0, 1, 0, 0], [0, 1, -100, -100, -100, -100], [1, 2, 2, 0, -100, -100]])
SETTINGS = {"hidden_size": 12, "recurrent_layers": 2}


def features_of(checkpoint, **settings) -> FeatureEncoder:
    torch.manual_seed(0)
    return FeatureEncoder.from_encoder(load_encoder(checkpoint), **(SETTINGS | settings))


def tagger_of(checkpoint, **settings) -> Tagger:
    return Tagger.from_encoder(features_of(checkpoint, **settings), types=["a"], dropout=0.0)


def test_it_reads_the_last_layers_side_by_side(bert_checkpoint, texts: dict) -> None:
    model = features_of(bert_checkpoint, layers=3)
    states = load_encoder(bert_checkpoint)(**texts, output_hidden_states=True).hidden_states
    mask = texts["attention_mask"]
    expected = model.recurrent(torch.cat([states[2], states[3], states[4]], dim=-1), mask)[-1]
    found = model(**texts, output_hidden_states=True)
    torch.testing.assert_close(found.last_hidden_state, expected)
    assert found.hidden_states[0].shape == (3, 9, 48) and len(found.hidden_states) == 3


def test_the_frozen_encoder_learns_nothing_and_the_rest_does(checkpoint, tagged: dict, tmp_path) -> None:
    model = tagger_of(checkpoint).train()
    frozen = {name: value.clone() for name, value in model.encoder.encoder.state_dict().items()}
    learning = {
        name: value.detach().clone() for name, value in model.named_parameters() if not name.startswith("encoder.enc")
    }
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainingConfig(), model.part_of), lr=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**tagged, labels=LABELS).loss.backward()
    optimizer.step()
    assert all(torch.equal(model.encoder.encoder.state_dict()[name], value) for name, value in frozen.items())
    parameters = dict(model.named_parameters())
    assert all(not torch.equal(parameters[name], value) for name, value in learning.items())
    held = {id(value) for group in optimizer.param_groups for value in group["params"]}
    assert held == {id(parameters[name]) for name in learning} == {id(value) for value in optimizer.state}
    model.save_pretrained(tmp_path)
    loaded = Tagger.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(loaded.probabilities(**tagged), model.probabilities(**tagged))
    assert not any(value.requires_grad for value in loaded.encoder.encoder.parameters())
    assert all(value.requires_grad for value in loaded.encoder.recurrent.parameters())


def test_its_lstm_takes_the_learning_rate_of_recurrent_layers(bert_checkpoint) -> None:
    model = tagger_of(bert_checkpoint)
    parts = {model.part_of(name) for name, value in model.named_parameters() if value.requires_grad}
    assert parts == {"recurrent", "head"}
    assert model.part_of("encoder.recurrent.forwards.0.weight_ih_l0") == "recurrent"
    assert model.part_of("encoder.encoder.embeddings.word_embeddings.weight") == "encoder"


def test_dropout_is_of_the_lstm_alone(bert_checkpoint, texts: dict) -> None:
    model = Reader.from_encoder(features_of(bert_checkpoint, dropout=0.5)).train()
    assert not any(module.training for module in model.encoder.encoder.modules()) and model.encoder.dropout.training
    one, two = (model.encoder(**texts, output_hidden_states=True) for _ in range(2))
    assert torch.equal(one.hidden_states[0], two.hidden_states[0])
    assert not torch.equal(one.last_hidden_state, two.last_hidden_state)
    model.probabilities(**texts, passage_mask=texts["attention_mask"])
    assert not model.encoder.encoder.training and model.encoder.training


def test_each_text_is_read_the_same_alone_and_in_a_batch(checkpoint, tagged: dict) -> None:
    model = tagger_of(checkpoint).eval()
    together = model.probabilities(**tagged)
    for row, (length, words) in enumerate(((9, 6), (5, 2), (7, 4))):
        alone = {
            name: value[row : row + 1, : words if name == "word_positions" else length]
            for name, value in tagged.items()
        }
        torch.testing.assert_close(model.probabilities(**alone)[0], together[row, :words], atol=1e-5, rtol=1e-4)


def test_token_types_reach_the_encoder(bert_checkpoint, texts: dict) -> None:
    model = Reader.from_encoder(features_of(bert_checkpoint)).eval()
    batch = texts | {"passage_mask": texts["attention_mask"]}
    plain, zeros, ones = (
        model(**batch, **types).logits
        for types in ({}, *({"token_type_ids": torch.full((3, 9), kind)} for kind in (0, 1)))
    )
    assert torch.equal(plain, zeros) and not torch.equal(plain, ones)


def test_misuse_is_named(bert_checkpoint) -> None:
    with pytest.raises(ValueError, match="layers=5 are more than the encoder has: 4"):
        features_of(bert_checkpoint, layers=5)
    with pytest.raises(ValueError, match="hidden_size even"):
        features_of(bert_checkpoint, hidden_size=7)
