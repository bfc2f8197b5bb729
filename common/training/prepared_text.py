"""Rows as padded batches, made once and read by every model that reads text in the same way."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from common.training.batching import Collator, prediction_batches

# Padded tokens of a batch. A CPU gains nothing from larger ones, and they are wider than most of their rows.
TOKENS = 16_384 if torch.cuda.is_available() else 2048
# Batches beyond it are made anew at each pass, so that memory does not grow with the rows. A GPU would wait for them;
# on a CPU they are some hundredths of a model's time.
KEPT_BYTES = 2**28 if torch.cuda.is_available() else 2**22


class PreparedText:
    """The padded batches of a feature table, longest first; each pass over it gives the same ones.

    rows: features with a column `length`. collator: pads them. owners: which row each feature belongs to.
    tokens: padded tokens of a batch. kept_bytes: of batches that stay in memory for the next pass.
    """

    def __init__(self, rows: Dataset, collator: Collator, owners: np.ndarray | None = None,
                 tokens: int = TOKENS, kept_bytes: int = KEPT_BYTES) -> None:  # fmt: skip
        self.owners, self.kept_bytes = owners, kept_bytes
        self._features, self._collator = rows.remove_columns("length"), collator
        self._places = prediction_batches(np.asarray(rows["length"]), tokens)
        self._kept: list[dict[str, torch.Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._features)

    def __iter__(self) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
        """Pairs of features' places in the table and their padded tensors."""
        if self._kept is None:
            # All at once: made between a model's large buffers, they would keep the memory of those from the system.
            self._kept = list(self._fitting())
        yield from zip(self._places, self._kept, strict=False)
        for places in self._places[len(self._kept) :]:
            yield places, self._made(places)

    def _fitting(self) -> Iterator[dict[str, torch.Tensor]]:
        """The first batches, as many as may stay in memory."""
        room = self.kept_bytes
        for places in self._places:
            batch = self._made(places)
            room -= sum(tensor.nbytes for tensor in batch.values())
            if room < 0:
                return
            yield batch

    def _made(self, places: np.ndarray) -> dict[str, torch.Tensor]:
        return self._collator(rows_of(self._features, places))


class SharedText:
    """Gives units that read the same rows in the same way one PreparedText; only the latest is held."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._text: PreparedText | None = None

    def get(self, key: Hashable, make: Callable[[], PreparedText]) -> PreparedText:
        """What `make` gave for this key. key: all that decides it; None for what is not to be shared."""
        if self._text is None or key is None or key != self._key:
            self._text = None  # two texts are never held at once
            self._key, self._text = key, make()
        return self._text


def rows_of(features: Dataset, places: np.ndarray) -> list[dict[str, Any]]:
    """Rows of a table as dicts."""
    columns = features[places.tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
