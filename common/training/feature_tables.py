"""Feature tables made a piece at a time, and kept on disk where the process has a cache."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset

from common.cache import code_version, content_of, fingerprint, kept

PIECE = 8192  # rows whose features are in memory at once
BLOCK = 512  # rows of a block of the file: what is read for one of them
CODE = ("common/text", "common/training", "competitions")
Features = Callable[[pd.DataFrame, bool], tuple[Dataset, np.ndarray]]


def feature_table(
    rows: pd.DataFrame, labelled: bool, features: Features, settings: str | None
) -> tuple[Dataset, np.ndarray]:
    """The feature table of rows, with the rows that its features belong to: (features,), or the first column of them.

    rows: their texts and what else the features are made of. features: makes the table of some rows, each row's alone.
    settings: a fingerprint of all else that decides them; None for what is never kept. From the cache a table comes as
    a file mapped into memory, whose pages the system gives back when it needs them.
    """

    def make(folder: Path) -> None:
        _write(folder, rows, labelled, features)

    found = None
    if settings is not None and len(rows):
        found = kept("features", lambda: fingerprint(settings, labelled, content_of(rows), code_version(*CODE)),
                     make, _read)  # fmt: skip
    return features(rows, labelled) if found is None else found


def _write(folder: Path, rows: pd.DataFrame, labelled: bool, features: Features) -> None:
    try:
        _write_pieces(folder, rows, labelled, features, PIECE)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # The first rows have no value in a column of lists, and so do not tell what kind it is of.
        _write_pieces(folder, rows, labelled, features, len(rows))


def _write_pieces(folder: Path, rows: pd.DataFrame, labelled: bool, features: Features, size: int) -> None:
    owners, schema, writer = [], None, None
    with pa.OSFile(str(folder / "features.arrow"), "wb") as sink:
        for begin in range(0, len(rows), size):
            table, own = features(rows.iloc[begin : begin + size].reset_index(drop=True), labelled)
            if writer is None:
                schema = table.features.arrow_schema
                writer = pa.RecordBatchStreamWriter(sink, schema)
            own = own.copy()
            (own if own.ndim == 1 else own[:, 0])[:] += begin
            owners.append(own)
            for batch in table.data.table.cast(schema).combine_chunks().to_batches(max_chunksize=BLOCK):
                writer.write_batch(batch)
        writer.close()
    np.save(folder / "owners.npy", np.concatenate(owners), allow_pickle=False)


def _read(folder: Path) -> tuple[Dataset, np.ndarray]:
    return Dataset.from_file(str(folder / "features.arrow")), np.load(folder / "owners.npy", allow_pickle=False)
