"""Averages are the means that their papers say, are what is scored and saved, and survive a kill."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from common.files import DataError
from common.training.averaging import WeightAverage, soup
from common.training.tricks import AveragingConfig
from tests.common.training.tiny import states, tagger


def trained(config: AveragingConfig, values: list[float], steps_an_epoch: int = 2) -> WeightAverage:
    model = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(model, config)
    for step, value in enumerate(values, start=1):
        model.weight.data.fill_(value)
        average.after_step(step, len(values), steps_an_epoch)
    return average


def test_ema_weighs_steps_by_powers_of_its_decay_and_not_what_was_before_training():
    values, decay = [3.0, -1.0, 4.0, 10.0], 0.9
    powers = [decay ** (len(values) - 1 - place) for place in range(len(values))]
    expected = sum(value * power for value, power in zip(values, powers, strict=True)) / sum(powers)
    average = trained(AveragingConfig("ema", decay=decay), values)
    assert float(average.average["weight"]) == pytest.approx(expected, rel=1e-12)
    assert float(trained(AveragingConfig("ema", decay=1.0), values).average["weight"]) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"last": 2}, [4, 6]),
        ({"last": 9}, [2, 4, 6]),
        ({"last": 2, "every": 1}, [5, 6]),
        ({"last": 1, "every": 4}, [4]),
    ],
)
def test_swa_is_the_mean_of_the_last_snapshots(settings, taken):
    average = trained(AveragingConfig("swa", **settings), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert float(average.average["weight"]) == pytest.approx(sum(taken) / len(taken))
    assert average.count == len(taken)


def test_an_epoch_that_is_cut_short_has_a_snapshot_too():
    average = trained(AveragingConfig("swa", last=2), [1.0, 2.0, 3.0, 4.0, 5.0])
    assert float(average.average["weight"]) == pytest.approx(4.5)


def test_a_look_at_the_average_leaves_the_weights_bit_for_bit():
    average = trained(AveragingConfig("ema"), [0.1, 0.7])
    model = average.parameters["weight"]
    before, mean = model.detach().clone(), average.average["weight"].clone()
    with average:
        assert torch.equal(model, mean)
    assert torch.equal(model, before) and torch.equal(average.average["weight"], mean)


def test_an_average_is_read_as_it_was_written(tmp_path):
    average = trained(AveragingConfig("ema", decay=0.5), [1.0, 2.0, 5.0])
    average.save(tmp_path)
    again = WeightAverage(nn.Linear(1, 1, bias=False).double(), AveragingConfig("ema", decay=0.5))
    again.load(tmp_path)
    assert again.count == 3 and torch.equal(again.average["weight"], average.average["weight"])


def test_a_soup_is_the_mean_of_saved_models_and_a_model_itself(tmp_path):
    models = [tagger(seed=seed, head="crf") for seed in (1, 2, 3)]
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / str(number))
    soup([tmp_path / str(number) for number in range(3)], tmp_path / "soup")
    mean = states(type(models[0]).from_pretrained(tmp_path / "soup"))
    for name, value in mean.items():
        parts = torch.stack([states(model)[name].double() for model in models])
        assert torch.allclose(value.double(), parts.mean(0), atol=1e-7), name
    assert (
        load_file(tmp_path / "soup" / "model.safetensors").keys()
        == load_file(tmp_path / "0" / "model.safetensors").keys()
    )


def test_models_that_do_not_fit_make_no_soup(tmp_path):
    tagger().save_pretrained(tmp_path / "one")
    tagger("bert").save_pretrained(tmp_path / "two")
    with pytest.raises(DataError, match="do not fit those of"):
        soup([tmp_path / "one", tmp_path / "two"], tmp_path / "soup")
