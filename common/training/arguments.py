"""Training settings of a member, and what they mean in transformers' TrainingArguments."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.logs import log
from common.training.tricks import (
    AdversarialConfig,
    AveragingConfig,
    LayersConfig,
    LossConfig,
    NoiseConfig,
    OptimizerConfig,
    SeedsConfig,
)

if TYPE_CHECKING:
    from transformers import TrainingArguments


@dataclass
class TrainingConfig:
    """How a torch model is trained.

    epochs: passes over the rows. batch_size: rows a step on one device. accumulation: batches a step.
    learning_rate: of the encoder, 0: by its width, 2e-5 at 768 and 1.8e-4 at 256 (`optimizers.rate_by_width`);
    recurrent_learning_rate, head_learning_rate: of the recurrent layers, and of heads and CRF.
    layer_decay: factor on the encoder's rate for each layer further down (1 turns it off). weight_decay,
    betas: AdamW's.
    warmup: share of steps. schedule: linear, cosine, constant or plateau (halved after an epoch without gain).
    max_grad_norm: clip to this norm, 0 never. precision: auto (bf16 where GPU or CPU compute in it, else fp16 on a
    GPU), fp32, bf16 or fp16.
    keep: best (the epoch with the best held-out metric) or last. patience: epochs without gain before stopping, 0
    never, as averaging.kind=swa needs it.
    batch_tokens: instead of batch_size, the padded tokens of a batch, so that batches of short rows hold more of them.
    group_by_length: batches of rows of like length. gradient_checkpointing: less memory for more time.
    max_steps: stop after this many steps (0 leaves it to epochs).
    task_temperature: of several tasks in one training: 1, as when it is unset, draws them by their sizes, more evens
    them out.
    predict_precision: what scores are computed in, of the same names; unset: fp32.
    adversarial, loss, noise, averaging, optimizer, layers, seeds: the tricks, see common/training/tricks.py; unset is
    off.
    """

    epochs: float = 3
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 0.0
    recurrent_learning_rate: float = 1e-3
    head_learning_rate: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup: float = 0.1
    schedule: str = "linear"
    max_grad_norm: float = 1.0
    precision: str = "auto"
    keep: str = "best"
    patience: int = 0
    group_by_length: bool = True
    gradient_checkpointing: bool = False
    max_steps: int = 0
    batch_tokens: int | None = None
    task_temperature: float | None = None
    predict_precision: str | None = None
    # None and not a group of zeros: a unit that was finished before a trick existed is then still the same unit.
    adversarial: AdversarialConfig | None = None
    loss: LossConfig | None = None
    noise: NoiseConfig | None = None
    averaging: AveragingConfig | None = None
    optimizer: OptimizerConfig | None = None
    layers: LayersConfig | None = None
    seeds: SeedsConfig | None = None

    def __post_init__(self) -> None:
        from common.config import ConfigError, nearest

        for key, allowed in (
            ("schedule", ("linear", "cosine", "constant", "plateau")),
            ("precision", ("auto", "fp32", "bf16", "fp16")),
            ("keep", ("best", "last")),
            ("predict_precision", (None, "auto", "fp32", "bf16", "fp16")),
        ):
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"training.{key} is {value!r}{nearest(str(value), filter(None, allowed))}")
        if self.batch_tokens is not None and self.batch_tokens <= 0:
            raise ConfigError(f"training.batch_tokens is {self.batch_tokens}: expected a number above 0, or null")
        if self.task_temperature is not None and not self.task_temperature > 0:
            raise ConfigError(f"training.task_temperature is {self.task_temperature}: expected a number above 0")
        for key in ("epochs", "batch_size", "accumulation"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"training.{key} is {getattr(self, key)}: expected a number above 0")
        if self.patience > 0 and self.averaging is not None and self.averaging.kind == "swa":
            # Its snapshots are the last of the planned steps: a run that stops before them would have no average.
            raise ConfigError(f"training.patience is {self.patience} and training.averaging.kind is 'swa', whose "
                              "snapshots are of the end of training, which patience may cut off: expected patience=0, "
                              "or averaging.kind=ema")  # fmt: skip

    @property
    def uses_tricks(self) -> bool:
        """Whether training takes more than the plain Trainer."""
        groups = (self.adversarial, self.loss, self.noise, self.averaging, self.layers)
        return any(group is not None for group in groups)

    def seeds_of(self, seed: int) -> tuple[int, int]:
        """The seeds of new weights, and of data order and dropout, in a unit of that seed."""
        own = (None, None) if self.seeds is None else (self.seeds.weights, self.seeds.order)
        return tuple(seed if given is None else given for given in own)


def with_warmup(schedule: str) -> str:
    """The name that transformers has for a schedule after a warmup: its "constant" has none."""
    return "constant_with_warmup" if schedule == "constant" else schedule


def training_arguments(config: TrainingConfig, folder: Path, seed: int) -> "TrainingArguments":
    """TrainingArguments for one unit.

    folder: where its checkpoints go. seed: of weights, data order and dropout.
    """
    import torch
    from transformers import TrainingArguments

    plateau = config.schedule == "plateau"
    settings: dict[str, Any] = {"lr_scheduler_kwargs": {"mode": "max", "factor": 0.5, "patience": 0}} if plateau else {}
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate or 2e-5,  # of no group: create_optimizer has the rates
        weight_decay=config.weight_decay,
        warmup_steps=0 if plateau else config.warmup,
        lr_scheduler_type="reduce_lr_on_plateau" if plateau else with_warmup(config.schedule),
        max_grad_norm=config.max_grad_norm,
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=config.keep == "best",
        metric_for_best_model="score",
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=0.02,  # of all steps: as many points in a short run as in a long one
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        ddp_timeout=7200,  # the others wait while the first process makes vocabularies or fits a member by itself
        **precision(config.precision),
        **settings,
    )


def precision(name: str) -> dict[str, bool]:
    """bf16 and fp16 switches; "auto" takes what the device computes fastest in: bf16, fp16 on older GPUs, else fp32."""
    import torch

    gpu = torch.cuda.is_available()
    # Without bf16 instructions a CPU only emulates it, which is slower than fp32.
    native = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else torch.cpu._is_avx512_bf16_supported()
    if name == "auto":
        name = "bf16" if native else "fp16" if gpu else "fp32"
    if name == "fp16" and not gpu:
        _say_once("training.precision=fp16: there is no GPU, and a CPU computes in fp32 or bf16: this run takes fp32")
    return {"bf16": name == "bf16", "fp16": name == "fp16" and gpu}


@cache
def _say_once(line: str) -> None:
    log.info(line)
