"""Batches hold every row once, like lengths together, and no more padding than they must."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.training.batching import Collator, LengthGroupedSampler, TokenBatchSampler, prediction_batches

lengths_of_rows = st.lists(st.integers(0, 50), max_size=60)


def padding(lengths: np.ndarray, order: list[int], size: int) -> int:
    """Padded tokens of an order cut into batches."""
    batches = [lengths[order[place : place + size]] for place in range(0, len(order), size)]
    return sum(int((batch.max() - batch).sum()) for batch in batches)


# Samplers


@given(lengths_of_rows, st.integers(1, 9), st.integers(0, 3), st.integers(1, 3))
def test_an_epoch_is_every_row_once(lengths, size, seed, pool):
    sampler = LengthGroupedSampler(lengths, size, seed, pool)
    assert sorted(sampler) == list(range(len(lengths))) and len(sampler) == len(lengths)


def test_seed_and_epoch_decide_the_order():
    lengths = np.random.default_rng(0).integers(1, 100, 500)

    def order(seed: int, epoch: int) -> list[int]:
        sampler = LengthGroupedSampler(lengths, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def test_an_order_does_not_depend_on_the_epochs_before_it():
    sampler, fresh = (LengthGroupedSampler(range(100), 8, 1) for _ in range(2))
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = list(sampler)
    fresh.set_epoch(2)
    assert list(fresh) == order


def test_batches_have_a_fraction_of_the_padding_of_random_ones():
    lengths = np.random.default_rng(0).integers(1, 200, 3003)
    order = list(LengthGroupedSampler(lengths, 16, seed=1))
    shuffled = np.random.default_rng(1).permutation(3003).tolist()
    assert padding(lengths, order, 16) < 0.1 * padding(lengths, shuffled, 16)


def test_batches_come_in_random_order():
    lengths = np.arange(1600)
    means = np.array(list(LengthGroupedSampler(lengths, 16, seed=1))).reshape(100, 16).mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(100))[0, 1]) < 0.3


def test_rows_of_equal_length_come_in_random_order():
    order = np.array(list(LengthGroupedSampler(np.zeros(1000), 10, seed=1)))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15


def test_the_short_batch_is_the_last_one():
    lengths = np.random.default_rng(0).integers(1, 100, 105)
    for epoch in range(5):
        sampler = LengthGroupedSampler(lengths, 10, seed=1, pool=3)
        sampler.set_epoch(epoch)
        batches = np.array(list(sampler)[:100]).reshape(10, 10)
        # Batches that begin off their boundaries would mix two lengths; these span about a third of all lengths.
        assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 45


# Prediction


@given(lengths_of_rows, st.integers(1, 90), st.integers(1, 4), st.integers(1, 3))
def test_token_batches_hold_every_row_once_within_the_budget_in_as_many_steps_each_epoch(lengths, tokens, epochs, pool):
    sampler = TokenBatchSampler(lengths, tokens, 1, epochs, pool)
    for epoch in range(epochs + 2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        assert len(batches) == len(sampler) and all(batches)
        assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= tokens for batch in batches)


@pytest.mark.parametrize("spread", [0.5, 1.0], ids=["like lengths", "a long tail"])
def test_less_than_a_twentieth_of_token_batches_is_padding(spread):
    lengths = np.random.default_rng(0).lognormal(3.5, spread, 8000).astype(int).clip(3, 512)
    batches = list(TokenBatchSampler(lengths, 2048, seed=1))
    computed = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert lengths.sum() > 0.95 * computed
    shuffled = np.random.default_rng(1).permutation(8000).reshape(-1, 32)
    assert lengths.sum() < 0.7 * (lengths[shuffled].max(1) * 32).sum()


def test_token_batches_meet_other_rows_in_other_epochs_and_come_in_random_order():
    lengths = np.random.default_rng(0).integers(3, 200, 4000)
    sampler, mates, means = TokenBatchSampler(lengths, 1000, seed=1, epochs=2), [], []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        mates.append({(one, two) for batch in batches for one in batch for two in batch if one < two})
        means.append([lengths[batch].mean() for batch in batches])
    # Eight pools: two rows of one length meet again in one of eight.
    assert len(mates[0] & mates[1]) < 0.125 * len(mates[0])
    assert abs(np.corrcoef(means[0], np.arange(len(means[0])))[0, 1]) < 0.2
    assert list(sampler) == batches, "seed and epoch decide the order"


@given(lengths_of_rows, st.integers(1, 120))
def test_prediction_batches_hold_every_row_once_within_the_budget(lengths, tokens):
    batches = prediction_batches(lengths, tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) * longest <= tokens or len(batch) == 1


def test_prediction_batches_are_as_full_as_the_budget_lets_them():
    batches = prediction_batches([5] * 10 + [10] * 3, 20)
    assert [sorted(batch.tolist()) for batch in batches] == [[10, 11], [0, 12], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


# Collator


def test_columns_are_padded_on_the_right_to_the_longest_row():
    rows = [
        {
            "input_ids": [7, 8, 9],
            "labels": np.array([1, 2, 3]),
            "task": 1,
            "weight": 0.5,
            "boxes": [[1, 2], [3, 4], [5, 6]],
        },
        {"input_ids": [4], "labels": np.array([5]), "task": 0, "weight": 2.0, "boxes": [[7, 8]]},
    ]
    batch = Collator({"input_ids": 0, "labels": -100, "boxes": -1, "other": 3})(rows)
    assert list(batch) == list(rows[0])
    assert batch["input_ids"].tolist() == [[7, 8, 9], [4, 0, 0]] and batch["input_ids"].dtype == torch.int64
    assert batch["labels"].tolist() == [[1, 2, 3], [5, -100, -100]]
    assert batch["task"].tolist() == [1, 0] and batch["task"].dtype == torch.int64
    assert batch["weight"].dtype == torch.float32
    assert batch["boxes"].tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [-1, -1], [-1, -1]]]


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=8))
def test_padding_is_what_a_loop_would_do(rows):
    found = Collator({"x": -1})([{"x": row} for row in rows])["x"]
    width = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
    assert found.tolist() == [row + [-1] * (width - len(row)) for row in rows]
    assert found.dtype == torch.int64


def test_a_list_without_a_padding_value_is_refused():
    with pytest.raises(KeyError, match="no padding value for the column 'bigrams': known are input_ids, labels"):
        Collator({"input_ids": 0, "labels": -100})([{"input_ids": [1], "bigrams": [2]}])


@given(st.lists(st.integers(1, 20), min_size=24, max_size=80), st.integers(40, 120), st.integers(1, 3))
def test_processes_share_an_epoch_without_losing_or_repeating_a_row(lengths, tokens, world):
    shares = [TokenBatchSampler(lengths, tokens, 1, epochs=2, pool=2, rank=rank, world=world) for rank in range(world)]
    for epoch in (0, 1):
        for sampler in shares:
            sampler.set_epoch(epoch)
        batches = [list(sampler) for sampler in shares]
        assert {len(own) for own in batches} == {len(shares[0])}, "every process takes as many steps"
        rows = [row for own in batches for batch in own for row in batch]
        assert sorted(rows) == list(range(len(lengths)))
        widths = [max(lengths[row] for row in batch) * len(batch) for own in batches for batch in own if len(batch) > 1]
        assert max(widths, default=0) <= tokens


def test_too_few_rows_for_so_many_processes_are_an_error():
    with pytest.raises(ValueError, match="2 rows are too few for 1 steps of 3 processes"):
        TokenBatchSampler([5, 5], 100, 1, rank=0, world=3)
