"""Several tasks in one training: every batch of one task, small tasks more often than their size says."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from common.training.batching import LengthGroupedSampler


def batches_by_task(sizes: Sequence[int], batches: int, temperature: float = 1.0) -> np.ndarray:
    """How many of an epoch's batches each task gets: shares go by size^(1 / temperature), at least one batch each.

    sizes: (tasks,) rows, 0 for a task without any. batches: of an epoch. temperature: 1 follows the sizes, more evens
    them out, infinity gives all tasks the same.
    Returns int64 (tasks,), which sum to `batches` where that allows one each; rounded by the largest remainders.
    Raises ValueError for a temperature that is not above 0.
    Source: Devlin 2018, multilingual BERT (sizes to the power of 0.7); Arivazhagan et al. 2019, section 4.2
    (temperature).
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: expected a number above 0 (1 follows the sizes)")
    present = np.asarray(sizes) > 0
    if not present.any():
        return np.zeros(len(present), dtype=np.int64)
    logs = np.log(np.asarray(sizes, dtype=np.float64)[present]) / temperature
    shares = np.exp(logs - logs.max())
    wanted = np.maximum(batches * shares / shares.sum(), 1.0)
    # What the lift to one batch adds is taken from the tasks that have more than one.
    spare = wanted - 1.0
    wanted = 1.0 + spare * max(batches - len(wanted), 0) / max(spare.sum(), 1e-12)
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    left = max(batches, len(wanted)) - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[:left]] += 1
    result = np.zeros(len(present), dtype=np.int64)
    result[present] = counts
    return result


class TaskSampler(Sampler[int]):
    """Indices such that every run of `batch_size` of them is of one task and of rows of like length.

    tasks: (rows,) task numbers. lengths: (rows,) tokens. batch_size: rows of a whole step over all devices. seed: with
    the epoch, decides the order, so that a resumed run sees what an uninterrupted one would have seen. temperature: see
    `batches_by_task`. An epoch has as many batches as the rows fill.
    A task's rows come in passes over all of it, each in a new order; an epoch goes on where the last one stopped, so
    that a large task is seen whole even where an epoch holds but a part of it. The rows that would not fill a pass's
    last batch wait for the next pass; a task smaller than a batch fills it by repeating rows.
    """

    def __init__(
        self, tasks: Sequence[int], lengths: Sequence[int], batch_size: int, seed: int, temperature: float = 1.0
    ) -> None:
        self.tasks, self.lengths = np.asarray(tasks, dtype=np.int64), np.asarray(lengths)
        self.batch_size, self.seed = batch_size, seed
        if len(self.tasks) != len(self.lengths):
            raise ValueError(f"{len(self.tasks)} task numbers for {len(self.lengths)} lengths: expected one each")
        self.rows = [np.flatnonzero(self.tasks == task) for task in range(self.tasks.max(initial=-1) + 1)]
        total = -(-len(self.tasks) // batch_size)
        self.counts = batches_by_task([len(rows) for rows in self.rows], total, temperature)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self.counts.sum()) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        streams = [self._batches(task) for task in range(len(self.rows))]
        order = np.repeat(np.arange(len(self.rows)), self.counts)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        for task in order.tolist():
            yield from next(streams[task])

    def _batches(self, task: int) -> Iterator[list[int]]:
        """The batches of a task from the one on with which this epoch begins."""
        rows, size = self.rows[task], self.batch_size
        per_pass, place = max(1, len(rows) // size), self.epoch * int(self.counts[task])
        while True:
            one_pass = self._pass(task, place // per_pass)
            for batch in range(place % per_pass, per_pass):
                yield rows[one_pass[batch * size : (batch + 1) * size]].tolist()
                place += 1

    def _pass(self, task: int, number: int) -> np.ndarray:
        """Places in the task's rows, in the order of its pass of that number; at least a batch of them."""
        # Tasks of one size must not be shuffled alike: the seed of each is its own.
        seed = int(np.random.SeedSequence((self.seed, task)).generate_state(1)[0])
        sampler = LengthGroupedSampler(self.lengths[self.rows[task]], self.batch_size, seed)
        sampler.set_epoch(number)
        order = np.array(list(sampler), dtype=np.int64)
        return np.resize(order, max(len(order), self.batch_size))
