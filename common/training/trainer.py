"""The Trainer of transformers with the kit's batches, learning rates and metric; its loop is untouched."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from common.config import ConfigError
from common.logs import log
from common.training.arguments import TrainingConfig, precision
from common.training.batching import Collator, LengthGroupedSampler, TokenBatchSampler
from common.training.fast_dropout import use_fast_dropout
from common.training.fast_linear import fast_linears
from common.training.optimizers import build_optimizer, parameter_groups
from common.training.prepared_text import PreparedText, rows_of
from common.training.task_sampling import TaskSampler

ORDERS = 16  # epochs with an order of their own where nobody knows how many there will be
Evaluate = Callable[[nn.Module], dict[str, float]]


class FoldTrainer(Trainer):
    """Trains one unit.

    model: a head with `part_of(parameter name)`. config: its training settings. args: from `training_arguments`.
    rows: the feature table with a column `length`, and `batch_task`, a number, where every batch is to be of one task.
    collator: pads the rows. evaluate: scores held-out rows.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, args: TrainingArguments, rows: Dataset,
                 collator: Collator, evaluate: Evaluate) -> None:  # fmt: skip
        self.config, self.row_lengths, self._evaluate_fold = config, np.asarray(rows["length"]), evaluate
        self.row_tasks = np.asarray(rows["batch_task"]) if "batch_task" in rows.column_names else None
        if self.row_tasks is not None and config.batch_tokens:
            raise ConfigError("training.batch_tokens: batches of several tasks are counted in rows: set batch_size")
        callbacks: list[TrainerCallback] = [EpochLog()]
        if config.patience:
            callbacks.append(Patience(config.patience))
        if args.process_index == 0:
            # Beside the checkpoints, which are deleted when the unit is finished; the curves stay.
            callbacks.append(TensorBoardCallback(SummaryWriter(Path(args.output_dir).parent / "tensorboard")))
        if args.device.type == "cpu":
            use_fast_dropout(model)
        # An evaluation set must be named for the Trainer to evaluate; `evaluate` below looks after the rest.
        super().__init__(model=model, args=args, train_dataset=rows.remove_columns("length"),
                         eval_dataset=rows.select([]), data_collator=collator, callbacks=callbacks)  # fmt: skip
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler:
        batch = self.args.train_batch_size * self.args.world_size
        # Without grouping, every length counts as the same and the order is simply random.
        lengths = self.row_lengths if self.config.group_by_length else np.zeros_like(self.row_lengths)
        if self.row_tasks is not None:
            return TaskSampler(self.row_tasks, lengths, batch, self.args.seed, self.config.task_temperature or 1.0)
        return LengthGroupedSampler(lengths, batch, self.args.seed)

    def get_train_dataloader(self) -> DataLoader:
        if not self.config.batch_tokens:
            return super().get_train_dataloader()
        epochs = ORDERS if self.config.max_steps else math.ceil(self.config.epochs)
        try:
            sampler = TokenBatchSampler(
                self.row_lengths, self.config.batch_tokens, self.args.seed, epochs,
                rank=self.args.process_index, world=self.args.world_size,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"training.batch_tokens={self.config.batch_tokens}: {error}") from None
        loader = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator,
                            pin_memory=self.args.dataloader_pin_memory)  # fmt: skip
        # The sampler knows its process's share: accelerate would share out batches of one size alone.
        return prepare_data_loader(loader, self.args.device, num_processes=1, process_index=0, put_on_device=True)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # A run that was cut off at its end, or after it had lost its patience, would take a step before it looked.
        if not self.control.should_training_stop and self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = model or self.model
            groups = parameter_groups(model, self.config, self.model.part_of)
            self.optimizer = build_optimizer(groups, self.config)
        return self.optimizer

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """The contest's metric on the held-out fold, every process computing the same."""
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in self._evaluate_fold(self.model).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Patience(TrainerCallback):
    """Stops training after `epochs` epochs without gain.

    They are counted in the log, which a resumed run has too; transformers' own callback starts to count anew.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_evaluate(self, args, state, control, **kwargs):
        scores = [line["eval_score"] for line in state.log_history if "eval_score" in line]
        if scores and len(scores) - 1 - int(np.argmax(scores)) >= self.epochs:
            control.should_training_stop = True

    on_train_begin = on_evaluate


class Pause(TrainerCallback):
    """Stops training at the first evaluation after `share` of all steps, which a later run goes on from.

    score: what was reached then; None when training came to its end before.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.score: float | None = None

    def on_evaluate(self, args, state, control, **kwargs):
        scores = [line["eval_score"] for line in state.log_history if "eval_score" in line]
        if scores and self.share * state.max_steps <= state.global_step < state.max_steps:
            self.score, control.should_training_stop = scores[-1], True

    on_train_begin = on_evaluate  # of a run that was cut off right after its checkpoint


class EpochLog(TrainerCallback):
    """One line an epoch: loss, held-out score, speed and what is left."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.started, self.first_step, self.loss = time.time(), state.global_step, float("nan")

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if not state.is_world_process_zero:
            return
        seconds = time.time() - self.started
        rate = (state.global_step - self.first_step) / max(seconds, 1e-9)
        left = (state.max_steps - state.global_step) / rate if rate else 0.0
        log.info(f"  epoch {state.epoch:g} of {args.num_train_epochs:g}  loss {self.loss:.3f}  "
                 f"held-out {metrics['eval_score']:.4f}  {rate:.1f} steps/s  {seconds:.0f} s, "
                 f"{left:.0f} s left")  # fmt: skip


def measure_step(model: nn.Module, rows: Dataset, collator: Collator, config: TrainingConfig, steps: int = 4) -> float:
    """Seconds of a forward and backward pass of one batch, the median of a few after a first one that warms up.

    rows: features with a column `length`, of which random batches are made. The model's gradients are cleared after it.
    """
    device = next(model.parameters()).device
    if device.type == "cpu":
        use_fast_dropout(model)
    size = config.batch_size
    if config.batch_tokens:
        size = max(1, round(config.batch_tokens / np.mean(rows["length"])))
    random, features, times = np.random.default_rng(0), rows.remove_columns("length"), []
    half = precision(config.precision)
    dtype = torch.bfloat16 if half["bf16"] else torch.float16
    model.train()
    for _ in range(steps):
        places = random.choice(len(rows), min(size, len(rows)), replace=False)
        batch = {key: value.to(device) for key, value in collator(rows_of(features, places)).items()}
        started = time.time()
        with torch.autocast(device.type, dtype=dtype, enabled=any(half.values())):
            loss = model(**batch).loss
        loss.backward()
        loss.item()  # waits for the device
        times.append(time.time() - started)
    model.zero_grad()
    return float(np.median(times[1:]))


@torch.inference_mode()
def predict_rows(
    model: nn.Module, text: PreparedText, forward: Callable[..., Any], precision_name: str = "fp32"
) -> list[Any]:
    """What `forward(model, batch)` gives for every feature of `text`, in its order.

    forward: returns one item a feature of the batch (already off the device). precision_name: fp32, bf16, fp16 or auto.
    """
    half = precision(precision_name)
    dtype = torch.bfloat16 if half["bf16"] else torch.float16
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    results: list[Any] = [None] * len(text)
    with fast_linears(model), torch.autocast(device.type, dtype=dtype, enabled=any(half.values())):
        for places, batch in text:
            outputs = forward(model, {key: value.to(device) for key, value in batch.items()})
            for place, item in zip(places, outputs, strict=True):
                results[place] = item
    model.train(was_training)
    return results
