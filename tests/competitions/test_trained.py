"""The head of a finished unit is what training saved; what has none says so."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.config import ConfigError
from common.files import DataError
from competitions.launch import launch
from competitions.trained import trained_head
from tests.competitions.conftest import ROOT

SAMPLE = ROOT / "competitions" / "chnsenticorp" / "sample"


def test_the_head_of_a_unit_has_the_weights_that_training_saved(tmp_path: Path) -> None:
    words = [f"data_dir={SAMPLE}", f"output_dir={tmp_path}", "workers=1", "folds=2", "use=[classifier,tfidf]",
             "encoder=", "members.classifier.training.max_steps=2"]  # fmt: skip
    for unit in ("classifier/fold-1", "tfidf/fold-0"):
        launch("chnsenticorp", "train", [], [*words, f"only={unit}"])
    head = trained_head("chnsenticorp", str(tmp_path), "classifier/fold-1")
    saved = load_file(tmp_path / "classifier/fold-1/seed-1/model/model.safetensors")
    assert not head.training and saved.keys() == head.state_dict().keys()
    assert all(torch.equal(value, saved[name]) for name, value in head.state_dict().items())
    with pytest.raises(DataError, match=r"fold-0/seed-1/unit.json.*a unit that is finished"):
        trained_head("chnsenticorp", str(tmp_path))
    with pytest.raises(ConfigError, match="tfidf is without a torch module"):
        trained_head("chnsenticorp", str(tmp_path), "tfidf")
    with pytest.raises(ConfigError, match="names no unit"):
        trained_head("chnsenticorp", str(tmp_path), "naive_bayes")
