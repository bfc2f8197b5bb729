"""Fast dropout drops what torch's drops: the same share, the same mean, the same masks for the same seed."""

import pytest
import torch
from torch import nn

from common.training.fast_dropout import ATTENTION, FastDropout, drop, use_fast_dropout
from models.classifiers import Classifier
from models.encoders import encoder_from_config

TINY = {"model_type": "bert", "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32}  # fmt: skip


def head(**settings: float) -> nn.Module:
    torch.manual_seed(0)
    return Classifier.from_encoder(encoder_from_config({**TINY, **settings}), classes=["a", "b"])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale_are_those_of_dropout(share, dtype):
    torch.manual_seed(1)
    dropped = drop(torch.ones(1000, 301, dtype=dtype), share)
    assert dropped.dtype == dtype
    # 301,000 draws: five standard deviations of the share are under 0.005.
    assert abs((dropped == 0).float().mean().item() - share) < 0.005
    assert abs(dropped.float().mean().item() - 1) < 0.05
    kept = dropped[dropped != 0].unique()
    torch.testing.assert_close(kept, torch.tensor([1 / (1 - share)], dtype=dtype), rtol=1e-3 if share < 0.9 else 1e-2,
                               atol=0)  # fmt: skip


def test_values_are_dropped_independently_of_their_neighbours():
    torch.manual_seed(2)
    lost = (drop(torch.ones(400_001), 0.3) == 0).float()
    for distance in (1, 2, 4, 16):
        together = (lost[distance:] * lost[:-distance]).mean().item()
        assert abs(together - 0.09) < 0.005, distance


def test_the_seed_decides_the_mask_and_the_next_call_has_another():
    x = torch.ones(64, 64)
    torch.manual_seed(3)
    first, second = drop(x, 0.5), drop(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(drop(x, 0.5), first) and not torch.equal(first, second)


def test_gradients_reach_what_was_kept():
    x = torch.ones(8, 8, requires_grad=True)
    y = drop(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert drop(x, 0.0) is x and not drop(x, 1.0).any()


def test_every_dropout_of_a_head_is_changed_and_nothing_that_is_saved(tmp_path):
    model = head()
    names, settings = list(model.state_dict()), model.config.to_json_string()
    assert use_fast_dropout(model) > 4 and use_fast_dropout(model) == 0
    assert not [module for module in model.modules() if type(module) is nn.Dropout]
    assert list(model.state_dict()) == names and model.config.to_json_string() == settings
    assert model.encoder.config._attn_implementation == ATTENTION
    model.save_pretrained(tmp_path)
    assert Classifier.from_pretrained(tmp_path).encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("training", [False, True])
def test_without_dropout_the_model_says_what_it_said_before(training):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    before, after = head(**settings).train(training), head(**settings).train(training)
    before.dropout.dropout.p = after.dropout.dropout.p = 0.0
    use_fast_dropout(after)
    ids = torch.randint(5, 30, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [1]])).long()
    for batch in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}):
        torch.testing.assert_close(after(**batch).logits, before(**batch).logits, rtol=1e-5, atol=1e-6)


def test_a_checkpointed_layer_gets_its_mask_again():
    torch.manual_seed(4)
    layer, x = FastDropout(0.5), torch.ones(4, 8, requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(lambda x: layer(x) ** 2, x, use_reentrant=False)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
