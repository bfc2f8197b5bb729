"""Settings mean in transformers' TrainingArguments what they say."""

import pytest
import torch

from common.config import ConfigError, typed
from common.training.arguments import TrainingConfig, precision, training_arguments
from common.training.tricks import AveragingConfig


def test_settings_arrive(tmp_path):
    config = TrainingConfig(epochs=4, batch_size=7, accumulation=2, warmup=0.2, schedule="cosine", max_grad_norm=0.5)
    arguments = training_arguments(config, tmp_path, seed=11)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size) == (4, 7)
    assert arguments.gradient_accumulation_steps == 2 and arguments.max_grad_norm == 0.5 and arguments.seed == 11
    assert arguments.get_warmup_steps(1000) == 200 and arguments.lr_scheduler_type == "cosine"
    assert arguments.max_steps == -1 and arguments.output_dir == str(tmp_path)


def test_a_limit_of_steps_overrides_epochs(tmp_path):
    assert training_arguments(TrainingConfig(max_steps=5), tmp_path, 1).max_steps == 5


@pytest.mark.parametrize(("keep", "best"), [("best", True), ("last", False)])
def test_keep_says_which_epoch_is_loaded_at_the_end(tmp_path, keep, best):
    arguments = training_arguments(TrainingConfig(keep=keep), tmp_path, 1)
    assert arguments.load_best_model_at_end == best
    assert arguments.metric_for_best_model == "score" and arguments.greater_is_better


def test_a_plateau_is_of_a_score_that_should_rise(tmp_path):
    arguments = training_arguments(TrainingConfig(schedule="plateau"), tmp_path, 1)
    assert arguments.lr_scheduler_type == "reduce_lr_on_plateau" and arguments.lr_scheduler_kwargs["mode"] == "max"


def test_gradient_checkpointing_is_not_reentrant(tmp_path):
    # The reentrant kind gives no gradient below frozen embeddings and none at all under DDP with unused parameters.
    arguments = training_arguments(TrainingConfig(gradient_checkpointing=True), tmp_path, 1)
    assert arguments.gradient_checkpointing and arguments.gradient_checkpointing_kwargs == {"use_reentrant": False}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has other types")
def test_precision_without_a_gpu_is_what_the_cpu_computes_in(monkeypatch):
    assert precision("fp32") == precision("fp16") == {"bf16": False, "fp16": False}
    assert precision("bf16") == {"bf16": True, "fp16": False}
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert precision("auto") == {"bf16": native, "fp16": False}


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_precision_on_a_gpu_is_half(monkeypatch, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    assert precision("auto") == {"bf16": expected == "bf16", "fp16": expected == "fp16"}
    assert precision("fp32") == {"bf16": False, "fp16": False}


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulation"])
def test_counts_are_above_zero(name):
    with pytest.raises(ConfigError, match=f"training.{name} is 0: expected a number above 0"):
        TrainingConfig(**{name: 0})


def test_swa_is_refused_beside_patience_which_could_stop_before_its_first_snapshot():
    swa, ema = AveragingConfig("swa"), AveragingConfig("ema")
    with pytest.raises(
        ConfigError, match=r"training\.patience is 2 and training\.averaging\.kind is 'swa'.*patience=0"
    ):
        TrainingConfig(patience=2, averaging=swa)
    assert TrainingConfig(averaging=swa).averaging is swa and TrainingConfig(patience=2, averaging=ema).patience == 2


def test_swa_is_refused_beside_patience_in_a_file_of_settings_too():
    with pytest.raises(ConfigError, match="expected patience=0"):
        typed(TrainingConfig, {"patience": 1, "averaging": {"kind": "swa"}}, "members.m.training")
