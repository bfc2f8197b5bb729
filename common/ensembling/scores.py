"""What members hand to the ensemble: probabilities of rows, each with one unit (a pair) or many (its tokens)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import DataError, atomic_path, existing


@dataclass(frozen=True)
class Scores:
    """Probabilities of rows, kept flat.

    ids: the row ids, in order. offsets: (rows + 1,) where each row's units begin. values: (units, outputs) float32.
    A pair is one unit with one output; a sentence has one unit a token with one output a tag.
    """

    ids: tuple[str, ...]
    offsets: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[str], rows: np.ndarray | Sequence[np.ndarray]) -> "Scores":
        """From a (rows,) array of single probabilities, or from one (units, outputs) array a row."""
        if isinstance(rows, np.ndarray) and rows.ndim == 1:
            return cls(tuple(ids), np.arange(len(rows) + 1), rows.astype(np.float32)[:, None])
        lengths = [len(row) for row in rows]
        values = np.concatenate(list(rows)).astype(np.float32) if lengths else np.zeros((0, 1), np.float32)
        return cls(tuple(ids), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), values)

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, place: int) -> np.ndarray:
        """The (units, outputs) probabilities of one row."""
        return self.values[self.offsets[place] : self.offsets[place + 1]]

    def confidence(self) -> np.ndarray:
        """(rows,) the probability of what each row most likely is, that of its least certain unit; 1 without units."""
        single = self.values.shape[1] == 1
        sure = np.maximum(self.values, 1 - self.values)[:, 0] if single else self.values.max(axis=1)
        lengths, found = np.diff(self.offsets), np.ones(len(self), dtype=np.float32)
        if len(sure):
            found[lengths > 0] = np.minimum.reduceat(sure, self.offsets[:-1][lengths > 0])
        return found

    def take(self, places: np.ndarray) -> "Scores":
        """The rows at `places` (an index array), in that order."""
        lengths = np.diff(self.offsets)[places]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        units = np.repeat(self.offsets[places] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Scores(tuple(self.ids[place] for place in places), offsets, self.values[units])

    def ordered(self, ids: Sequence[str]) -> "Scores":
        """The rows of the given ids, in their order. Raises DataError when one is missing."""
        place = {name: number for number, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise DataError(f"no scores for {len(missing)} rows, the first is {missing[0]!r}",
                            action="the data changed since training: run train again with a new run=NAME")  # fmt: skip
        return self.take(np.array([place[name] for name in ids], dtype=np.int64))

    def with_values(self, values: np.ndarray) -> "Scores":
        """The same rows with other values (units, outputs)."""
        return Scores(self.ids, self.offsets, values.astype(np.float32))

    def save(self, path: Path) -> None:
        """Writes a parquet file, one line a row: id, outputs, scores (flat list)."""
        width = self.values.shape[1]
        rows = [self.values[a:b].reshape(-1) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]
        with atomic_path(path) as draft:
            pd.DataFrame({"id": list(self.ids), "outputs": width, "scores": rows}).to_parquet(draft, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> "Scores":
        """Reads what `save` wrote. Raises DataError when the file is absent."""
        table = pd.read_parquet(existing(path, "scores of a finished unit", "run the train stage first"))
        width = int(table["outputs"].iloc[0]) if len(table) else 1
        return cls.of(table["id"].tolist(), [row.reshape(-1, width) for row in table["scores"]])


def join(parts: Sequence[Scores]) -> Scores:
    """Several disjoint sets of rows as one, e.g. the held-out rows of every fold."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Scores(
        tuple(name for part in parts for name in part.ids),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part.values for part in parts]),
    )


def average(parts: Sequence[Scores]) -> Scores:
    """The mean of several scores of the same rows, e.g. of every fold's model on the test rows."""
    return parts[0].with_values(np.mean([part.values for part in parts], axis=0))
