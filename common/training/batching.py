"""Rows to batches: like lengths together, padded to the longest of the batch and no further."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler


class Collator:
    """Turns rows of numbers into one padded tensor a column.

    padding: for each column of lists, the value that fills it up on the right, e.g. {"input_ids": 0, "labels": -100}.
    Columns of plain numbers become (batch,) tensors; columns of lists of lists, (batch, length, width) tensors.
    Columns that `padding` does not name and that are lists are an error, since any guess would be wrong for some model.
    """

    def __init__(self, padding: Mapping[str, int | float]) -> None:
        self.padding = dict(padding)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        return {key: self._column(key, [row[key] for row in rows]) for key in rows[0]}

    def _column(self, key: str, values: list[Any]) -> torch.Tensor:
        if not isinstance(values[0], (list, np.ndarray)):
            return torch.tensor(values)
        if key not in self.padding:
            raise KeyError(f"no padding value for the column {key!r}: known are {', '.join(self.padding)}")
        lengths = np.array([len(value) for value in values])
        flat = np.concatenate([np.asarray(value) for value in values if len(value)] or [np.zeros(0, dtype=np.int64)])
        padded = np.full((len(values), max(1, lengths.max()), *flat.shape[1:]), self.padding[key], dtype=flat.dtype)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
        return torch.from_numpy(padded)


class LengthGroupedSampler(Sampler[int]):
    """Indices in random order such that every run of `batch_size` of them has rows of like length.

    lengths: (rows,) tokens. batch_size: rows of a whole step over all devices. seed: with the epoch, decides the order,
    so that a resumed run sees what an uninterrupted one would have seen.
    pool: batches that are sorted together; more means less padding and less randomness.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 50) -> None:
        self.lengths, self.batch_size, self.seed, self.pool = np.asarray(lengths), batch_size, seed, pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        width = self.batch_size * self.pool
        batches = []
        for begin in range(0, len(order), width):
            rows = order[begin : begin + width]
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
            batches += [rows[place : place + self.batch_size] for place in range(0, len(rows), self.batch_size)]
        # A short batch in the middle would shift all later ones off their boundaries: it goes last.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        places = random.permutation(len(full))
        return iter(np.concatenate([*(full[place] for place in places), *rest]).tolist() if batches else [])


class TokenBatchSampler(Sampler[list[int]]):
    """Batches of at most `tokens` padded tokens, rows of like length together, in random order.

    lengths: (rows,) tokens. tokens: padded tokens of a batch; a longer row is a batch of its own. seed: as for
    `LengthGroupedSampler`. epochs: after so many the orders come again; every one of them has as many batches as the
    one that needs most, so that a schedule can count steps.
    pool: batches that are sorted together; more means less padding and less randomness.
    rank, world: which of several processes that train together this one is, and how many they are: each has as many
    batches of an epoch as the others, and a row is in one of them once.
    Raises ValueError for fewer rows than processes.
    """

    def __init__(
        self, lengths: Sequence[int], tokens: int, seed: int, epochs: int = 1, pool: int = 50,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.lengths, self.tokens, self.seed, self.pool = np.asarray(lengths), tokens, seed, pool
        self.epochs, self.epoch = max(1, epochs), 0
        self.rank, self.world = rank, world
        self.steps = -(-max(len(self._cut(epoch)) for epoch in range(self.epochs)) // world)
        if self.steps * world > len(self.lengths):
            raise ValueError(f"{len(self.lengths)} rows are too few for {self.steps} steps of {world} processes")

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch % self.epochs
        batches = self._cut(epoch)
        # Orders differ by a few batches: of those that lack some, the batches of most rows are halved.
        while len(batches) < self.steps * self.world:
            largest = max(range(len(batches)), key=lambda place: len(batches[place]))
            half = len(batches[largest]) // 2
            batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
        places = np.random.default_rng((self.seed, epoch, 1)).permutation(len(batches))
        return iter([batches[place].tolist() for place in places[self.rank :: self.world]])

    def _cut(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths))
        chunks = np.cumsum(self.lengths[order]) // (self.tokens * self.pool)
        cuts = np.flatnonzero(np.diff(chunks)) + 1
        return [rows[part] for rows in np.split(order, cuts) for part in prediction_batches(self.lengths[rows],
                self.tokens)]  # fmt: skip


def prediction_batches(lengths: Sequence[int], tokens: int) -> list[np.ndarray]:
    """Row indices cut into batches of at most `tokens` padded tokens, like lengths together, longest first.

    A row longer than the budget is a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, begin = [], 0
    while begin < len(order):
        # Longest first: the first row of a batch says how wide all of it becomes.
        size = max(1, tokens // max(1, int(lengths[order[begin]])))
        batches.append(order[begin : begin + size])
        begin += size
    return batches
