"""Masked language modelling: the same loss and gradients as with the whole vocabulary everywhere, and what is saved."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForMaskedLM, BertForMaskedLM

from common.text.packing import attention_within_documents, positions_in_documents
from models.encoders import encoder_from_config, load_encoder
from models.pretraining import HEAD_FILE, HEAD_WEIGHTS, MaskedLM, set_dropout, use_plain_attention
from tests.models.families import CONFIGS, VOCABULARY

FAMILIES = ("bert", "albert", "nezha", "electra")
IGNORED = -100


def model(family: str = "bert", **settings) -> MaskedLM:
    """A random encoder with weights large enough to matter, its head, no dropout."""
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    config.initializer_range = 0.2
    masked = MaskedLM.from_encoder(encoder_from_config(config), **settings)
    with torch.no_grad():
        masked.bias.normal_()
    set_dropout(masked, 0.0)
    return masked.train()


def batch(rows: int = 3, length: int = 10, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """A batch for MaskedLM, the last row padded, and its labels as everyone else gives them, (rows, length)."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=random)
    attention = torch.ones_like(ids)
    attention[-1, -3:] = 0
    chosen = (torch.rand(rows, length, generator=random) < 0.3) & attention.bool()
    full = torch.where(chosen, ids, IGNORED)
    places = chosen.flatten().nonzero()[:, 0]
    ids = torch.where(chosen, 4, ids)
    return {"input_ids": ids, "attention_mask": attention, "positions": places, "labels": full.flatten()[places]}, full


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_whole_vocabulary_at_every_place(family: str) -> None:
    masked, (inputs, full) = model(family), batch()
    masked(**inputs).loss.backward()
    ours = {name: value.clone() for name, value in gradients(masked).items()}

    masked.zero_grad()
    states = masked.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])[0]
    logits = masked.vocabulary_logits(states)
    assert logits.shape == (3, 10, VOCABULARY)
    loss = F.cross_entropy(logits.flatten(0, 1), full.flatten(), ignore_index=IGNORED)
    loss.backward()

    assert masked(**inputs).loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert ours.keys() == gradients(masked).keys() and len(ours) > 10
    for name, value in gradients(masked).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_loss_and_gradients_are_those_of_bert_for_masked_lm() -> None:
    masked, (inputs, full) = model(), batch()
    theirs = BertForMaskedLM(copy.deepcopy(masked.encoder.config)).train()
    set_dropout(theirs, 0.0)
    theirs.bert.load_state_dict(masked.encoder.state_dict())
    head = theirs.cls.predictions
    with torch.no_grad():
        for name, own in (("transform.dense", masked.dense), ("transform.LayerNorm", masked.norm)):
            head.get_submodule(name).load_state_dict(own.state_dict())
        head.decoder.bias.copy_(masked.bias)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    masked(**inputs).loss.backward()
    theirs(ids, attention_mask=mask, labels=full).loss.backward()
    other = gradients(theirs)
    pairs = {name.replace("bert.", "encoder.", 1): value for name, value in other.items() if name.startswith("bert.")}
    pairs |= {name.removeprefix("cls.predictions.transform."): value for name, value in other.items() if "form" in name}
    for name, value in gradients(masked).items():
        name = name.replace("norm.", "LayerNorm.") if name.startswith("norm.") else name
        expected = other["cls.predictions.bias"] if name == "bias" else pairs[name]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)

    # Two batches of unlike size add up to one.
    (first, full_first), (second, full_second) = batch(seed=2), batch(rows=2, seed=3)
    items = len(first["labels"]) + len(second["labels"])
    assert len(first["labels"]) != len(second["labels"])
    masked.zero_grad()
    theirs.zero_grad()
    for inputs, full in ((first, full_first), (second, full_second)):
        masked(**inputs, num_items_in_batch=torch.tensor(items)).loss.backward()
        logits = theirs(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.flatten(0, 1)
        (F.cross_entropy(logits, full.flatten(), ignore_index=IGNORED, reduction="sum") / items).backward()
    ours = masked.encoder.embeddings.word_embeddings.weight.grad
    torch.testing.assert_close(ours, theirs.bert.embeddings.word_embeddings.weight.grad, rtol=1e-4, atol=1e-6)


def test_a_batch_in_which_nothing_is_masked_has_no_loss() -> None:
    masked, (inputs, _) = model(), batch()
    nothing = inputs | {"positions": inputs["positions"][:0], "labels": inputs["labels"][:0]}
    loss = masked(**nothing).loss
    loss.backward()
    assert loss.item() == 0 and not gradients(masked)["dense.weight"].any()


def test_a_step_in_which_nothing_is_masked_still_learns_from_pairs() -> None:
    inputs = batch()[0]
    pairs = {"pair_labels": torch.arange(len(inputs["input_ids"])) % 2}
    nothing = inputs | pairs | {"positions": inputs["positions"][:0], "labels": inputs["labels"][:0]}
    found = []
    for items in (None, torch.tensor(0.0), 0):
        masked = model(sentence_classes=2)
        loss = masked(**nothing, num_items_in_batch=items).loss
        loss.backward()
        assert loss.isfinite() and all(value.isfinite().all() for value in gradients(masked).values())
        found.append(loss.item())
    assert found[0] > 0 and found == pytest.approx([found[0]] * 3)


@pytest.mark.parametrize("plain", [False, True], ids=["sdpa", "eager"])
@pytest.mark.parametrize("family", [*FAMILIES, "roberta", "ernie", "roformer"])
def test_within_documents_each_is_read_as_if_it_stood_alone(family: str, plain: bool) -> None:
    masked = model(family).eval()
    if plain:
        use_plain_attention(masked.encoder)
    lengths, ids = (5, 3, 4), batch(rows=1, length=12)[0]["input_ids"]
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None].numpy()
    own = torch.from_numpy(attention_within_documents(documents))
    places = torch.from_numpy(positions_in_documents(documents))
    every = torch.arange(12)
    found = masked(ids, own, every, ids.flatten(), position_ids=places).loss * 12
    parts = ids.split(lengths, dim=1)
    alone = [masked(part, None, torch.arange(len(part[0])), part[0]).loss * len(part[0]) for part in parts]
    assert found.item() == pytest.approx(sum(part.item() for part in alone), rel=1e-4)
    assert found.item() != pytest.approx(masked(ids, None, every, ids.flatten()).loss.item() * 12, rel=1e-3)
    assert masked.keeps_documents_apart()


def test_an_encoder_that_cannot_keep_documents_apart_is_found_out() -> None:
    assert not model("deberta-v2").keeps_documents_apart()
    sizes = {"vocab_size": 60, "embedding_size": 8, "hidden_size": 16}
    recurrent = encoder_from_config({"model_type": "recurrent", **sizes})
    assert not MaskedLM.from_encoder(recurrent).keeps_documents_apart()


@pytest.mark.parametrize("family", [*FAMILIES, "roberta", "ernie", "deberta-v2", "roformer"])
def test_attention_step_by_step_gives_the_same_loss_and_gradients(family: str) -> None:
    masked, (inputs, _) = model(family), batch()
    masked(**inputs).loss.backward()
    before = {name: value.clone() for name, value in gradients(masked).items()}
    masked.zero_grad()
    use_plain_attention(masked.encoder)
    if family not in ("nezha", "deberta-v2", "roformer"):
        assert masked.encoder.config._attn_implementation == "eager"
    masked(**inputs).loss.backward()
    for name, value in gradients(masked).items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_dropout_is_set_everywhere_and_not_saved(family: str, tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIGS[family])
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
    masked, (inputs, _) = MaskedLM.from_encoder(encoder_from_config(config)).train(), batch()
    losses = lambda: {masked(**inputs).loss.item() for _ in range(3)}  # noqa: E731
    assert len(losses()) == 3
    set_dropout(masked, 0.0)
    assert len(losses()) == 1
    set_dropout(masked, 0.5)
    assert len(losses()) == 3
    set_dropout(masked, 0.0)
    masked.save_encoder(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder").train()
    assert loaded.config.hidden_dropout_prob == loaded.config.attention_probs_dropout_prob == 0.1
    states = [loaded(inputs["input_ids"])[0] for _ in range(2)]
    assert not torch.equal(*states)


def test_the_relation_of_pairs_is_a_second_loss_that_accumulates_to_a_mean() -> None:
    masked, (inputs, _) = model(sentence_classes=2), batch()
    order = torch.tensor([0, 1, 1])
    out = masked(**inputs, pair_labels=order)
    logits = masked.relation(masked.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])[0][:, 0])
    assert out.loss.item() == pytest.approx((out.masked_loss + F.cross_entropy(logits, order)).item(), rel=1e-5)
    # Two batches of a step, with unlike numbers of masked tokens and of pairs; what has no relation adds no loss.
    few = (inputs["positions"] < inputs["input_ids"].shape[1]).nonzero()[:, 0]
    assert 0 < len(few) < len(inputs["labels"]), "or this tests nothing"
    rest = inputs | {"positions": inputs["positions"][few], "labels": inputs["labels"][few]}
    other = torch.tensor([-100, 1, -100])
    step = {"num_items_in_batch": len(inputs["labels"]) + len(few), "num_rows_in_batch": 6}
    found = masked(**inputs, pair_labels=order, **step).loss + masked(**rest, pair_labels=other, **step).loss
    pairs = F.cross_entropy(torch.cat([logits, logits[1:2]]), torch.tensor([0, 1, 1, 1]), reduction="sum") / 6
    tokens = out.masked_loss * len(inputs["labels"]) + masked(**rest).masked_loss * len(few)
    assert found.item() == pytest.approx((tokens / step["num_items_in_batch"] + pairs).item(), rel=1e-5)
    assert masked(**inputs, pair_labels=torch.full((3,), -100)).loss.item() == pytest.approx(out.masked_loss.item())
    assert out.correct is None and out.pair_correct is None
    checked = masked.eval()(**inputs, pair_labels=order)
    assert checked.pair_correct.tolist() == (logits.argmax(-1) == order).tolist()
    assert masked(**inputs, pair_labels=other).pair_correct.tolist() == [bool(logits[1].argmax() == 1)]
    with pytest.raises(ValueError, match="sentence_classes=2"):
        model()(**inputs, pair_labels=order)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_is_saved_so_that_it_loads_whole(family: str, half: bool, tmp_path: Path) -> None:
    masked = model(family).eval()
    use_plain_attention(masked.encoder)
    masked.save_encoder(tmp_path, torch.float16 if half else None)
    assert masked.encoder.dtype == torch.float32, "saving changes nothing"
    stored = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16 if half else torch.float32}
    loaded = load_encoder(tmp_path)
    assert loaded.dtype == torch.float32 and loaded.config._attn_implementation == "sdpa"
    plain, information = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not information["unexpected_keys"]
    assert all("pooler" in key for key in information["missing_keys"])
    ids = batch()[0]["input_ids"]
    for encoder in (loaded, plain.eval().float()):
        found, own = encoder(ids)[0], masked.encoder(ids)[0]
        torch.testing.assert_close(found, own, rtol=0, atol=0.05 if half else 1e-5)


def test_the_head_goes_with_the_encoder_for_who_goes_on(tmp_path: Path) -> None:
    masked = model()
    masked.save_encoder(tmp_path)
    assert set(load_file(tmp_path / HEAD_FILE)) == set(HEAD_WEIGHTS)
    other = MaskedLM.from_encoder(load_encoder(tmp_path))
    assert not torch.equal(other.dense.weight, masked.dense.weight)
    assert other.load_head(tmp_path)
    inputs = batch()[0]
    assert other.eval()(**inputs).loss.item() == pytest.approx(masked.eval()(**inputs).loss.item(), rel=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "ernie", "albert", "nezha"])
def test_the_head_of_a_hub_checkpoint_is_taken_over(family: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = copy.deepcopy(CONFIGS[family])
    config.initializer_range = 0.2
    theirs = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        theirs.get_output_embeddings().bias.normal_()
    theirs.save_pretrained(tmp_path)
    masked = MaskedLM.from_encoder(load_encoder(tmp_path)).eval()
    assert masked.load_head(tmp_path)
    inputs, full = batch()
    expected = theirs(inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=full).loss
    assert masked(**inputs).loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_checkpoint_without_a_head_leaves_the_new_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    AutoModel.from_config(copy.deepcopy(CONFIGS["bert"])).save_pretrained(tmp_path)
    masked = MaskedLM.from_encoder(load_encoder(tmp_path))
    before = masked.dense.weight.clone()
    assert not masked.load_head(tmp_path) and torch.equal(before, masked.dense.weight)


def test_the_whole_model_is_saved_and_restored(tmp_path: Path) -> None:
    masked = model("albert", sentence_classes=2).eval()
    masked.save_pretrained(tmp_path)
    restored = MaskedLM.from_pretrained(tmp_path).eval()
    inputs = batch()[0] | {"pair_labels": torch.tensor([0, 1, 0])}
    assert restored(**inputs).loss.item() == pytest.approx(masked(**inputs).loss.item(), rel=1e-6)
