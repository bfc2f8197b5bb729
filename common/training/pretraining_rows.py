"""Masked rows of a corpus for a DataLoader: what a row looks like depends on seed, pass and row alone."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from common.text.masking import Masker
from common.text.packing import PackedRows, attention_within_documents, positions_in_documents
from common.text.sentence_pairs import SegmentPairs

HELD_OUT = -1  # stands for the pass of rows that are not trained on
GROUPED_BATCHES = 64  # rows of similar length are looked for among this many batches


class Drawn(NamedTuple):
    """One masked row as numpy arrays: (length,), but positions and labels (masked,) and pair (a number or None)."""

    input_ids: np.ndarray
    types: np.ndarray | None
    documents: np.ndarray | None
    positions: np.ndarray
    labels: np.ndarray
    pair: int | None


class MaskedRows(Dataset):
    """Rows by (pass, row number), masked by a generator of exactly that, so that any order, any number of processes and
    any interruption gives the same masks, and each pass others.

    rows: packed rows, or pairs of segments. masker: the objective. seed: of all masks.
    within_documents: tokens attend to their own document alone; for packed rows.
    """

    def __init__(
        self, rows: PackedRows | SegmentPairs, masker: Masker, seed: int, within_documents: bool = False
    ) -> None:
        self.rows, self.masker, self.seed, self.within = rows, masker, seed, within_documents
        self.pairs = isinstance(rows, SegmentPairs)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray | None:
        """Most tokens of each row without special tokens, where they differ."""
        return self.rows.lengths if self.pairs else None

    def mean_tokens(self, drawn: Iterable[tuple[int, int]]) -> float:
        """Tokens of a row on average, special tokens included. drawn: rows to measure, where they differ."""
        if not self.pairs:
            return float(self.rows.max_length)
        return float(np.mean([len(self[item].input_ids) for item in drawn]))

    def __getitem__(self, item: tuple[int, int]) -> Drawn:
        turn, row = item
        random = np.random.default_rng((self.seed, turn + 1, row))
        if self.pairs:
            drawn = self.rows.rows([row], random)
            length = int(drawn.attention_mask.sum())
            drawn = drawn._replace(input_ids=drawn.input_ids[:, :length], word_ids=drawn.word_ids[:, :length])
            types, documents, pair = drawn.token_type_ids[0, :length], None, int(drawn.labels[0])
        else:
            drawn = self.rows.rows([row])
            types, pair = None, None
            padded = drawn.document_ids[0, -1] < 0
            documents = drawn.document_ids[0] if self.within or padded else None
        masked = self.masker(drawn.input_ids, drawn.word_ids, random)
        return Drawn(masked.input_ids[0], types, documents, masked.positions, masked.labels, pair)

    def collate(self, rows: Sequence[Drawn]) -> dict[str, torch.Tensor]:
        """A batch for `MaskedLM.forward`; attention_mask is left out where nothing is padded."""
        lengths = np.array([len(row.input_ids) for row in rows])
        width = int(lengths.max())
        inside = np.arange(width) < lengths[:, None]
        batch = {
            "input_ids": _padded([row.input_ids for row in rows], width, self.rows.padding),
            "positions": np.concatenate([row.positions + place * width for place, row in enumerate(rows)]),
            "labels": np.concatenate([row.labels for row in rows]),
        }
        if self.pairs:
            batch["token_type_ids"] = _padded([row.types for row in rows], width, 0)
            batch["pair_labels"] = np.array([row.pair for row in rows])
        elif self.within:
            documents = np.stack([row.documents for row in rows])
            batch["attention_mask"] = attention_within_documents(documents)
            batch["position_ids"] = positions_in_documents(documents)
        else:
            for place, row in enumerate(rows):
                if row.documents is not None:
                    inside[place] = row.documents >= 0
        if not self.within and not inside.all():
            batch["attention_mask"] = inside.astype(np.int64)
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class Passes(Sampler):
    """The rows of each epoch in random order, as (pass, row).

    parts: for each text the numbers of its rows, in any form that `len` and indexing with an array work on.
    seed: of the order. mixture: each text's share of an epoch goes with its size to this power: 1 takes every row once
        an epoch, 0.5 takes small texts more often and large ones more rarely, 0 all texts alike.
    multiple: an epoch has as many rows as the parts together, less what is too few for this many (a whole step); the
        next one begins with those.
    lengths: of every row, for rows that are padded to the longest of their batch: rows of similar length then come
        together. batch: how many of them: those of a step, with lengths.

    Within a text no row comes an n+1st time before each has come n times, over all epochs.
    Raises ValueError when there are too few rows for one step.
    """

    def __init__(self, parts: Sequence[np.ndarray], seed: int, mixture: float = 1.0, multiple: int = 1,
                 lengths: np.ndarray | None = None, batch: int = 1) -> None:  # fmt: skip
        self.lengths, self.batch = lengths, batch
        self.parts, self.seed, self.epoch = [part for part in parts if len(part)], seed, 0
        sizes = np.array([len(part) for part in self.parts], dtype=np.float64)
        self.total = int(sizes.sum())
        self.count = self.total // multiple * multiple
        if not self.count:
            raise ValueError(f"{self.total} rows to train on are too few for a step of {multiple}: give more text or "
                             "lower batch_tokens and accumulation")  # fmt: skip
        shares = sizes**mixture / (sizes**mixture).sum()
        ends = np.round(np.cumsum(shares) * self.count).astype(np.int64)
        self.wanted = np.diff(ends, prepend=0).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        turns, rows = [], []
        for number, (part, wanted) in enumerate(zip(self.parts, self.wanted, strict=True)):
            # The text's own endless stream of shuffled passes goes on where the epoch before left it.
            start, stop = self.epoch * wanted, (self.epoch + 1) * wanted
            while start < stop:
                turn, place = divmod(start, len(part))
                order = _shuffled(len(part), self.seed, number, turn)
                own = order[place : place + stop - start]
                rows.append(part[own])
                turns.append(np.full(len(own), turn, dtype=np.int32))
                start += len(own)
        order = _shuffled(self.count, self.seed, len(self.parts), self.epoch)
        rows = np.concatenate(rows)[order]
        turns = np.concatenate(turns)[order]
        if self.lengths is not None:
            grouped = self._grouped(rows)
            turns, rows = turns[grouped], rows[grouped]
        for turn, row in zip(turns, rows, strict=True):
            yield int(turn), int(row)

    def _grouped(self, rows: np.ndarray) -> np.ndarray:
        """An order of the rows: each stretch of some batches sorted by length and cut into batches, these shuffled."""
        stretch = GROUPED_BATCHES * self.batch
        order = np.lexsort((self.lengths[rows], np.arange(len(rows)) // stretch))
        whole = len(rows) // self.batch * self.batch
        batches = order[:whole].reshape(-1, self.batch)
        shuffled = np.random.default_rng((self.seed, len(self.parts) + 1, self.epoch)).permutation(len(batches))
        return np.concatenate([batches[shuffled].ravel(), order[whole:]])


class Cut(NamedTuple):
    """Numbers of the rows that are trained on and that are held out; one array for each text."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]


def cut_rows(rows: PackedRows | SegmentPairs, share: float, most: int) -> Cut:
    """Holds out the last rows of each text.

    share: of the rows. most: rows held out of all texts together. Each text gives its part, short ones where theirs
    adds up to a row. Rows that reach into the next text are trained on, and of every text at least one row is.
    """
    bounds = np.array(rows.store.part_starts)
    if isinstance(rows, SegmentPairs):
        firsts = stops = np.searchsorted(rows.starts, bounds)
    else:
        # Rows wholly inside a text can be held out; one that straddles two belongs to the first.
        firsts, stops = -(-bounds // rows.capacity), bounds // rows.capacity
    train, held_out, parts, left, due = [], [], len(bounds) - 1, most, 0.0
    kind = _number_kind(len(rows))
    for part in range(parts):
        first = 0 if not part else int(firsts[part])
        end = len(rows) if part == parts - 1 else int(firsts[part + 1])
        inner = max(first, min(int(stops[part + 1]), end))
        due = due % 1 + (end - first) * share
        own = max(0, min(int(due), max(most // parts, 1), inner - first - 1, left))
        left -= own
        held_out.append(np.arange(inner - own, inner, dtype=kind))
        train.append(np.concatenate([np.arange(first, inner - own, dtype=kind), np.arange(inner, end, dtype=kind)]))
    return Cut(train, held_out)


def _number_kind(count: int) -> type:
    """What numbers below this one are kept in: they are the one thing of a text that is held in memory."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def _shuffled(count: int, *seed: int) -> np.ndarray:
    numbers = np.arange(count, dtype=_number_kind(count))
    np.random.default_rng(seed).shuffle(numbers)
    return numbers


def _padded(rows: Sequence[np.ndarray], width: int, padding: int) -> np.ndarray:
    out = np.full((len(rows), width), padding, dtype=np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return out
