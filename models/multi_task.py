"""Several tasks with one encoder: a head a task, and layer norms that may know which task it is."""

from contextlib import nullcontext
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from transformers.utils import ModelOutput

from models.conditional_layer_norm import condition_layer_norms, conditioned
from models.heads import Head, HeadConfig


class MultiTaskConfig(HeadConfig):
    """Settings of `MultiTask`.

    tasks: settings of each head by its task, with `class`, the head's file and class in models/, and `weight`, by
    which its loss is multiplied (1), e.g. {"entities": {"class": "taggers.Tagger", "types": ["a"]}, "topic": {"class":
    "matchers.CrossEncoder", "weight": 0.5}}. condition_size: features of a task's embedding that conditions every layer
    norm of the encoder; 0 for none. dropout and multi_sample_dropout are those of the single heads.
    """

    model_type = "multi_task"

    tasks: dict[str, dict[str, Any]] | None = None
    condition_size: int = 0

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.tasks = dict(self.tasks or {})
        for name, settings in self.tasks.items():
            if not name.isidentifier():
                raise ValueError(f"task {name!r} must be named like a variable: its weights are named after it")
            if "class" not in settings:
                raise ValueError(f'task {name!r} names no head: expected e.g. "class": "taggers.Tagger"')
            if not settings.get("weight", 1.0) > 0:
                raise ValueError(f"task {name!r} has the weight {settings['weight']}: expected a number above 0")
        if self.condition_size < 0:
            raise ValueError(f"condition_size must be at least 0, got {self.condition_size}")


class MultiTask(Head):
    """One encoder, and for each task the head that its settings name; every batch is of one task.

    Source: Liu et al. 2019 (MT-DNN), section 3; conditional layer norms for tasks as in Su Jianlin 2021, the Sohu
    baseline.
    """

    config_class = MultiTaskConfig
    # The Trainer would take **batch for a place to hand its own arguments to, and leave losses to be scaled by it.
    accepts_loss_kwargs = False

    def add_layers(self, config: MultiTaskConfig) -> None:
        """Create the heads around the one encoder, and the tasks' embedding."""
        if not config.tasks:
            raise ValueError("a multi-task model needs tasks: the settings of each task's head by the task's name")
        self.task_embedding = None
        if config.condition_size:
            self.task_embedding = nn.Embedding(len(config.tasks), config.condition_size)
            condition_layer_norms(self.encoder, config.condition_size)
        # A head takes the encoder it is given for a finished one. While from_pretrained builds this model it is not:
        # its position numbers, which no checkpoint holds, are yet to be made.
        finished = {module for module in self.encoder.modules() if getattr(module, "_is_hf_initialized", False)}
        self.heads = nn.ModuleDict()
        for name, settings in config.tasks.items():
            own = {key: value for key, value in settings.items() if key not in ("class", "weight")}
            head = head_class(settings["class"]).from_encoder(self.encoder, **own)
            # The encoder is this model's: held by each head as a module, it would be saved once a head.
            del head._modules["encoder"]
            head.__dict__["encoder"] = self.encoder
            self.heads[name] = head
        for module in self.encoder.modules():
            module._is_hf_initialized = module in finished

    @property
    def task_names(self) -> list[str]:
        """The tasks in the order of their numbers."""
        return list(self.heads)

    def forward(self, task: Tensor | int | str, **batch: Tensor) -> ModelOutput:
        """Run a batch through the encoder and its task's head.

        task: the task's name or number, or a tensor (batch,) of one number throughout; batch: what that head takes.
        Returns what the head returns, its loss multiplied by the task's weight.
        Raises ValueError for a task that is unknown, or a batch of several tasks.
        """
        number = self._number(task)
        with self._condition(number, batch):
            output = self.heads[self.task_names[number]](**batch)
        if output.loss is not None:
            output.loss = output.loss * self.config.tasks[self.task_names[number]].get("weight", 1.0)
        return output

    def head_of(self, task: Tensor | int | str) -> Head:
        """The head of a task, e.g. to decode with. task: as in `forward`."""
        return self.heads[self.task_names[self._number(task)]]

    def part_of(self, parameter_name: str) -> str:
        """The part whose learning rate a parameter takes: that which its task's head says; see `Head.part_of`."""
        name = parameter_name.removeprefix("module.")
        task, _, own = name.removeprefix("heads.").partition(".")
        if not name.startswith("heads."):
            return super().part_of(name)
        if task not in self.heads:
            raise ValueError(f"{type(self).__name__} has no parameter {parameter_name!r}")
        return self.heads[task].part_of(own)

    def _probabilities(self, task: Tensor | int | str, **batch: Tensor) -> Tensor:
        """Those of the task's head."""
        number = self._number(task)
        with self._condition(number, batch):
            return self.heads[self.task_names[number]]._probabilities(**batch)

    def _condition(self, number: int, batch: dict[str, Tensor]):
        if self.task_embedding is None:
            return nullcontext()
        # Not len(): an exported graph would keep the example's number of rows.
        rows = next(value for value in batch.values() if value is not None).shape[0]
        return conditioned(self.task_embedding.weight[number].expand(rows, -1))

    def _number(self, task: Tensor | int | str) -> int:
        if isinstance(task, Tensor):
            numbers = task.reshape(-1)
            if (numbers != numbers[0]).any():
                raise ValueError("a batch must be of one task: draw it with common.training.task_sampling")
            task = int(numbers[0])
        names = self.task_names
        number = names.index(task) if task in names else task
        if not isinstance(number, int) or not 0 <= number < len(names):
            raise ValueError(f"there is no task {task!r}: expected one of {', '.join(names)}, or its number")
        return number


class OneTask(nn.Module):
    """A model of several tasks as what it is for one of them: called, and asked for more, like that task's head.

    model: of all tasks. task: its name or number.
    """

    def __init__(self, model: MultiTask, task: int | str) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.train(model.training)

    def forward(self, **batch: Tensor) -> ModelOutput:
        """What the head returns for a batch."""
        return self.model(self.task, **batch)

    def probabilities(self, **batch: Tensor) -> Tensor:
        """Those of the head."""
        return self.model.probabilities(task=self.task, **batch)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model.head_of(self.task), name)


def head_class(name: str) -> type[Head]:
    """The head of a name such as "taggers.Tagger": file and class in models/.

    Raises ValueError if there is none.
    """
    file, _, kind = name.partition(".")
    try:
        found = getattr(import_module(f"models.{file}"), kind) if file.isidentifier() else None
    except (ImportError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, Head)) or issubclass(found, MultiTask):
        raise ValueError(f'{name!r} is no head of models/: expected file and class, e.g. "taggers.Tagger"')
    return found
