"""The rows that every stage of a run works on, read and cut the same way each time."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from common.contest import Contest
from common.files import DataError
from common.run import table_digest, unique_ids


@dataclass(frozen=True)
class Rows:
    """Training rows with their folds, and test rows.

    digest: a fingerprint of both tables and the folds; units trained on other data are not mixed in.
    """

    train: pd.DataFrame
    folds: np.ndarray
    test: pd.DataFrame
    digest: str


def read_rows(contest: Contest) -> Rows:
    """Reads and validates everything a run needs. Raises DataError before any work is done."""
    train, test = (
        unique_ids(thinned(whole(contest, table), contest.config.max_rows), contest.config.data_dir)
        for table in (contest.read_train(), contest.read_test())
    )
    try:
        folds = contest.folds(train)
    except ValueError as error:
        raise DataError(str(error), contest.config.data_dir, action="lower folds= or add training data") from None
    return Rows(train, folds, test, table_digest(train, test, pd.DataFrame({"fold": folds})))


def whole(contest: Contest, table: pd.DataFrame) -> pd.DataFrame:
    """`table` when it has the contest's columns. Raises DataError naming the first that its reader left out."""
    for column in contest.columns:
        if column not in table:
            raise DataError(f"the tables of {type(contest).__name__} have no column {column!r}",
                            expected=f"the columns {', '.join(contest.columns)}",
                            action="add it in read_train and read_test")  # fmt: skip
    return table


def unlabelled(contest: Contest) -> Iterable[Any]:
    """The contest's unlabelled text, which can be read as often as needed; its first rows alone in a smoke run."""
    texts = contest.unlabelled()
    return list(islice(texts, contest.config.max_rows)) if contest.config.smoke else texts


def thinned(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows, evenly spaced so that every part of the file is seen; 0 keeps all."""
    if not most or len(rows) <= most:
        return rows.reset_index(drop=True)
    return rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)].reset_index(drop=True)
