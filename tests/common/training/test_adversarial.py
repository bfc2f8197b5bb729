"""Attacks move what they say, where the loss is higher, and put every weight back bit for bit."""

import pytest
import torch
from torch import nn

from common.config import ConfigError
from common.training.adversarial import attack_of, find_targets, kept, project, unit
from common.training.losses import divergence
from common.training.tricks import AdversarialConfig
from tests.common.training.tiny import tagger


class Toy(nn.Module):
    """Rows of token ids -> embeddings -> a curved score of each row, in float64 and without dropout."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.weight = nn.Embedding(7, 3), nn.Parameter(torch.randn(3, 4))
        self.dropout = nn.Dropout(dropout)
        self.double()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))

    def head(self, embedded: torch.Tensor) -> torch.Tensor:
        return (self.dropout(embedded).tanh().sum(1) @ self.weight).log_softmax(-1)


IDS, GOLD = torch.tensor([[1, 2, 2], [4, 5, 6]]), torch.tensor([0, 3])


class ToyPasses:
    """Each pass's loss, weight and the model as it was."""

    def __init__(self, model: Toy) -> None:
        self.model, self.seen = model, []

    def loss(self, log_p: torch.Tensor, against: torch.Tensor | None) -> torch.Tensor:
        return nll(log_p) if against is None else divergence(against, log_p).mean()

    def backward(self, last, weight=1.0, against=None):
        log_p = self.model(IDS)
        self.log_p, loss = log_p.detach(), self.loss(log_p, against)
        (weight * loss).backward()
        self.seen.append({"loss": float(loss.detach()), "weight": weight, "last": last, "log_p": log_p.detach(),
                          "table": self.model.table.weight.detach().clone()})  # fmt: skip
        return loss.detach()

    def gradient(self, tensors, against=None):
        # Half precision scales the loss: neither directions nor sizes may depend on it.
        return list(torch.autograd.grad(self.loss(self.model(IDS), against) * 65536.0, tensors, allow_unused=True))

    def predicted(self):
        return self.log_p


def nll(log_p: torch.Tensor) -> torch.Tensor:
    return -log_p.gather(1, GOLD[:, None]).mean()


def gradients(loss: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, tensors, retain_graph=True))


def attacked(model: Toy | None = None, **settings) -> tuple[Toy, ToyPasses, list[torch.Tensor], torch.Tensor]:
    """A toy after one attacked step: with its passes, the gradients it was left with, and the step's loss."""
    model = model or Toy()
    before = [value.detach().clone() for value in model.parameters()]
    passes = ToyPasses(model)
    loss = attack_of(AdversarialConfig(**settings), model).step(passes)
    assert all(torch.equal(value, other) for value, other in zip(model.parameters(), before, strict=True))
    assert [one["last"] for one in passes.seen] == [False] * (len(passes.seen) - 1) + [True]
    return model, passes, [value.grad.clone() for value in model.parameters()], loss


def at(offset_table=0.0, offset_weight=0.0, offset_output=0.0) -> tuple[float, list[torch.Tensor]]:
    """The loss and both gradients of a toy that was moved."""
    toy = Toy()
    with torch.no_grad():
        toy.table.weight += offset_table
        toy.weight += offset_weight
    loss = nll(toy.head(toy.table(IDS) + offset_output))
    return loss.item(), gradients(loss, toy.table.weight, toy.weight)


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12), (one, other)


def test_fgm_adds_the_gradient_at_the_table_moved_along_its_own_gradient():
    toy, passes, found, loss = attacked(kind="fgm", epsilon=0.7)
    clean, (table, weight) = at()
    moved, (table_there, weight_there) = at(0.7 * table / table.norm())
    assert_close(found, [weight + weight_there, table + table_there])
    assert float(loss) == pytest.approx(clean) and moved > clean
    assert [one["loss"] for one in passes.seen] == pytest.approx([clean, moved])
    assert not torch.equal(passes.seen[1]["table"], toy.table.weight)


def test_pgd_climbs_in_steps_and_stays_within_its_ball():
    _, passes, found, _ = attacked(kind="pgd", epsilon=0.5, step_size=0.3, steps=3)
    _, (table, weight) = at()
    offset = torch.zeros_like(table)
    for _ in range(3):
        _, (gradient, _) = at(offset)
        offset = offset + 0.3 * gradient / gradient.norm()
        offset = offset * min(1.0, 0.5 / float(offset.norm()))
    assert float(offset.norm()) == pytest.approx(0.5)
    loss, (table_there, weight_there) = at(offset)
    assert_close(found, [weight + weight_there, table + table_there])
    assert passes.seen[-1]["loss"] == pytest.approx(loss) and loss > passes.seen[0]["loss"]


@pytest.mark.parametrize("weight_of_loss", [1.0, 0.4])
def test_awp_moves_each_weight_by_a_share_of_its_norm(weight_of_loss):
    _, passes, found, _ = attacked(kind="awp", target="weight", epsilon=0.02, weight=weight_of_loss)
    toy = Toy()
    _, (table, weight) = at()
    there = at(0.02 * toy.table.weight.detach().norm() * table / table.norm(),
               0.02 * toy.weight.detach().norm() * weight / weight.norm())[1]  # fmt: skip
    assert_close(found, [weight + weight_of_loss * there[1], table + weight_of_loss * there[0]])
    assert passes.seen[1]["loss"] > passes.seen[0]["loss"]


def test_sam_uses_only_the_gradient_at_the_moved_weights():
    _, passes, found, _ = attacked(kind="sam", epsilon=0.1)
    _, (table, weight) = at()
    norm = (table.square().sum() + weight.square().sum()).sqrt()
    loss, there = at(0.1 * table / norm, 0.1 * weight / norm)
    assert_close(found, there[::-1])
    assert [one["loss"] for one in passes.seen] == pytest.approx([loss])


@pytest.mark.parametrize(("kind", "steps"), [("fgm", 1), ("pgd", 2)])
def test_on_what_the_embeddings_give_each_row_has_its_own_ball(kind, steps):
    _, passes, found, _ = attacked(kind=kind, target="embedding_output", epsilon=0.5, step_size=0.5, steps=steps)
    toy, (_, clean) = Toy(), at()
    offset = torch.zeros(2, 3, 3, dtype=torch.float64)
    for _ in range(steps):
        offset.requires_grad_()
        (gradient,) = gradients(nll(toy.head(toy.table(IDS) + offset)), offset)
        offset = offset.detach() + 0.5 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
        offset = offset * (0.5 / offset.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None]
    loss, there = at(offset_output=offset)
    assert_close(found, [clean[1] + there[1], clean[0] + there[0]])
    assert passes.seen[-1]["loss"] == pytest.approx(loss) and loss > passes.seen[0]["loss"]


def test_freelb_averages_the_gradients_of_all_its_points():
    toy = Toy()
    torch.manual_seed(4)
    _, passes, found, loss = attacked(toy, kind="freelb", epsilon=0.4, step_size=0.3, steps=3, init=0.2)
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    offset = torch.empty(2, 3, 3, dtype=torch.float64).uniform_(-1, 1, generator=generator) * 0.2 / 3
    assert (offset.flatten(1).norm(dim=1) <= 0.2).all()
    losses, total = [], [torch.zeros_like(value) for value in toy.parameters()]
    for _ in range(3):
        offset = offset.detach().requires_grad_()
        here = nll(toy.head(toy.table(IDS) + offset))
        own = gradients(here, *toy.parameters(), offset)
        losses.append(here.item())
        total = [old + new / 3 for old, new in zip(total, own, strict=False)]
        offset = offset.detach() + 0.3 * own[-1] / own[-1].flatten(1).norm(dim=1)[:, None, None]
        offset = offset * (0.4 / offset.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None]
    assert_close(found, total)
    assert [one["loss"] for one in passes.seen] == pytest.approx(losses) and losses[0] < losses[1] < losses[2]
    assert float(loss) == pytest.approx(losses[0])


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_virtual_attack_finds_the_way_in_which_predictions_change_fastest(normalise, steps):
    toy = Toy()
    torch.manual_seed(2)
    settings = {"kind": "vat", "epsilon": 0.3, "init": 0.01, "normalise": normalise, "steps": steps, "weight": 0.5}
    _, passes, found, loss = attacked(toy, **settings)
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    embedded, clean = toy.table(IDS), toy(IDS).detach()
    spread = (embedded.detach().var(-1, keepdim=True, unbiased=False) + 1e-7).sqrt() if normalise else 1.0

    def sphere(value, radius):
        return radius * value / value.flatten(1).norm(dim=1)[:, None, None]

    way = sphere(torch.empty(2, 3, 3, dtype=torch.float64).normal_(generator=generator), 0.01)
    for step in range(steps):
        way = way.detach().requires_grad_()
        (gradient,) = gradients(divergence(clean, toy.head(embedded + way * spread)).mean(), way)
        way = sphere(gradient, 0.3 if step == steps - 1 else 0.01)
    there = divergence(clean, toy.head(embedded + way * spread)).mean()
    own = [one + 0.5 * two for one, two in zip(gradients(nll(toy(IDS)), *toy.parameters()),
                                               gradients(there, *toy.parameters()), strict=True)]  # fmt: skip
    assert_close(found, own)
    # A random direction of the same length changes them less.
    random = divergence(clean, toy.head(embedded + sphere(torch.randn(2, 3, 3).double(), 0.3) * spread)).mean()
    assert passes.seen[-1]["loss"] == pytest.approx(float(there)) and there > random and float(loss) == at()[0]


@pytest.mark.parametrize("kind", ["freelb", "vat"])
def test_all_points_have_the_same_dropout_and_the_next_step_another(kind):
    model = Toy(dropout=0.5)
    drawn: list[torch.Tensor] = []
    model.dropout.register_forward_hook(lambda module, inputs, output: drawn.append(output.detach() == 0))
    attacked(model, kind=kind, steps=2)
    first = len(drawn)
    assert first >= 2 and all(torch.equal(mask, drawn[0]) for mask in drawn)
    attacked_again = attack_of(AdversarialConfig(kind=kind, steps=2), model)
    attacked_again.step(ToyPasses(model))
    assert not torch.equal(drawn[0], drawn[first])


def test_gradients_of_earlier_batches_stay_and_do_not_change_the_way():
    toy = Toy()
    for value in toy.parameters():
        value.grad = torch.full_like(value, 100.0)
    _, _, found, _ = attacked(toy, kind="fgm", epsilon=0.7)
    _, _, alone, _ = attacked(kind="fgm", epsilon=0.7)
    assert_close(found, [value + 100.0 for value in alone])


def test_weights_come_back_even_when_a_pass_fails():
    toy = Toy()
    before = toy.table.weight.detach().clone()
    with pytest.raises(RuntimeError), kept([toy.table.weight]):
        with torch.no_grad():
            toy.table.weight.add_(1e-3).sub_(1e-3).add_(1.0)
        raise RuntimeError
    assert torch.equal(toy.table.weight, before)


def test_a_direction_is_safe_from_zeros_overflow_and_infinities():
    assert torch.equal(unit(torch.zeros(3)), torch.zeros(3))
    assert torch.allclose(unit(torch.tensor([3e38, 4e37])).norm(), torch.tensor(1.0))
    assert unit(torch.tensor([float("inf"), 1.0])).isfinite().all() and unit(torch.tensor([float("nan")])) == 0
    rows = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), rows=True)
    assert torch.allclose(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert torch.equal(project(torch.tensor([0.3, 0.4]), 1.0), torch.tensor([0.3, 0.4]))
    assert torch.allclose(project(torch.tensor([3.0, 4.0]), 1.0), torch.tensor([0.6, 0.8]))


def test_word_embeddings_are_found_whatever_a_family_calls_them():
    for kind, name in (
        ("recurrent", "encoder.embeddings.weight"),
        ("bert", "encoder.embeddings.word_embeddings.weight"),
    ):
        model = tagger(kind)
        (found,) = find_targets(model, "word_embeddings")
        assert found is dict(model.named_parameters())[name]
    assert len(find_targets(model, "layer.0")) > 5


@pytest.mark.parametrize(("target", "hint"), [("word_embedings", "word_embeddings"), ("clasifier", "classifier")])
def test_a_target_that_matches_nothing_names_the_nearest(target, hint):
    with pytest.raises(ConfigError, match=f"{target}.*did you mean '{hint}'"):
        find_targets(tagger("bert"), target)


@pytest.mark.parametrize(
    "settings",
    [{"kind": "fmg"}, {"kind": "freelb", "target": "word_embeddings"}, {"kind": "awp", "target": "embedding_output"},
     {"epsilon": -1.0}, {"start": 2.0}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ConfigError, match=r"training\.adversarial"):
        AdversarialConfig(**settings)


def test_a_step_size_of_its_own_reaches_the_bound_in_one_step_and_beyond_it_in_several():
    assert AdversarialConfig("fgm", epsilon=0.6).step_size == 0.6
    assert AdversarialConfig("pgd", epsilon=0.6, steps=3).step_size == pytest.approx(1.5 * 0.6 / 3)
    assert AdversarialConfig("pgd", epsilon=0.6, steps=3, step_size=0.1).step_size == 0.1


def test_a_step_size_is_nothing_to_vat():
    found, toy = [], Toy()
    for size in (0.01, 5.0):
        torch.manual_seed(4)
        found.append(attacked(toy, kind="vat", steps=2, step_size=size)[1].seen[-1]["loss"])
    assert found[0] == found[1]
