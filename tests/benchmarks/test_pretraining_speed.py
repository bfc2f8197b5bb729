"""The pretraining benchmark runs on any text, counts tokens of text alone and leaves nothing behind."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.pretraining_speed import WARM_UP, counted, main
from tests.competitions.pretraining_text import write_text

TINY = [
    "architecture.hidden_size=16", "architecture.num_hidden_layers=1", "architecture.num_attention_heads=2",
    "architecture.intermediate_size=16", "batch_tokens=128", "max_length=16", "steps=2", "turns=1",
    "precisions=[fp32]",
]  # fmt: skip


def test_both_sides_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = write_text(tmp_path / "text.txt", lines=400)
    threads = torch.get_num_threads()
    try:
        assert main([f"corpus={text}", f"out={tmp_path / 'found.json'}", *TINY]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "found.json").read_text())["fp32"]
    assert found["ours"][0] > 0 and found["theirs"][0] > 0
    assert found["ratio"] == pytest.approx(found["ours"][0] / found["theirs"][0])
    assert "ratio" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "text.txt"]


def test_tokens_are_counted_after_the_warm_up_without_special_ones_and_padding() -> None:
    class Plain:
        def training_step(self, model, inputs, *args):
            return None

        def train(self):
            for _ in range(WARM_UP + 3):
                self.training_step(None, {"input_ids": torch.tensor([[2, 7, 8, 3, 0], [2, 7, 8, 9, 3]])})

    trainer = counted(Plain)()
    trainer.ordinary = lambda ids: ids > 4
    times = iter((10.0, 14.0))
    trainer.clock = lambda: next(times)
    assert trainer.rate() == 3 * 5 / 4.0


def test_a_wrong_key_is_one_clear_error(capsys) -> None:
    assert main(["step=3"]) == 2
    assert "unknown config key 'step': did you mean 'steps'" in capsys.readouterr().err
