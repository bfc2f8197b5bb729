"""A tiny contest for the stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.config import typed
from common.contest import RunConfig
from tests.common.toy import ToyContest, toy_rows, write_toy


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., ToyContest]:
    """Makes the contest with settings over these: 3 folds, two members, 120 training and 30 test rows."""
    data = tmp_path / "data"
    write_toy(data / "train.jsonl", toy_rows(120, 1))
    write_toy(data / "test.jsonl", toy_rows(30, 2).drop(columns="label"))

    def make(**settings: Any) -> ToyContest:
        values = {
            "data_dir": str(data), "output_dir": str(tmp_path / "run"), "folds": 3, "use": ["a", "b"], "workers": 1,
            "members": {"a": {"kind": "one_feature"}, "b": {"kind": "one_feature", "feature": "x1"}},
        }  # fmt: skip
        return ToyContest(typed(RunConfig, values | settings))

    return make
