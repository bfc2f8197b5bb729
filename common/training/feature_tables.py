"""Feature tables made a piece at a time, and kept on disk where the process has a cache."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint

from common.cache import code_version, content_of, fingerprint, kept

PIECE = 1024  # rows whose features are in memory at once
CODE = ("common/text", "common/training", "competitions")
NARROW = {"input_ids": np.int32, "attention_mask": np.int8, "token_type_ids": np.int8}  # as datasets itself has them
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


def table_of(columns: dict[str, Any]) -> Dataset:
    """`Dataset.from_dict`, where rows are arrays without looking at each of them.

    columns: a list of one array a row, all of one type, becomes a column of lists; an array becomes a column without
    being copied; anything else is as in `from_dict`.
    """
    made = {}
    for name, values in columns.items():
        if isinstance(values, list) and len({_kind(row) for row in values}) == 1 and _kind(values[0])[0] == 1:
            stops = np.cumsum([0, *map(len, values)], dtype=np.int32)
            flat = np.concatenate(values)
            made[name] = pa.ListArray.from_arrays(stops, flat.astype(NARROW.get(name, flat.dtype)))
        elif isinstance(values, np.ndarray) and values.ndim == 1:
            made[name] = pa.array(values)
        else:
            made[name] = Dataset.from_dict({name: values}).data.column(0).combine_chunks()
    # Without a name of its own a Dataset would take the digest of all that it holds.
    return Dataset(pa.table(made), fingerprint=generate_random_fingerprint())


def _kind(row: Any) -> tuple[int, Any]:
    return (row.ndim, row.dtype) if isinstance(row, np.ndarray) else (0, None)


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
            writer.write_table(table.data.table.cast(schema).combine_chunks())
        writer.close()
    np.save(folder / "owners.npy", np.concatenate(owners), allow_pickle=False)


def _read(folder: Path) -> tuple[Dataset, np.ndarray]:
    return Dataset.from_file(str(folder / "features.arrow")), np.load(folder / "owners.npy", allow_pickle=False)
