"""NEZHA gives what transformers 4.40 gave (nezha/README.md), loads the hub's checkpoints and takes any length."""

import copy
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from models.encoders import encoder_from_config, load_encoder, longest_input
from models.matchers import CrossEncoder
from models.nezha import NezhaConfig, NezhaForMaskedLM, NezhaModel
from models.relative_positions import (
    ClippedPositions,
    GatheredPositions,
    UnclippedPositions,
    kept_positions,
    relative_positions,
)
from models.taggers import Tagger

FOLDER = Path(__file__).parent / "nezha"
OUTPUTS = load_file(FOLDER / "outputs.safetensors")
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
# Of 9, 16 and 30 tokens: the first one's distances are all below the limit of 8, the last is longer than the training.
ROWS = ["short", "medium", "long"]


def stored(rows: str) -> dict[str, Tensor]:
    """Inputs and outputs of the reference for one of ROWS."""
    return {name.partition(".")[2]: value for name, value in OUTPUTS.items() if name.startswith(f"{rows}.")}


def inputs(rows: str) -> dict[str, Tensor]:
    return {name: stored(rows)[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def tiny(attention: str = "sdpa", **settings) -> NezhaModel:
    torch.manual_seed(0)
    settings = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20} | settings
    config = NezhaConfig(num_hidden_layers=2, initializer_range=0.3, attn_implementation=attention, **settings)
    return NezhaModel(config, add_pooling_layer=False).eval()


def naive_attention(query: Tensor, key: Tensor, value: Tensor, furthest: int) -> Tensor:
    """Equations 3 and 4 of the paper with one vector for each pair of tokens, and no other trick."""
    length, size = query.shape[-2:]
    vectors = torch.zeros(length, length, size, dtype=query.dtype)
    for i in range(length):
        for j in range(length):
            place = max(-furthest, min(furthest, j - i)) + furthest
            for pair in range(size // 2):
                angle = torch.tensor(place / 10000 ** (2 * pair / size), dtype=query.dtype)
                vectors[i, j, 2 * pair], vectors[i, j, 2 * pair + 1] = angle.sin(), angle.cos()
    scores = torch.einsum("bhid,bhijd->bhij", query, key[:, :, None] + vectors) / size**0.5
    return torch.einsum("bhij,bhijd->bhid", scores.softmax(-1), value[:, :, None] + vectors)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("rows", ROWS)
def test_hidden_states_and_pooled_output_are_the_reference(rows: str, attention: str) -> None:
    model = AutoModel.from_pretrained(FOLDER, attn_implementation=attention).eval()
    with torch.no_grad():
        ours, expected = model(**inputs(rows), output_hidden_states=True), stored(rows)
    torch.testing.assert_close(torch.stack(ours.hidden_states), expected["hidden_states"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.pooler_output, expected["pooler_output"], atol=1e-5, rtol=1e-5)
    attentions = model(**inputs(rows), output_attentions=True).attentions
    assert len(attentions) == 2
    torch.testing.assert_close(attentions[1], expected["attentions"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("rows", ROWS)
def test_predictions_loss_and_gradients_are_the_reference(rows: str, attention: str) -> None:
    model = AutoModelForMaskedLM.from_pretrained(FOLDER, attn_implementation=attention).eval()
    expected = stored(rows)
    ours = model(**inputs(rows), labels=expected["labels"])
    torch.testing.assert_close(ours.logits, expected["logits"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.loss, expected["loss"], atol=1e-5, rtol=1e-5)
    ours.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for part in ("query", "value"):
        gradient = gradients[f"nezha.encoder.layer.0.attention.self.{part}.weight"]
        torch.testing.assert_close(gradient, expected[f"{part}_gradient"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stores_sinusoids", [False, True], ids=["late", "early"])
def test_a_checkpoint_of_the_hub_loads_whole_and_without_a_word(
    stores_sinusoids: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    if stores_sinusoids:
        for layer in range(2):
            name = f"nezha.encoder.layer.{layer}.attention.self.relative_positions_encoding.positions_encoding"
            weights[name] = torch.zeros(16, 16, 8)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for automatic in (AutoModel, AutoModelForMaskedLM):
        with caplog.at_level(logging.WARNING):
            model, information = automatic.from_pretrained(folder, output_loading_info=True)
        assert not any(information.values()), information
        own = {name if "cls." in name else f"nezha.{name.removeprefix('nezha.')}" for name in model.state_dict()}
        assert own <= set(weights)
    assert "REPORT" not in caplog.text
    encoder = load_encoder(folder)
    assert type(encoder) is NezhaModel and encoder.pooler is None
    expected = stored("medium")["hidden_states"][-1]
    torch.testing.assert_close(encoder(**inputs("medium")).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_the_days_when_nezha_was_called_bert_loads(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    older = {name.replace("nezha.", "bert."): value for name, value in weights.items()}
    older["bert.encoder.layer.0.attention.self.relative_positions_encoding.positions_encoding"] = torch.zeros(16, 16, 8)
    save_file(older, folder / "model.safetensors", {"format": "pt"})
    encoder = load_encoder(folder)
    encoder.save_pretrained(tmp_path / "again")
    for again in (encoder, load_encoder(tmp_path / "again")):
        for name, value in again.state_dict().items():
            assert torch.equal(value, weights[f"nezha.{name}"]), name


def test_what_is_saved_has_the_names_of_the_hub_and_loads_again(tmp_path: Path) -> None:
    model = NezhaForMaskedLM.from_pretrained(FOLDER)
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names <= set(load_file(FOLDER / "model.safetensors")) and "cls.predictions.bias" in names
    again, information = NezhaForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(information.values())
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "nezha"


def test_a_folder_with_a_vocabulary_alone_has_a_tokenizer(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "config.json", tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天", "气"]))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.is_fast and tokenizer("天气")["input_ids"] == [2, 5, 6, 3]


@pytest.mark.parametrize("furthest", [1, 5])
@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 12, 23])
def test_attention_is_the_paper_s(length: int, furthest: int) -> None:
    query, key, value = torch.randn(3, 2, 2, length, 6, dtype=torch.float64).unbind()
    expected = naive_attention(query, key, value, furthest)
    positions = relative_positions(length, 6, furthest, torch.float64, query.device)
    assert type(positions) is (UnclippedPositions if length <= furthest + 1 else ClippedPositions)
    scaled = query / 6**0.5
    # The form for exported graphs says the same.
    for form in (positions, GatheredPositions(length, 6, furthest, torch.float64, query.device)):
        weights = (scaled @ key.transpose(-1, -2) + form.scores(scaled)).softmax(-1)
        torch.testing.assert_close(weights @ value + form.values(weights), expected, atol=1e-12, rtol=1e-12)
    if length <= furthest + 1:
        fused = positions.attend(query, key, value, None, 0.0)
        torch.testing.assert_close(fused, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("length", [4, 9])
def test_gradients_are_those_of_finite_differences_twice(length: int) -> None:
    positions = relative_positions(length, 4, 3, torch.float64, torch.device("cpu"))
    query = torch.randn(1, 1, length, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 1, length, length, dtype=torch.float64, requires_grad=True)
    for function, argument in ((positions.scores, query), (positions.values, weights)):
        assert torch.autograd.gradcheck(function, argument)
        assert torch.autograd.gradgradcheck(lambda x, function=function: function(x).square(), argument)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("length", [7, 30])
def test_sdpa_is_eager_with_its_gradients(length: int, device: str) -> None:
    ids = torch.randint(5, 30, (3, length), device=device)
    mask = (torch.arange(length, device=device) < torch.tensor([[length], [length - 3], [2]], device=device)).long()
    results = []
    for attention in ("eager", "sdpa"):
        model = tiny(attention, max_relative_position=8).to(device)
        hidden = model(ids, mask).last_hidden_state[mask.bool()]
        hidden.pow(3).sum().backward()
        results.append([hidden.detach(), *(parameter.grad for parameter in model.parameters())])
    for eager, sdpa in zip(*results, strict=True):
        torch.testing.assert_close(sdpa, eager, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [6, 20])
def test_masks_by_pair_keep_packed_texts_apart(length: int, attention: str) -> None:
    model = tiny(attention, max_relative_position=8)
    ids = torch.randint(5, 30, (1, length))
    text = (torch.arange(length) >= length // 2).long()
    seen = (text[:, None] == text)[None, None]
    additive = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    halves = torch.cat([model(half).last_hidden_state for half in ids.split(length // 2, dim=1)], dim=1)
    for mask in (seen, additive):
        torch.testing.assert_close(model(ids, mask).last_hidden_state, halves, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [6, 20])
def test_a_row_of_padding_alone_is_finite_and_bfloat16_is_close(length: int, attention: str) -> None:
    model = tiny(attention, max_relative_position=8)
    ids, mask = torch.randint(5, 30, (2, length)), torch.ones(2, length, dtype=torch.long)
    with torch.no_grad():
        full = model(ids, mask).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(ids, mask).last_hidden_state.float(), full, atol=0.15, rtol=0.1)
        half = copy.deepcopy(model).bfloat16()(ids, mask).last_hidden_state
        torch.testing.assert_close(half.float(), full, atol=0.15, rtol=0.1)
        mask[1] = 0
        assert model(ids, mask).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("length", [6, 20])
def test_positions_kept_from_inference_serve_training(length: int) -> None:
    kept_positions.cache_clear()
    model = tiny(max_relative_position=8).train()
    with torch.inference_mode():
        model(torch.ones(1, length, dtype=torch.long))
    model(torch.ones(1, length, dtype=torch.long)).last_hidden_state.sum().backward()
    assert kept_positions.cache_info().hits == 1


@pytest.mark.parametrize("length", [6, 20])
def test_dropout_of_weights_acts_in_training_only(length: int) -> None:
    model = tiny(max_relative_position=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    ids = torch.randint(5, 30, (1, length))
    assert torch.equal(model(ids).last_hidden_state, model(ids).last_hidden_state)
    model.train()
    assert not torch.allclose(model(ids).last_hidden_state, model(ids).last_hidden_state, atol=1e-3)


def test_nothing_limits_the_length_and_heads_take_it(tmp_path: Path) -> None:
    assert longest_input(FOLDER) == longest_input({"model_type": "nezha"}) == 1_000_000
    encoder = encoder_from_config({"model_type": "nezha", "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1,
                                   "num_attention_heads": 2, "intermediate_size": 20})  # fmt: skip
    batch = {"input_ids": torch.randint(5, 30, (2, 600)), "attention_mask": torch.ones(2, 600, dtype=torch.long)}
    batch |= {"token_type_ids": (torch.arange(600) > 300).long().expand(2, -1)}
    matcher = CrossEncoder.from_encoder(encoder, tasks=2, task_handling="conditional_norm")
    matcher.save_pretrained(tmp_path / "matcher")
    again = CrossEncoder.from_pretrained(tmp_path / "matcher")
    task = torch.tensor([0, 1])
    torch.testing.assert_close(again.probabilities(**batch, task=task), matcher.probabilities(**batch, task=task))
    tagger, words = Tagger.from_encoder(tiny(), types=["a"]), torch.arange(1, 599).expand(2, -1)
    assert tagger.probabilities(**batch, word_positions=words).shape == (2, 598, 3)


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="multiple of 24"):
        NezhaConfig(hidden_size=36, num_attention_heads=12)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        NezhaConfig(max_relative_position=0)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        tiny()()
