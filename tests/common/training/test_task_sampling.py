"""Every batch is of one task, small tasks get their share, and no row is forgotten."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.training.task_sampling import TaskSampler, batches_by_task

sizes_of_tasks = st.lists(st.integers(0, 60), min_size=1, max_size=5)


def rows_of(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Task numbers and lengths of rows in random order."""
    random = np.random.default_rng(seed)
    tasks = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return tasks, random.integers(1, 100, len(tasks))


# Shares


def test_shares_follow_the_sizes_to_the_power_of_one_over_the_temperature() -> None:
    sizes = [10_000, 100, 1]
    assert batches_by_task(sizes, 10_101).tolist() == [10_000, 100, 1]
    assert batches_by_task(sizes, 111, 2.0).tolist() == [100, 10, 1]
    assert batches_by_task(sizes, 30, float("inf")).tolist() == [10, 10, 10]
    assert batches_by_task(sizes, 1000, 0.5)[0] >= 997


@given(sizes_of_tasks, st.integers(1, 200), st.floats(0.5, 100))
def test_batches_are_shared_out_and_no_task_goes_without(sizes, batches, temperature) -> None:
    counts, present = batches_by_task(sizes, batches, temperature), np.array(sizes) > 0
    assert counts.sum() == (max(batches, present.sum()) if present.any() else 0)
    assert (counts[present] >= 1).all() and not counts[~present].any()
    by_size = counts[np.argsort(sizes, kind="stable")]
    assert (np.diff(by_size) >= -1).all(), "a larger task gets no fewer, but for rounding"


# Batches


@given(sizes_of_tasks, st.integers(1, 9), st.integers(0, 3), st.sampled_from([1.0, 3.0]))
def test_every_batch_is_whole_and_of_one_task(sizes, batch_size, epoch, temperature) -> None:
    tasks, lengths = rows_of(sizes)
    sampler = TaskSampler(tasks, lengths, batch_size, seed=1, temperature=temperature)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(order) == len(sampler) and len(order) % batch_size == 0
    batches = [order[place : place + batch_size] for place in range(0, len(order), batch_size)]
    counts = Counter(tasks[batch[0]] for batch in batches)
    assert all(len(set(tasks[batch].tolist())) == 1 for batch in batches)
    assert [counts[task] for task in range(len(sizes))][: len(sampler.counts)] == sampler.counts.tolist()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 9), st.sampled_from([1.0, 4.0]))
def test_rows_of_a_task_are_seen_equally_often(sizes, batch_size, temperature) -> None:
    """Passes follow each other over the ends of epochs: only what a last batch leaves over may lag behind."""
    tasks, lengths = rows_of(sizes)
    sampler, seen = TaskSampler(tasks, lengths, batch_size, 1, temperature), Counter()
    epochs = 6
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        seen.update(sampler)
    for task, rows in enumerate(sampler.rows):
        own = [seen[row] for row in rows.tolist()]
        passes = epochs * sampler.counts[task] / max(1, len(rows) // batch_size)
        assert sum(own) == epochs * sampler.counts[task] * batch_size
        if len(rows) % batch_size == 0:
            assert max(own) - min(own) <= 1
        elif len(rows) < batch_size:
            assert max(own) <= (-(-batch_size // len(rows))) * np.ceil(passes)
        else:
            assert max(own) <= np.ceil(passes)


def test_seed_and_epoch_alone_decide_the_order() -> None:
    tasks, lengths = rows_of([200, 50])
    sampler = TaskSampler(tasks, lengths, 8, seed=1)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = list(sampler)
    fresh = TaskSampler(tasks, lengths, 8, seed=1)
    fresh.set_epoch(2)
    assert list(fresh) == order
    orders = set()
    for seed in (1, 2):
        for epoch in (0, 1):
            each = TaskSampler(tasks, lengths, 8, seed)
            each.set_epoch(epoch)
            orders.add(tuple(each))
    assert len(orders) == 4


def test_rows_of_like_length_go_together_and_tasks_take_turns() -> None:
    tasks, lengths = rows_of([1600, 1600])
    order = np.array(list(TaskSampler(tasks, lengths, 16, seed=1))).reshape(-1, 16)
    assert np.mean([np.ptp(lengths[batch]) for batch in order]) < 10
    turns = tasks[order[:, 0]]
    assert 60 < (turns[1:] != turns[:-1]).sum() < 140, "a random order changes task at every second batch"


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        batches_by_task([1], 1, 0)
    with pytest.raises(ValueError, match="2 task numbers for 1 lengths"):
        TaskSampler([0, 1], [5], 2, 1)
    assert list(TaskSampler([], [], 4, 1)) == []
