"""A model whose linear layers are multiplied elsewhere says what it says by itself."""

import pytest
import torch
from torch import nn

from common.training import fast_linear
from common.training.fast_linear import fast_linears


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(fast_linear, "wanted", lambda: True)


class Double(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@torch.no_grad()
def test_outputs_are_those_of_the_model_itself():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 3, bias=False), Double(3, 5))
    for shape in ((7, 24), (2, 3, 24), (1, 24), (0, 24)):
        x = torch.randn(shape)
        expected = model(x)
        with fast_linears(model) as changed:
            assert changed == 2, "a subclass keeps its own way"
            found = model(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(model(x), expected) and "forward" not in vars(model[0])


@torch.no_grad()
def test_other_precisions_stay_where_they_were():
    model, x = nn.Linear(8, 4), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(x)
        with fast_linears(model):
            assert torch.equal(model(x), expected)
    with fast_linears(model.bfloat16()) as changed:
        assert changed == 0


def test_training_stays_as_it_is():
    with fast_linears(nn.Linear(8, 4)) as changed:
        assert changed == 0


@torch.no_grad()
def test_an_error_inside_leaves_nothing_behind():
    model = nn.Linear(8, 4)
    with pytest.raises(RuntimeError, match="cut off"), fast_linears(model):
        raise RuntimeError("cut off")
    assert "forward" not in vars(model)
