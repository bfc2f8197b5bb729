"""The settings of every trick in training. Each group is off (null) until one of its keys is set.

They stand under a member's `training` in any contest, e.g. on the command line
    members.conditional_norm.training.adversarial.kind=fgm  members.conditional_norm.training.loss.r_drop=1
Every head takes them, but those of `loss` (without flooding and gradient_penalty) and adversarial.kind=vat, which are
for heads with `distributions`: taggers, span pointers, matchers, classifiers, choices and readers.
"""

from dataclasses import dataclass, field
from typing import Any

ATTACKS = ("fgm", "pgd", "freelb", "awp", "vat", "sam")
OUTPUT = "embedding_output"  # as a target: what the word embeddings give for a batch, not their table


def one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ConfigError naming the nearest of `allowed` when `value` is not among them."""
    from common.config import ConfigError, nearest

    if value not in allowed:
        raise ConfigError(f"training.{where} is {value!r}{nearest(value, allowed)}")


def within(where: str, settings: Any, **bounds: tuple[float, float]) -> None:
    """Raises ConfigError for a field of `settings` outside its closed bounds (least, most)."""
    from common.config import ConfigError

    for key, (least, most) in bounds.items():
        if not least <= getattr(settings, key) <= most:
            limit = f"from {least:g} to {most:g}" if most < float("inf") else f"of at least {least:g}"
            raise ConfigError(f"training.{where}.{key} is {getattr(settings, key):g}: expected a number {limit}")


MANY = float("inf")


@dataclass
class AdversarialConfig:
    """Training on inputs or weights that were moved to where the loss is higher. See common/training/adversarial.py.

    kind: fgm (one step), pgd (several, projected), freelb (several, every gradient is used), awp (on weights, relative
    to their norms), vat (on what the model itself predicts, by normalised embeddings as in SiFT) or sam
    (sharpness-aware minimisation: only the gradient at the moved weights is used).
    target: what is moved. word_embeddings (their table), embedding_output (what it gives for a batch, row by row: as in
    the papers of fgm, pgd, freelb and vat), or part of a parameter's name. Empty: the kind's own.
    epsilon: how far, an l2 norm (awp: share of each weight's norm; sam: rho). 0: the kind's own. step_size: how far one
    ascent goes, in the units of epsilon; 0: epsilon for one step, 1.5 * epsilon / steps for more. vat has none: its
    ascents only look for the way, and epsilon is how far it goes.
    steps: ascents (freelb: points whose gradients are used, with an ascent between two of them).
    start: share of training before the first attack. weight: of the adversarial loss.
    init: of the random first offset, an l2 norm: vat's has this norm; freelb's, whose entries are uniform in
    -init / sqrt(entries) to init / sqrt(entries), at most this one (about init / sqrt(3)).
    normalise: vat moves embeddings that are scaled to unit variance (SiFT), or the raw ones.
    """

    kind: str = "fgm"
    target: str = ""
    epsilon: float = 0.0
    step_size: float = 0.0
    steps: int = 0
    start: float = 0.0
    weight: float = 1.0
    init: float = 0.01
    normalise: bool = True

    def __post_init__(self) -> None:
        from common.config import ConfigError

        one_of("adversarial.kind", self.kind, ATTACKS)
        own = {"fgm": ("word_embeddings", 1.0, 1), "pgd": ("word_embeddings", 1.0, 3), "freelb": (OUTPUT, 0.3, 3),
               "awp": ("weight", 0.001, 1), "vat": (OUTPUT, 1.0, 1), "sam": ("", 0.05, 1)}  # fmt: skip
        target, epsilon, steps = own[self.kind]
        self.target = self.target or target
        self.epsilon, self.steps = self.epsilon or epsilon, self.steps or steps
        self.step_size = self.step_size or (self.epsilon / self.steps * (1.5 if self.steps > 1 else 1.0))
        within("adversarial", self, epsilon=(0, MANY), step_size=(0, MANY), steps=(1, MANY), start=(0, 1),
               weight=(0, MANY), init=(0, MANY))  # fmt: skip
        if (self.kind in ("freelb", "vat")) > (self.target == OUTPUT):
            raise ConfigError(
                f"training.adversarial.target is {self.target!r}: {self.kind} moves {OUTPUT}, nothing else"
            )
        if (self.kind in ("awp", "sam")) and self.target == OUTPUT:
            raise ConfigError(f"training.adversarial.target is {OUTPUT!r}: {self.kind} moves weights; name parameters")


@dataclass
class LossConfig:
    """What is added to a head's loss or put in its place. See common/training/losses.py.

    kind: default (the head's own), cross_entropy, focal or dice, of each word's or row's distribution; a CRF keeps its
    likelihood and the other is added to it. gamma: focal's exponent. alpha, smooth: dice's.
    label_smoothing: share of a label that is spread over all classes. class_weights: one weight a class, in the order
    of the label scheme (matching: no match, match).
    r_drop: weight of the divergence between two passes with other dropout. contrastive: share of the supervised
    contrastive loss, contrastive_temperature: its temperature.
    mixup: alpha of the beta distribution by which pairs of rows are mixed before the classifier; 0 never.
    gradient_penalty: weight of half the squared gradient by the word embeddings. flooding: the level that the loss is
    kept at. Each is off at 0.
    """

    kind: str = "default"
    gamma: float = 2.0
    alpha: float = 1.0
    smooth: float = 1.0
    label_smoothing: float = 0.0
    class_weights: list[float] = field(default_factory=list)
    r_drop: float = 0.0
    contrastive: float = 0.0
    contrastive_temperature: float = 0.3
    mixup: float = 0.0
    gradient_penalty: float = 0.0
    flooding: float = 0.0

    def __post_init__(self) -> None:
        from common.config import ConfigError

        one_of("loss.kind", self.kind, ("default", "cross_entropy", "focal", "dice"))
        within("loss", self, gamma=(0, MANY), alpha=(0, MANY), smooth=(0, MANY), label_smoothing=(0, 1),
               r_drop=(0, MANY), contrastive=(0, 1), contrastive_temperature=(1e-4, MANY), mixup=(0, MANY),
               gradient_penalty=(0, MANY), flooding=(0, MANY))  # fmt: skip
        if any(weight < 0 for weight in self.class_weights):
            raise ConfigError(f"training.loss.class_weights are {list(self.class_weights)}: expected none below 0")


@dataclass
class NoiseConfig:
    """Random noise inside the encoder while it is trained. See common/training/noise.py.

    neftune: alpha of uniform noise on embeddings. hype: size of the noise on what each layer reads, hype_kind: normal
    (size is the standard deviation) or uniform (size is the bound). Each is off at 0.
    """

    neftune: float = 0.0
    hype: float = 0.0
    hype_kind: str = "normal"

    def __post_init__(self) -> None:
        one_of("noise.hype_kind", self.hype_kind, ("normal", "uniform"))
        within("noise", self, neftune=(0, MANY), hype=(0, MANY))


@dataclass
class AveragingConfig:
    """Scores and saved weights are those of an average over training. See common/training/averaging.py.

    kind: ema (moving average by `decay` a step) or swa (the mean of the `last` snapshots of the planned steps, so that
    patience has to be 0). every: steps between snapshots, 0 for one an epoch.
    """

    kind: str = "ema"
    decay: float = 0.999
    last: int = 3
    every: int = 0

    def __post_init__(self) -> None:
        one_of("averaging.kind", self.kind, ("ema", "swa"))
        within("averaging", self, decay=(0, 1), last=(1, MANY), every=(0, MANY))


@dataclass
class OptimizerConfig:
    """Another optimizer than AdamW. See common/training/optimizers.py; SAM is adversarial.kind=sam, on top of any.

    name: adamw, adafactor, lamb or radam. lookahead: steps between pulls to the slow weights, 0 never;
    lookahead_alpha: how far they move.
    """

    name: str = "adamw"
    lookahead: int = 0
    lookahead_alpha: float = 0.5

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, ("adamw", "adafactor", "lamb", "radam"))
        within("optimizer", self, lookahead=(0, MANY), lookahead_alpha=(0, 1))


@dataclass
class LayersConfig:
    """What is done with a pretrained encoder's layers. See common/training/layers.py.

    reinitialise: how many top layers start at random. mixout: chance that a linear weight is the pretrained one for a
    step. unfreeze: share of training by the end of which all layers are trained, from the top down.
    """

    reinitialise: int = 0
    mixout: float = 0.0
    unfreeze: float = 0.0

    def __post_init__(self) -> None:
        within("layers", self, reinitialise=(0, MANY), mixout=(0, 0.999), unfreeze=(0, 1))


@dataclass
class SeedsConfig:
    """Which seed decides what; unset, it is the unit's. See common/training/seeds.py for what many of them are worth.

    weights: of what starts at random. order: of data order and dropout.
    """

    weights: int | None = None
    order: int | None = None
