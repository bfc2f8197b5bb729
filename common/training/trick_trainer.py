"""The Trainer of a run that uses tricks; one that uses none never comes here."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from common.logs import log
from common.training.adversarial import attack_of
from common.training.averaging import WeightAverage
from common.training.layers import Unfreezing, add_mixout
from common.training.losses import Objective, doubled
from common.training.noise import add_noise
from common.training.trainer import FoldTrainer
from common.training.tricks import LossConfig


class TrickTrainer(FoldTrainer):
    """A FoldTrainer whose batches may take more passes than one, and whose loss may be another."""

    def __init__(self, model: nn.Module, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, config, *args, **kwargs)
        self.attack = attack_of(config.adversarial, model) if config.adversarial else None
        virtual = config.adversarial is not None and config.adversarial.kind == "vat"
        self.objective = (
            Objective(model, config.loss or LossConfig(), self._loss_scale, virtual) if config.loss or virtual else None
        )
        self.doubles = config.loss is not None and config.loss.r_drop > 0
        if config.noise:
            add_noise(model, config.noise)
        if config.layers and config.layers.mixout:
            add_mixout(model, config.layers.mixout)
        unfreeze = config.layers.unfreeze if config.layers else 0.0
        self.unfreezing = Unfreezing(model, unfreeze) if unfreeze else None
        self.average = WeightAverage(model, config.averaging) if config.averaging else None
        if self.average:
            self.add_callback(Averaging(self.average))
        self.weight, self.against = 1.0, None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Gradients of one batch, of all its passes."""
        inputs = self._prepare_inputs(inputs)
        if self.doubles:
            inputs = doubled(inputs)
        progress, own = self.state.global_step / self.state.max_steps, self.config.adversarial
        if own is None or progress < own.start:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            model.train()
            loss = self.attack.step(BatchPasses(self, model, inputs, num_items_in_batch))
        if self.unfreezing:
            self.unfreezing.drop_gradients(progress)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """The loss of one pass."""
        if self.objective is None:
            loss = super().compute_loss(model, inputs, *args, **kwargs)
        else:
            loss = self.objective(model, inputs, self.against)
        return loss if self.weight == 1.0 else loss * self.weight

    def one_pass(
        self, model: nn.Module, inputs: dict[str, Any], count: Any, weight: float, against: Tensor | None
    ) -> Tensor:
        """What a plain Trainer does with a batch, for a weighted loss."""
        self.weight, self.against = weight, against
        try:
            return super().training_step(model, inputs, count)
        finally:
            self.weight, self.against = 1.0, None

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The metric of the average, where there is one."""
        with self.average or nullcontext():
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """A checkpoint goes on from the weights that are trained; the average lies beside them."""
        super().save_model(output_dir, _internal_call)
        if self.average and self.args.should_save:
            self.average.save(Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.average:
            self.average.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average:
            self.average.load(Path(self.state.best_model_checkpoint))

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        output = super()._finalize_training(*args, **kwargs)
        if self.average:
            if not self.average.count:
                log.info("  what is kept is no average: SWA's first snapshot comes after the best epoch (keep=last "
                         "takes the average), or after the last step (see averaging.every)")  # fmt: skip
            self.average.swap()
        return output

    def _loss_scale(self) -> float:
        scaler = getattr(self.accelerator, "scaler", None)
        return scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0


class Averaging(TrainerCallback):
    """Takes the weights into the average after each step of the optimizer."""

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def on_step_end(self, args, state, control, train_dataloader=None, **kwargs):
        epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        self.average.after_step(state.global_step, state.max_steps, epoch)


class BatchPasses:
    """Passes of one batch, as `common.training.adversarial` asks for them."""

    def __init__(self, trainer: TrickTrainer, model: nn.Module, inputs: dict[str, Any], count: Any) -> None:
        self.trainer, self.model, self.inputs, self.count = trainer, model, inputs, count

    def backward(self, last: bool, weight: float = 1.0, against: Tensor | None = None) -> Tensor:
        # Each process moves its own weights by its own rows; only sums over all passes are worth an exchange.
        with nullcontext() if last else self.trainer.accelerator.no_sync(self.model):
            return self.trainer.one_pass(self.model, self.inputs, self.count, weight, against)

    def gradient(self, tensors: list[Tensor], against: Tensor | None = None) -> list[Tensor | None]:
        trainer = self.trainer
        trainer.against = against
        try:
            # The bare model: data parallel training would wait for a backward pass that never comes.
            loss = trainer.compute_loss(trainer.model, self.inputs)
        finally:
            trainer.against = None
        return list(torch.autograd.grad(loss * trainer._loss_scale(), tensors, allow_unused=True))

    def predicted(self) -> Tensor:
        return self.trainer.objective.log_p
