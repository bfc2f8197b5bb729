"""An encoder is loaded whole or not at all, and an error says which weight or file is at fault."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from models.encoders import MARK_SCALE, encoder_from_config, load_encoder, widen_token_types
from models.recurrent import RecurrentEncoder
from tests.models.families import CONFIGS


def edited(source: Path, folder: Path, weights=None, config=None) -> Path:
    """A copy of a checkpoint whose weights or config.json go through a function."""
    shutil.copytree(source, folder)
    if weights:
        save_file(weights(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    if config:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config(settings)))
    return folder


def test_every_family_loads_its_own_weights_without_pooler(checkpoint: Path, texts: dict) -> None:
    encoder = load_encoder(checkpoint)
    saved = load_file(checkpoint / "model.safetensors")
    names = {name.partition(".")[2]: value for name, value in saved.items()}
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, names[name]), name
    assert not encoder.training and getattr(encoder, "pooler", None) is None
    assert encoder(**texts).last_hidden_state.shape == (3, 9, 16)


def test_new_token_types_are_the_old_ones_with_a_mark(checkpoint: Path, texts: dict, tmp_path: Path) -> None:
    encoder, before = load_encoder(checkpoint), load_encoder(checkpoint)
    if not widen_token_types(encoder, 6):
        assert encoder.config.model_type == "deberta-v2"
        return
    sides = before.config.type_vocab_size
    types = torch.arange(9).expand(3, 9) % sides
    same = encoder(**texts | {"token_type_ids": types}).last_hidden_state
    torch.testing.assert_close(same, before(**texts | {"token_type_ids": types}).last_hidden_state)
    table = next(value for name, value in encoder.state_dict().items() if "token_type_embeddings" in name)
    marks = (table - table[torch.arange(6) % sides])[sides:]
    # One mark is the same for each side, of the words' own scale, and unlike the next.
    assert all(torch.allclose(marks[side], marks[0], atol=1e-6) for side in range(sides))
    assert not torch.allclose(marks[0], marks[-1])
    words = encoder.get_input_embeddings().weight.std()
    assert 0.5 * MARK_SCALE * words < marks.std() < 2 * MARK_SCALE * words
    encoder.save_pretrained(tmp_path)
    marked = texts | {"token_type_ids": torch.arange(9).expand(3, 9) % 6}
    again = load_encoder(tmp_path)(**marked).last_hidden_state
    torch.testing.assert_close(again, encoder(**marked).last_hidden_state)


def test_padding_changes_no_hidden_state(checkpoint: Path, texts: dict) -> None:
    encoder = load_encoder(checkpoint)
    together = encoder(**texts).last_hidden_state
    for row, length in enumerate(texts["attention_mask"].sum(1).tolist()):
        alone = encoder(**{name: value[row : row + 1, :length] for name, value in texts.items()}).last_hidden_state[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-4)


def test_a_missing_unexpected_or_mismatched_weight_is_named(bert_checkpoint: Path, tmp_path: Path) -> None:
    name = "bert.encoder.layer.2.output.dense.weight"

    def without(weights: dict) -> dict:
        return {key: value for key, value in weights.items() if key != name}

    with pytest.raises(ValueError, match=r"missing encoder\.layer\.2\.output\.dense\.weight"):
        load_encoder(edited(bert_checkpoint, tmp_path / "a", without))
    with pytest.raises(ValueError, match=r"unexpected .*extra\.weight"):
        load_encoder(edited(bert_checkpoint, tmp_path / "b", lambda w: w | {"bert.extra.weight": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"unexpected .*layer\.3"):
        load_encoder(bert_checkpoint, num_hidden_layers=3)
    with pytest.raises(
        ValueError, match=r"another shape encoder\.layer\.2\.output\.dense\.weight \(16, 20\) for \(3, 3\)"
    ):
        load_encoder(edited(bert_checkpoint, tmp_path / "c", lambda w: w | {name: torch.ones(3, 3)}))


def test_heads_poolers_and_old_buffers_are_left_out_in_silence(
    bert_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {
        "bert.pooler.dense.weight": torch.ones(16, 16),
        "cls.seq_relationship.weight": torch.ones(2, 16),
        "bert.embeddings.position_ids": torch.arange(40)[None],
    }
    with caplog.at_level(logging.WARNING):
        encoder = load_encoder(edited(bert_checkpoint, tmp_path / "old", lambda weights: weights | extra))
    assert "REPORT" not in caplog.text and not any("pooler" in name for name in encoder.state_dict())


def test_layer_norms_of_tensorflow_days_are_loaded(bert_checkpoint: Path, tmp_path: Path) -> None:
    def gamma_beta(weights: dict) -> dict:
        torch.manual_seed(0)
        renamed = {}
        for key, value in weights.items():
            key = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            renamed[key] = torch.randn_like(value) if "LayerNorm" in key else value
        return renamed

    folder = edited(bert_checkpoint, tmp_path / "tf", gamma_beta)
    expected = load_file(folder / "model.safetensors")["bert.embeddings.LayerNorm.gamma"]
    assert torch.equal(load_encoder(folder).embeddings.LayerNorm.weight, expected)


def test_roberta_wwm_is_the_bert_that_it_is(bert_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chinese-roberta-wwm-ext"

    def without_type(settings: dict) -> dict:
        return {key: value for key, value in settings.items() if key != "model_type"}

    assert isinstance(load_encoder(edited(bert_checkpoint, folder, config=without_type)), BertModel)
    wrong = edited(bert_checkpoint, tmp_path / "wrong", config=lambda settings: settings | {"model_type": "roberta"})
    with pytest.raises(ValueError, match="named like bert's"):
        load_encoder(wrong)
    bare = edited(bert_checkpoint, tmp_path / "bare", config=lambda settings: {"hidden_size": 16})
    with pytest.raises(ValueError, match="no model_type"):
        load_encoder(bare)


def test_overrides_must_be_known_and_half_precision_files_load_as_float32(bert_checkpoint: Path, tmp_path) -> None:
    assert load_encoder(bert_checkpoint, hidden_dropout_prob=0.3).config.hidden_dropout_prob == 0.3
    with pytest.raises(ValueError, match="no field 'hiden_size'"):
        load_encoder(bert_checkpoint, hiden_size=3)
    half = edited(
        bert_checkpoint,
        tmp_path / "half",
        lambda weights: {key: value.half() for key, value in weights.items()},
        lambda settings: settings | {"dtype": "float16"},
    )
    assert load_encoder(half).dtype == torch.float32


def test_what_cannot_be_found_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"does not exist: give an existing folder or a hub id"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load_encoder(tmp_path)
    with pytest.raises(FileNotFoundError, match="Offline, download it on another machine") as raised:
        load_encoder("nobody/has-this-model")
    assert "\n" not in str(raised.value)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FileNotFoundError, match="no weights found"):
        load_encoder(tmp_path)


def test_a_folder_of_the_kit_is_found_from_anywhere_and_never_asked_for_on_the_hub(
    bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.encoders.KIT", tmp_path / "kit")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(FileNotFoundError, match="folder models/pretrained does not exist"):
        load_encoder("models/pretrained")
    shutil.copytree(bert_checkpoint, tmp_path / "kit" / "models" / "pretrained")
    assert load_encoder("models/pretrained").config.model_type == "bert"


def test_an_encoder_is_made_from_settings() -> None:
    assert isinstance(encoder_from_config({"model_type": "recurrent", "vocab_size": 9}), RecurrentEncoder)
    assert encoder_from_config(CONFIGS["bert"]).pooler is None
    with pytest.raises(ValueError, match="model_type"):
        encoder_from_config({"vocab_size": 9})
    with pytest.raises(ValueError, match="nonsense"):
        encoder_from_config({"model_type": "nonsense"})
