"""The Trainer trains with the kit's order, rates and metric, and stops, restores and resumes as it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback, set_seed

from common.training.arguments import TrainingConfig, training_arguments
from common.training.prepared_text import PreparedText
from common.training.trainer import FoldTrainer, predict_rows
from tests.common.training.tiny import COLLATOR, accuracy, fast, feature_rows, states, tagger


def trainer_of(config: TrainingConfig, folder: Path, evaluate=None, kind: str = "recurrent", rows=None) -> FoldTrainer:
    set_seed(5)
    model, rows = tagger(kind), feature_rows() if rows is None else rows
    evaluate = evaluate or (lambda model: {"score": accuracy(model, rows)})
    return FoldTrainer(model, config, training_arguments(config, folder, seed=5), rows, COLLATOR, evaluate)


class Scripted:
    """A held-out metric that is read from a list, and the weights it was asked for."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.weights = list(scores), []

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        self.weights.append(states(model))
        return {"score": self.scores[len(self.weights) - 1]}


class Batches(TrainerCallback):
    """The learning rates at the end of each step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name].cpu()), name


def test_training_learns_what_there_is_to_learn(tmp_path):
    rows, trainer = feature_rows(), trainer_of(fast(epochs=8), tmp_path)
    assert accuracy(trainer.model, rows) < 0.8
    trainer.train()
    assert accuracy(trainer.model, rows) > 0.95


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 30}], ids=str)
def test_each_epoch_has_an_order_of_its_own_and_each_row_once(tmp_path, settings):
    seen: list[int] = []
    rows = feature_rows(20)
    rows = rows.add_column("place", list(range(20)))
    trainer = trainer_of(fast(epochs=3, **settings), tmp_path, lambda model: {"score": 0.0}, rows=rows)
    collate = trainer.data_collator

    def spy(batch):
        seen.extend(row.pop("place") for row in batch)
        return collate(batch)

    trainer.data_collator = spy
    trainer.train()
    epochs = [seen[begin : begin + 20] for begin in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_keep_decides_whose_weights_are_left(tmp_path, keep, epoch):
    judge = Scripted(0.3, 0.9, 0.9, 0.1)
    trainer = trainer_of(fast(epochs=4, keep=keep), tmp_path, judge)
    trainer.train()
    assert len(judge.weights) == 4 and trainer.state.best_metric == 0.9
    assert_same(judge.weights[epoch], trainer.model.state_dict())
    others = [number for number in range(4) if number != epoch]
    name = "classifier.weight"
    assert not any(torch.equal(judge.weights[other][name], judge.weights[epoch][name]) for other in others)


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [(2, [0.5, 0.4, 0.5, 0.9, 0.9], 3), (2, [0.1, 0.2, 0.1, 0.3, 0.1, 0.1, 0.9], 6), (0, [0.5, 0.1, 0.1, 0.1, 0.1], 5)],
)
@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_after_as_many_epochs_without_gain_as_it_has_patience(tmp_path, patience, scores, epochs, keep):
    judge = Scripted(*scores)
    trainer_of(fast(epochs=len(scores), patience=patience, keep=keep), tmp_path, judge).train()
    assert len(judge.weights) == epochs


def test_what_was_cut_off_after_its_last_step_takes_no_other(tmp_path):
    config = fast(epochs=4, max_steps=7)
    whole = trainer_of(config, tmp_path)
    whole.train()
    again = trainer_of(config, tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert again.state.global_step == 7
    assert_same(states(whole.model), states(again.model))


def test_a_plateau_halves_every_rate_after_an_epoch_without_gain(tmp_path):
    callback = Batches()
    trainer = trainer_of(fast(epochs=5, schedule="plateau"), tmp_path, Scripted(0.1, 0.3, 0.2, 0.4, 0.4))
    trainer.add_callback(callback)
    trainer.train()
    steps = len(callback.rates) // 5
    first = callback.rates[0]
    factors = [np.divide(callback.rates[epoch * steps], first).tolist() for epoch in range(5)]
    assert factors == [[1.0] * len(first)] * 3 + [[0.5] * len(first)] * 2


def test_a_linear_schedule_warms_up_and_ends_at_zero(tmp_path):
    callback = Batches()
    trainer = trainer_of(fast(epochs=4, warmup=0.25), tmp_path, lambda model: {"score": 0.0})
    trainer.add_callback(callback)
    trainer.train()
    rates = np.array(callback.rates)[:, 0]
    peak = len(rates) // 4 - 1
    assert rates.argmax() == peak and rates[-1] == 0
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) < 0).all()


def test_accumulated_batches_are_one_larger_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(FoldTrainer, "_get_train_sampler", lambda self, dataset: SequentialSampler(dataset))
    weights = []
    # Rows of one length, so that the mean of two batches' mean losses is the mean of the larger batch.
    rows = feature_rows(400)
    rows = rows.select([place for place, length in enumerate(rows["length"]) if length == 6][:32])
    for name, size, accumulation in (("whole", 8, 1), ("halves", 4, 2)):
        config = fast(epochs=1, batch_size=size, accumulation=accumulation, group_by_length=False, schedule="constant")
        trainer = trainer_of(config, tmp_path / name, lambda model: {"score": 0.0}, rows=rows)
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer.train()
        weights.append(states(trainer.model))
        assert trainer.state.global_step == 4
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-4), name


def test_gradient_checkpointing_gives_the_same_loss_and_weights(tmp_path):
    found = []
    for checkpointing in (False, True):
        config = fast(epochs=1, gradient_checkpointing=checkpointing, layer_decay=0.9)
        trainer = trainer_of(config, tmp_path / str(checkpointing), lambda model: {"score": 0.0}, kind="bert")
        calls: list[int] = []
        layer = trainer.model.encoder.encoder.layer[0]
        layer.attention.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        result = trainer.train()
        found.append((result.training_loss, states(trainer.model), len(calls)))
    (plain, weights, once), (same, other, twice) = found
    # Dropout is drawn again from the same state, so that even the weights agree; each layer runs once more.
    assert twice == 2 * once
    assert same == pytest.approx(plain, abs=1e-6)
    for name, value in weights.items():
        assert torch.allclose(value, other[name], atol=1e-6), name


def test_the_optimizer_state_is_read_without_pickle(tmp_path, monkeypatch):
    trainer_of(fast(epochs=1, keep="last"), tmp_path).train()
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    load, read = torch.load, []

    def careful(file, *arguments, weights_only=None, **settings):
        assert weights_only is True
        read.append(Path(file).name)
        return load(file, *arguments, weights_only=True, **settings)

    monkeypatch.setattr(torch, "load", careful)
    trainer_of(fast(epochs=2, keep="last"), tmp_path).train(resume_from_checkpoint=str(checkpoint))
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= {*read}
    assert (checkpoint / "model.safetensors").exists() or not checkpoint.exists()


def test_predictions_come_in_the_order_of_rows_whatever_the_batches():
    model, rows = tagger().train(), feature_rows(30)

    def forward(model, batch):
        assert not model.training and not torch.is_grad_enabled() and "length" not in batch
        sizes.append(batch["input_ids"].numel())
        lengths = batch["attention_mask"].sum(1).tolist()
        logits = model(**batch).logits.cpu().numpy()
        return [row[:length] for row, length in zip(logits, lengths, strict=True)]

    sizes: list[int] = []
    found = predict_rows(model, PreparedText(rows, COLLATOR, tokens=40), forward)
    assert model.training and max(sizes) <= 40 and len(sizes) > 3
    alone = [predict_rows(model, PreparedText(rows.select([place]), COLLATOR), forward)[0] for place in range(30)]
    for one, other, length in zip(found, alone, rows["length"], strict=True):
        assert one.shape == other.shape == (length, 3) and np.allclose(one, other, atol=1e-5)


def test_no_rows_have_no_predictions():
    assert predict_rows(tagger(), PreparedText(feature_rows(3).select([]), COLLATOR), lambda model, batch: []) == []
