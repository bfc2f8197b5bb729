"""The pretraining Trainer: its optimizer groups, accumulation, schedule, and held-out measure."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, TrainerCallback

from common.config import ConfigError
from common.files import write_lines
from common.text.masking import Masker, MaskingConfig
from common.text.packing import PackedRows
from common.text.sentence_pairs import SegmentPairs
from common.text.token_store import build_token_store
from common.text.tokenization import WholeWordTokenizer
from common.text.vocabulary import character_tokenizer
from common.training.pretraining import PretrainingConfig, PretrainingTrainer, pretraining_arguments
from common.training.pretraining_rows import HELD_OUT, MaskedRows, cut_rows
from models.encoders import encoder_from_config
from models.pretraining import MaskedLM, set_dropout


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> MaskedRows:
    folder, random = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    lines = ["".join(random.choice(list("今天气很好我来到北京清华大学"), 9)) for _ in range(100)]
    write_lines(folder / "text.txt", lines)
    tokenizer = character_tokenizer(lines, 1)
    store = build_token_store([folder / "text.txt"], WholeWordTokenizer(tokenizer), folder / "tokens")
    return MaskedRows(PackedRows(store, tokenizer, 16), Masker(MaskingConfig(), tokenizer), seed=1)


def trainer(rows: MaskedRows, folder: Path, sentence_classes: int = 0, **settings) -> PretrainingTrainer:
    config = PretrainingConfig(**{"max_length": 16, "batch_tokens": 64, "steps": 3, "precision": "fp32",
                                  "held_out": 0.2} | settings)  # fmt: skip
    torch.manual_seed(2)
    sizes = {"vocab_size": int(rows.masker.ordinary.max()) + 1, "hidden_size": 16, "num_hidden_layers": 2}
    encoder = encoder_from_config(BertConfig(**sizes, num_attention_heads=2, intermediate_size=20))
    model = MaskedLM.from_encoder(encoder, sentence_classes=sentence_classes)
    set_dropout(model, 0.0)
    cut = cut_rows(rows.rows, config.held_out, 100)
    arguments = pretraining_arguments(config, folder / "checkpoints")
    return PretrainingTrainer(model, config, arguments, rows, cut.train, {"text": cut.held_out[0]}, folder)


def weights(made: PretrainingTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in made.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_biases_and_norms_do_not_decay(optimizer: str, rows: MaskedRows, tmp_path: Path) -> None:
    made = trainer(rows, tmp_path, optimizer=optimizer, weight_decay=0.3)
    found = made.create_optimizer()
    assert type(found).__name__ == {"adamw": "AdamW", "lamb": "Lamb"}[optimizer]
    names = {id(value): name for name, value in made.model.named_parameters()}
    decayed, not_decayed = ([names[id(value)] for value in group["params"]] for group in found.param_groups)
    assert [group["weight_decay"] for group in found.param_groups] == [0.3, 0.0]
    assert all(name.endswith("bias") or "norm" in name.lower() for name in not_decayed)
    assert not any(name.endswith("bias") or "norm" in name.lower() for name in decayed)
    assert sorted(decayed + not_decayed) == sorted(names.values())


def test_accumulated_batches_equal_one_large_batch(rows: MaskedRows, tmp_path: Path) -> None:
    small = trainer(rows, tmp_path / "small", accumulation=4, batch_tokens=32)
    large = trainer(rows, tmp_path / "large", batch_tokens=128)
    before = weights(large)
    for made in (small, large):
        made.train()
    for name, value in weights(large).items():
        torch.testing.assert_close(weights(small)[name], value, rtol=0, atol=1e-5, msg=name)
    assert any(not torch.equal(value, before[name]) for name, value in weights(large).items())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(rows: MaskedRows, tmp_path: Path) -> None:
    runs = [trainer(rows, tmp_path / str(number), seed=seed) for number, seed in enumerate((1, 1, 2))]
    for made in runs:
        made.train()
    name = "encoder.embeddings.word_embeddings.weight"
    assert torch.equal(weights(runs[0])[name], weights(runs[1])[name])
    assert not torch.equal(weights(runs[0])[name], weights(runs[2])[name])


def test_pairs_of_similar_length_share_a_batch(tmp_path: Path) -> None:
    lines = ["今天" * (number % 7 + 1) for number in range(400)]
    write_lines(tmp_path / "text.txt", lines)
    tokenizer = character_tokenizer(lines, 1)
    store = build_token_store([tmp_path / "text.txt"], WholeWordTokenizer(tokenizer), tmp_path / "tokens", True)
    rows = MaskedRows(SegmentPairs(store, tokenizer, 20), Masker(MaskingConfig(), tokenizer), seed=1)
    made = trainer(rows, tmp_path / "run", batch_tokens=160, max_length=20, epochs=1, steps=0)
    batches = [batch["input_ids"] for batch in made.get_train_dataloader()]
    assert {len(batch) for batch in batches} == {8}
    padded = sum(int((batch == tokenizer.pad_token_id).sum()) for batch in batches)
    assert padded < 0.05 * sum(batch.numel() for batch in batches)
    assert made.row_tokens == pytest.approx(rows.rows.lengths.mean() + 3, rel=0.1)


def test_accumulated_batches_of_pairs_equal_one_large_batch(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = ["".join(draw.choice(list("今天气很好我来到北京清华大学"), draw.integers(2, 16))) for _ in range(300)]
    write_lines(tmp_path / "text.txt", [part for n, line in enumerate(lines) for part in (line, *[""] * (n % 3 == 2))])
    tokenizer = character_tokenizer([*lines, "。"], 1)
    store = build_token_store([tmp_path / "text.txt"], WholeWordTokenizer(tokenizer), tmp_path / "tokens")
    rows = MaskedRows(SegmentPairs(store, tokenizer, 24, "structure"), Masker(MaskingConfig(), tokenizer), seed=1)
    found = []
    # Batches of 2 rows each, of like length; what is one batch in the one run is four in the other.
    for name, settings in (("small", {"accumulation": 4, "batch_tokens": 48}), ("large", {"batch_tokens": 192})):
        made = trainer(rows, tmp_path / name, max_length=24, steps=3, sentence_classes=3, **settings)
        made.train()
        found.append(weights(made))
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, rtol=0, atol=1e-5, msg=name)


def test_rows_that_are_held_out_are_never_trained_on(rows: MaskedRows, tmp_path: Path) -> None:
    made = trainer(rows, tmp_path, epochs=3, steps=0)
    seen: list[tuple[int, int]] = []

    class Recorded(MaskedRows):
        def __getitem__(self, item):
            seen.append(item)
            return super().__getitem__(item)

    own = Recorded(rows.rows, rows.masker, 1)
    made.train_dataset = made.rows = own
    made.train()
    held_out = set(made.held_out["text"].tolist())
    trained = {row for turn, row in seen if turn != HELD_OUT}
    assert len(held_out) > 10 and trained == set(range(len(rows))) - held_out
    assert {row for turn, row in seen if turn == HELD_OUT} == held_out
    assert {turn for turn, _ in seen} == {HELD_OUT, 0, 1, 2}, "each pass has masks of its own"


def test_the_held_out_measure_is_that_of_one_large_batch(rows: MaskedRows, tmp_path: Path) -> None:
    made = trainer(rows, tmp_path)
    found = made.evaluate()
    batch = rows.collate([rows[HELD_OUT, int(row)] for row in made.held_out["text"]])
    with torch.no_grad():
        output = made.model.cpu().eval()(**batch)
    assert found["eval_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert found["eval_accuracy"] == pytest.approx(output.correct.float().mean().item())
    assert made.evaluate() == found, "the same masks every time"


AFTER_WARMUP = {
    "linear": [1 - step / 8 for step in range(8)],
    "cosine": [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)],
    "constant": [1] * 8,
}


@pytest.mark.parametrize("schedule", list(AFTER_WARMUP))
def test_the_rate_rises_to_its_peak_and_goes_as_asked(schedule: str, rows: MaskedRows, tmp_path: Path) -> None:
    made = trainer(rows, tmp_path, steps=10, warmup=0.2, learning_rate=1e-3, schedule=schedule)
    rates: list[float] = []

    class Rates(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            rates.append(made.optimizer.param_groups[0]["lr"])

    made.add_callback(Rates())
    made.train()
    assert rates == pytest.approx([0, 5e-4, *(1e-3 * share for share in AFTER_WARMUP[schedule])])


def test_passes_are_made_up_for_where_a_pass_is_no_whole_number_of_steps(rows: MaskedRows, tmp_path: Path) -> None:
    made = trainer(rows, tmp_path, batch_tokens=16 * 7, epochs=3, steps=0)
    assert made.passes.total % 7, "or this tests nothing"
    assert made.args.max_steps == round(3 * made.passes.total / 7)


def test_checkpoints_are_made_by_the_clock(rows: MaskedRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, saved = itertools.count(0, 20), []
    monkeypatch.setattr("common.training.pretraining.time.monotonic", lambda: next(seconds))
    made = trainer(rows, tmp_path, steps=6, save_minutes=1)

    class Saved(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            saved.append(state.global_step)

    made.add_callback(Saved())
    made.train()
    assert saved and saved[0] < 6 and (tmp_path / "checkpoints" / f"checkpoint-{saved[-1]}").exists()


def test_what_goes_on_saves_as_often_as_it_is_told_now(rows: MaskedRows, tmp_path: Path) -> None:
    trainer(rows, tmp_path, steps=4, save_steps=2).train()
    made = trainer(rows, tmp_path, steps=9, save_steps=3)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-4"))
    assert made.state.save_steps == 3 and (tmp_path / "checkpoints" / "checkpoint-9").exists()


def test_what_was_cut_off_after_its_last_step_takes_no_other(rows: MaskedRows, tmp_path: Path) -> None:
    settings = {"steps": 4, "save_steps": 2, "schedule": "constant"}
    whole = trainer(rows, tmp_path, **settings)
    whole.train()
    again = trainer(rows, tmp_path, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-4"))
    assert again.state.global_step == 4
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


@pytest.mark.parametrize("setting", [{"precision": "bf16"}, {"gradient_checkpointing": True}], ids=str)
def test_half_precision_and_checkpointing_train_nearly_the_same(setting, rows: MaskedRows, tmp_path: Path) -> None:
    plain, other = trainer(rows, tmp_path / "plain"), trainer(rows, tmp_path / "other", **setting)
    for made in (plain, other):
        made.train()
    near = 0.05 if "precision" in setting else 1e-5
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=near, atol=near * 0.1, msg=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "liner"}, "did you mean 'linear'"),
        ({"steps": 1, "learning_rate": 0}, "learning_rate is 0"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainingConfig(**settings)
