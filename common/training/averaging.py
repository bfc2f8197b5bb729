"""Averages of a model's weights: over training (EMA, SWA) and over models that began alike (soup)."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.config import ConfigError
from common.files import DataError
from common.training.tricks import AveragingConfig

FILE = "average.safetensors"


class WeightAverage:
    """The average of a model's parameters over training, of which evaluation and saving take a look.

    EMA: the moving average with weights proportional to decay^(steps ago) that sum to 1 from the first step on: the
    weights before training have no part in it. SWA: the mean of the last `last` snapshots, one every `every` steps
    or at the end of each epoch; before the first of them it is empty, and the model itself is what is looked at.
    Sources: Polyak and Juditsky 1992, with the bias correction of Kingma and Ba 2015, section 3; Izmailov et al. 2018,
    algorithm 1.
    """

    def __init__(self, model: nn.Module, config: AveragingConfig) -> None:
        self.config = config
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.average: dict[str, Tensor] = {}
        self.count = 0

    def after_step(self, step: int, steps: int, steps_an_epoch: int) -> None:
        """Takes the weights in. step: from 1, of `steps` in all."""
        if self.config.kind == "ema":
            # The share of the newest in a sum of decay^k that began with it; the plain 1 - decay in the long run.
            decay = self.config.decay
            self._take((1 - decay) / (1 - decay ** (self.count + 1)) if decay < 1 else 1 / (self.count + 1))
            return
        every = self.config.every or steps_an_epoch
        # The last step ends an epoch that is cut short by a limit of steps.
        ends = range(every, steps + 1, every) if self.config.every else [*range(every, steps, every), steps]
        if step in ends[-self.config.last :]:
            self._take(1 / (self.count + 1))

    @torch.no_grad()
    def _take(self, share: float) -> None:
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in self.parameters.items()}
        else:
            for name, value in self.parameters.items():
                self.average[name].lerp_(value.detach(), share)
        self.count += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the model's weights and the average's; a second time puts both back, bit for bit."""
        for name, value in self.average.items():
            own = self.parameters[name]
            kept = own.detach().clone()
            own.copy_(value)
            value.copy_(kept)

    def __enter__(self) -> "WeightAverage":
        self.swap()
        return self

    def __exit__(self, *problem) -> None:
        self.swap()

    def save(self, folder: Path) -> None:
        """Writes the average and how many weights are in it."""
        save_file(self.average, folder / FILE, metadata={"count": str(self.count)})

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        with safe_open(folder / FILE, "pt") as file:
            self.count = int(file.metadata()["count"])
            self.average = {name: file.get_tensor(name).to(self.parameters[name].device) for name in file.keys()}  # noqa: SIM118


def soup(folders: Iterable[Path], target: Path) -> None:
    """The mean of saved models, as one saved model.

    folders: what `save_pretrained` wrote for models that began from the same weights, such as the folds of one seed.
    target: gets the first's other files and the mean. Raises DataError when their tensors differ in name or shape, as
    where each fold has a vocabulary of its own.
    Source: Wortsman et al. 2022, section 2 (uniform soup).
    """
    folders = list(folders)
    if not folders:
        raise ConfigError("a model soup needs at least one model")
    total: dict[str, Tensor] = {}
    for place, folder in enumerate(folders):
        state = load_file(folder / "model.safetensors")
        shapes = {name: value.shape for name, value in state.items()}
        if place and shapes != {name: value.shape for name, value in total.items()}:
            raise DataError(f"its weights do not fit those of {folders[0]}", folder / "model.safetensors",
                            expected="models of one encoder and one vocabulary",
                            action="average their scores instead")  # fmt: skip
        for name, value in state.items():
            # Sums in float64: the order of the folds then changes nothing that float32 shows.
            if value.is_floating_point():
                total[name] = total[name] + value.double() if place else value.double()
            elif place and not torch.equal(total[name], value):
                raise DataError(f"its {name} differs from that of {folders[0]}", folder / "model.safetensors",
                                expected="models of one vocabulary", action="average their scores instead")  # fmt: skip
            else:
                total[name] = value
    first = load_file(folders[0] / "model.safetensors")
    mean = {name: (value / len(folders)).to(first[name].dtype) if value.is_floating_point() else value
            for name, value in total.items()}  # fmt: skip
    shutil.copytree(folders[0], target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.safetensors"))
    save_file(mean, target / "model.safetensors", metadata={"format": "pt"})
