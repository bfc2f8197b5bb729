"""What a head's multi-sample dropout made of its features, to compute each sample's loss by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.heads import Head


@contextmanager
def dropped_by(head: Head, seed: int = 5) -> Iterator[list[torch.Tensor]]:
    """Seeds torch. Yields a list that holds, after the head's forward pass inside, its dropout samples.

    Fails unless they are as many as the settings say, differ, and are the features with some of them zero and the
    others scaled up.
    """
    samples: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        samples.extend(output.detach().unbind(0))
        scaled = inputs[0].detach() / (1 - head.config.dropout)
        assert all(((sample == 0) | torch.isclose(sample, scaled)).all() for sample in samples)

    hook = head.dropout.register_forward_hook(keep)
    torch.manual_seed(seed)
    try:
        yield samples
    finally:
        hook.remove()
    assert len(samples) == head.config.multi_sample_dropout > 1
    assert all(not torch.equal(samples[0], other) for other in samples[1:])
