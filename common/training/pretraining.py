"""Pretraining: settings, and the Trainer of transformers over masked rows with accuracy on held-out ones."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from common.config import ConfigError, nearest
from common.files import atomic_path
from common.logs import log, spoken
from common.processes import cores
from common.training.arguments import precision, with_warmup
from common.training.optimizers import Lamb
from common.training.pretraining_rows import HELD_OUT, MaskedRows, Passes

LARGE_STEP = 200_000  # tokens of a step that takes so long that nothing else about it matters
MEASURED_ROWS = 1024  # of pairs, for how many tokens a row has on average


@dataclass
class PretrainingConfig:
    """How an encoder is pretrained.

    max_length: tokens of a row. batch_tokens: tokens of a batch on one device; accumulation: batches a step.
    epochs: passes over the text; steps: stop after this many instead (0 leaves it to epochs).
    learning_rate: its peak; warmup: share of the steps up to it; schedule: linear, cosine or constant after it.
    optimizer: adamw or lamb (You et al. 2020, for steps of a million tokens and more); weight_decay, betas: its own.
    max_grad_norm: clip to this norm, 0 never. precision: auto, fp32, bf16 or fp16, as for training.
    dropout: in training; what is saved is fine-tuned with its configuration's own. Where there is more text than the
    encoder can learn by heart, it costs time and accuracy (Lan et al. 2020, ALBERT, dropout effects).
    gradient_checkpointing: less memory for more time. workers: processes that mask ahead; -1: none on a CPU, 8 on a GPU
    (or as many as there are other cores).
    within_documents: tokens attend to their own document alone.
    mixture: a text's share of the rows goes with its size to this power; 1: as they are, 0: all alike.
    held_out: share of each text's rows that accuracy is measured on; most_held_out: at most this many rows in all.
    evaluate_steps: between two progress lines; 0: a fiftieth of the run.
    save_minutes, save_steps: between two checkpoints; 0: never by time, by steps.
    seed: of weights, order, masks and dropout.
    """

    max_length: int = 128
    batch_tokens: int = 8192
    accumulation: int = 1
    epochs: float = 1
    steps: int = 0
    learning_rate: float = 5e-4
    warmup: float = 0.05
    schedule: str = "linear"
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    max_grad_norm: float = 1.0
    dropout: float = 0.0
    precision: str = "auto"
    gradient_checkpointing: bool = False
    workers: int = -1
    within_documents: bool = False
    mixture: float = 1.0
    held_out: float = 0.01
    most_held_out: int = 512
    evaluate_steps: int = 0
    save_minutes: float = 20
    save_steps: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        for key, allowed in (
            ("schedule", ("linear", "cosine", "constant")),
            ("optimizer", ("adamw", "lamb")),
            ("precision", ("auto", "fp32", "bf16", "fp16")),
        ):
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"training.{key} is {value!r}{nearest(value, allowed)}")
        for key in ("epochs", "batch_tokens", "accumulation", "max_length", "learning_rate"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"training.{key} is {getattr(self, key)}: expected a number above 0")
        least_0 = ("steps", "seed", "mixture", "weight_decay", "max_grad_norm", "most_held_out", "evaluate_steps",
                   "save_minutes", "save_steps")  # fmt: skip
        for key in least_0:
            if getattr(self, key) < 0:
                raise ConfigError(f"training.{key} is {getattr(self, key)}: expected 0 or more")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"training.betas is {list(self.betas)}: expected two shares below 1, say [0.9, 0.98]")
        for key in ("held_out", "warmup", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"training.{key} is {getattr(self, key)}: expected a share, 0 or more and below 1")

    @property
    def batch_size(self) -> int:
        """Rows of a batch on one device."""
        return max(1, self.batch_tokens // self.max_length)


def pretraining_arguments(config: PretrainingConfig, folder: Path) -> TrainingArguments:
    """TrainingArguments of a pretraining whose checkpoints go to `folder`."""
    gpu = torch.cuda.is_available()
    every = config.evaluate_steps or 0.02
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,
        lr_scheduler_type=with_warmup(config.schedule),
        max_grad_norm=config.max_grad_norm,
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        seed=config.seed,
        use_cpu=not gpu,
        eval_strategy="steps",
        eval_steps=every,
        logging_strategy="steps",
        logging_steps=every,
        save_strategy="steps" if config.save_steps else "no",
        save_steps=config.save_steps or 500,
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=_workers(config.workers, gpu),
        dataloader_drop_last=True,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
        ddp_timeout=7200,  # the others wait while the first process tokenizes the text
        **precision(config.precision),
    )
    # Several GPUs without torchrun would have each batch cut in a way that positions in it do not survive.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


class PretrainingTrainer(Trainer):
    """Trains a `MaskedLM`.

    model: takes the batches of `rows`. config: its settings. args: from `pretraining_arguments`.
    rows: masked rows. train: numbers of each text's rows to train on. held_out: of each text, by its name.
    folder: where the curves for TensorBoard go.
    """

    def __init__(self, model: nn.Module, config: PretrainingConfig, args: TrainingArguments, rows: MaskedRows,
                 train: list[np.ndarray], held_out: Mapping[str, np.ndarray], folder: Path) -> None:  # fmt: skip
        self.config, self.rows, self.held_out = config, rows, held_out
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        # An epoch is whole steps, so that every step has as many rows; of similar length, for all processes alike.
        self.passes = Passes(train, config.seed, config.mixture, step, rows.lengths, step)
        if not config.steps:
            # Steps are whole, and so are epochs of them: what is too few for one is made up for at the end.
            args.max_steps = max(1, round(config.epochs * self.passes.total / step))
        self.row_tokens = rows.mean_tokens(islice(self.passes, MEASURED_ROWS))
        tokens = step * self.row_tokens
        callbacks: list[TrainerCallback] = [Progress(tokens), SaveByTime(config.save_minutes, tokens < LARGE_STEP)]
        if args.process_index == 0:
            callbacks.append(TensorBoardCallback(SummaryWriter(folder / "tensorboard")))
        super().__init__(model=model, args=args, train_dataset=rows, eval_dataset=rows, data_collator=rows.collate,
                         callbacks=callbacks)  # fmt: skip
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> Passes:
        return self.passes

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        batches, masked = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.rows.pairs and batches:
            # As of masked tokens, the mean is one over the whole step; of rows every process has as many.
            rows = sum(len(batch["pair_labels"]) for batch in batches) * self.args.world_size
            batches = [batch | {"num_rows_in_batch": rows} for batch in batches]
        return batches, masked

    def _run_epoch(self, model: nn.Module, epoch: int, *args: Any, **kwargs: Any) -> None:
        # What skips the batches of an epoch that was cut off hides the sampler from who says which epoch it is.
        self.passes.set_epoch(epoch)
        # A run that was cut off after its last checkpoint would take another step before it looked.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(model, epoch, *args, **kwargs)

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        found = super()._init_training_state(max_steps, *args, **kwargs)
        # A checkpoint's intervals would otherwise stand for those that this command asks for.
        self.state.compute_steps(self.args, max_steps)
        return found

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            values = [value for value in (model or self.model).parameters() if value.requires_grad]
            groups = [
                {"params": [value for value in values if value.ndim > 1], "weight_decay": self.config.weight_decay},
                {"params": [value for value in values if value.ndim <= 1], "weight_decay": 0.0},
            ]
            settings: dict[str, Any] = {"lr": self.config.learning_rate, "betas": tuple(self.config.betas)}
            if self.config.optimizer == "lamb":
                self.optimizer = Lamb(groups, **settings)
            else:
                self.optimizer = torch.optim.AdamW(groups, fused=True, **settings)
        return self.optimizer

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Loss and accuracy of masked tokens in held-out rows, of all and of each text; the same masks every time."""
        counts = torch.stack([self._count(numbers) for numbers in self.held_out.values()])
        loss, right, masked, pairs_right, pairs = counts.sum(0).tolist()
        metrics = {"loss": loss / masked, "accuracy": right / masked} if masked else {}
        if pairs:
            metrics["pair_accuracy"] = pairs_right / pairs
        for name, own in zip(self.held_out, counts.tolist(), strict=True):
            if own[2]:
                metrics[f"accuracy_{name}"] = own[1] / own[2]
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _count(self, numbers: np.ndarray) -> torch.Tensor:
        """Sums over some rows, shared between the processes: loss, right tokens, masked tokens, right pairs, pairs."""
        sums = torch.zeros(5, dtype=torch.float64)
        device, training = self.args.device, self.model.training
        self.model.to(device).eval()
        own = numbers[self.args.process_index :: self.args.world_size]
        size = self.args.per_device_train_batch_size
        for start in range(0, len(own), size):
            part = own[start : start + size]
            batch = self.rows.collate([self.rows[HELD_OUT, int(row)] for row in part])
            with self.accelerator.autocast():
                output = self.model(**{key: value.to(device) for key, value in batch.items()})
            pairs = output.pair_correct if self.rows.pairs else torch.zeros(0)
            masked = len(batch["labels"])
            sums += torch.tensor([
                float(output.masked_loss) * masked, int(output.correct.sum()), masked, int(pairs.sum()), len(pairs)
            ])  # fmt: skip
        self.model.train(training)
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums.to(device, torch.float32), "sum").cpu().double()
        return sums


class Progress(TrainerCallback):
    """One line an evaluation: loss, accuracy on held-out rows, speed and what is left.

    step_tokens: tokens of a step over all devices.
    """

    def __init__(self, step_tokens: float) -> None:
        self.step_tokens, self.loss = step_tokens, float("nan")
        self.started, self.first_step, self.said = time.monotonic(), 0, -1

    def on_train_begin(self, args, state, control, **kwargs):
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if not state.is_world_process_zero or state.global_step == self.said:
            return
        self.said = state.global_step
        rate = (state.global_step - self.first_step) / max(time.monotonic() - self.started, 1e-9)
        left = spoken((state.max_steps - state.global_step) / rate) if rate else "unknown time"
        accuracy = metrics.get("eval_accuracy")
        held_out = "" if accuracy is None else f"held-out accuracy {accuracy:.4f}  "
        pairs = metrics.get("eval_pair_accuracy")
        held_out += "" if pairs is None else f"of pairs {pairs:.4f}  "
        log.info(f"  step {state.global_step:,} of {state.max_steps:,}  loss {self.loss:.3f}  {held_out}"
                 f"{rate * self.step_tokens:,.0f} tokens/s  {left} left")  # fmt: skip


class SaveByTime(TrainerCallback):
    """Asks for a checkpoint when the last one is `minutes` old; 0 never does. The first process looks at the clock.

    rarely: of several processes at every 16th step alone, as asking the others costs more than a look at the clock.
    """

    def __init__(self, minutes: float, rarely: bool = True) -> None:
        self.seconds, self.last, self.rarely = minutes * 60, 0.0, rarely

    def on_train_begin(self, args, state, control, **kwargs):
        self.last = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        if not self.seconds:
            return
        due = time.monotonic() - self.last >= self.seconds
        if args.world_size > 1:
            if self.rarely and state.global_step % 16:
                return
            flag = torch.tensor([float(due)], device=args.device)
            torch.distributed.broadcast(flag, 0)
            due = bool(flag.item())
        if due:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        self.last = time.monotonic()


def draw_losses(history: list[dict[str, Any]], path: Path) -> None:
    """A picture of training loss, held-out loss and held-out accuracy by step.

    history: the Trainer's log. path: the PNG file, written atomically.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, key, label, colour in (
        (left, "loss", "training loss", "C0"),
        (left, "eval_loss", "held-out loss", "C1"),
        (right, "eval_accuracy", "held-out accuracy", "C2"),
    ):
        points = [(line["step"], line[key]) for line in history if key in line]
        axis.plot([x for x, _ in points], [y for _, y in points], color=colour, label=label, marker=".")
    left.set_xlabel("step")
    left.set_ylabel("cross-entropy of masked tokens")
    right.set_ylabel("accuracy of masked tokens")
    figure.legend(loc="outside upper center", ncols=3)
    with atomic_path(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def _workers(asked: int, gpu: bool) -> int:
    if asked >= 0:
        return asked
    return max(0, min(8, cores() - 1)) if gpu else 0
