"""python -m benchmarks.trick_overhead [key=value ...]

What does a run that uses no trick pay for them? A few steps of the kit's Trainer and as many of the bare Trainer of
transformers, with the same model, batches and optimizer, one after the other in random order, in one process; the ratio
of each pair's times, the median of all and its 95 % interval.

Keys:
  pairs=60             of runs of 12 steps                           (default 60)
  results=FILE         the file whose section is replaced; none when empty (default benchmarks/RESULTS.md)

On a busy machine under `chrt -r 1`.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.command import command

LIMIT, STEPS = 1.02, 12


@dataclass
class Settings:
    """The keys that the head of this file explains."""

    pairs: int = 60
    results: str = "benchmarks/RESULTS.md"


def main(words: list[str]) -> int:
    """Runs the benchmark; returns the exit status: 1 above the limit, else see `command`."""
    return command(words, __doc__, lambda: _judged(words))


def _judged(words: list[str]) -> int:
    from benchmarks.results import replace_section
    from common.config import ConfigError, read_config, resolved, typed

    settings = typed(Settings, resolved(read_config([], words)))
    if settings.pairs < 10:
        raise ConfigError(f"pairs is {settings.pairs}: expected at least 10")
    middle, low, high, milliseconds = measure(settings.pairs)
    text = report(settings, middle, low, high, milliseconds)
    print(text)
    if settings.results:
        replace_section(Path(settings.results), "trick_overhead", text)
    return int(middle > LIMIT)


def measure(pairs: int) -> tuple[float, float, float, float]:
    """The median ratio of step times, kit to bare, its interval, and milliseconds of the kit's median step."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    loops, random = both_loops(), np.random.default_rng(1)
    for loop in loops * 2:
        loop()
    times = np.zeros((pairs, 2))
    for row in times:
        for side in random.permutation(2):
            row[side] = loops[side]()
    ratios = times[:, 0] / times[:, 1]
    drawn = np.median(random.choice(ratios, (2000, pairs)), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high), float(np.median(times[:, 0]) * 1e3)


def both_loops() -> list["Loop"]:
    """The kit's Trainer and the bare one."""
    import tempfile

    from transformers import BertConfig, Trainer, set_seed

    from common.members.neural import trainer_class
    from common.training.arguments import TrainingConfig, training_arguments
    from common.training.fast_dropout import use_fast_dropout
    from common.training.optimizers import build_optimizer, parameter_groups
    from models.encoders import encoder_from_config
    from models.matchers import CrossEncoder

    config = TrainingConfig(precision="fp32", batch_size=16, max_steps=STEPS)
    rows, collator = example_rows()
    folder = Path(tempfile.mkdtemp())
    found = []
    for bare in (False, True):
        set_seed(1)
        encoder = encoder_from_config(BertConfig(vocab_size=2000, hidden_size=128, num_hidden_layers=2,
                                                 num_attention_heads=2, intermediate_size=512))  # fmt: skip
        model = CrossEncoder.from_encoder(encoder, tasks=1, task_handling="none")
        arguments = training_arguments(config, folder / str(bare) / "checkpoints", 1)
        arguments.eval_strategy = arguments.save_strategy = arguments.logging_strategy = "no"
        arguments.load_best_model_at_end = False
        if bare:
            use_fast_dropout(model)  # as the other has it: a gain there would hide what tricks cost
            optimizer = build_optimizer(parameter_groups(model, config, model.part_of), config)
            trainer = Trainer(model, arguments, train_dataset=rows.remove_columns("length"), data_collator=collator,
                              optimizers=(optimizer, None))  # fmt: skip
        else:
            trainer = trainer_class(config)(model, config, arguments, rows, collator, lambda _: {})
        found.append(Loop(trainer))
    return found


class Loop:
    """A Trainer whose own loop is run for a few steps at a time."""

    def __init__(self, trainer: Any) -> None:
        from transformers import TrainerCallback

        class Clock(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                stamps.append(perf_counter())

        stamps: list[float] = []
        self.trainer, self.stamps = trainer, stamps
        trainer.add_callback(Clock())

    def __call__(self) -> float:
        """Seconds of a step, all that the loop does between the ends of two: the median of a few."""
        self.stamps.clear()
        self.trainer.train()
        return median(after - before for before, after in pairwise(self.stamps))


def example_rows() -> tuple[Any, Any]:
    """Pairs of random tokens, all of one length, so that any two batches cost the same."""
    import numpy as np
    from datasets import Dataset

    from common.training.batching import Collator

    random, length = np.random.default_rng(0), 64
    ids = random.integers(5, 2000, (128, length)).tolist()
    types = [[0] * (length // 2) + [1] * (length // 2)] * 128
    columns = {"input_ids": ids, "attention_mask": [[1] * length] * 128, "token_type_ids": types,
               "labels": random.integers(0, 2, 128).tolist(), "length": [length] * 128}  # fmt: skip
    padding = {"input_ids": 0, "attention_mask": 0, "token_type_ids": 0}
    return Dataset.from_dict(columns), Collator(padding)


def report(settings: Settings, middle: float, low: float, high: float, milliseconds: float) -> str:
    """The section of the results."""
    from benchmarks.results import circumstances

    words = f" pairs={settings.pairs}" if settings.pairs != Settings.pairs else ""
    return f"""## What does a run without tricks pay for them?

    python -m benchmarks.trick_overhead{words}

One step (16 pairs of 64 tokens, 2 layers of 128, fp32, one thread) of the kit's Trainer without any trick, over that
of the bare Trainer of transformers with the same model, batches and optimizer: **{middle:.4f}** [{low:.4f},
{high:.4f}],
the median of {settings.pairs} pairs of runs of {STEPS} steps and its 95 % interval; {milliseconds:.1f} ms a step. The
limit is {LIMIT}. {circumstances()}.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
