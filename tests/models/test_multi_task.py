"""One encoder serves several heads, as each head would use it alone."""

import pytest
import torch

from common.training.arguments import TrainingConfig
from common.training.optimizers import parameter_groups
from models.encoders import load_encoder
from models.matchers import CrossEncoder
from models.multi_task import MultiTask
from models.taggers import Tagger

TASKS = {
    "entities": {"class": "taggers.Tagger", "types": ["a"], "recurrent_size": 4, "dropout": 0.0},
    "spans": {"class": "global_pointer.GlobalPointer", "types": ["a"], "head_size": 4, "dropout": 0.0},
    "topic": {"class": "matchers.CrossEncoder", "dropout": 0.0, "weight": 0.25},
}
TAGS = torch.tensor([[1, 2, 0, 1, 0, 0], [0, 1, -100, -100, -100, -100], [1, 2, 2, 0, -100, -100]])


def model_of(encoder, **settings) -> MultiTask:
    torch.manual_seed(0)
    return MultiTask.from_encoder(encoder, **({"tasks": TASKS} | settings)).eval()


@pytest.fixture
def batches(texts: dict, tagged: dict) -> dict[str, dict[str, torch.Tensor]]:
    """A batch of each task, labels included."""
    return {
        "entities": tagged | {"labels": TAGS},
        "spans": tagged | {"span_labels": torch.tensor([[[0, 2, 0]], [[-1, -1, -1]], [[1, 3, 0]]])},
        "topic": texts | {"labels": torch.tensor([1, 0, 1])},
    }


@pytest.mark.parametrize("condition_size", [0, 3])
def test_it_learns_all_tasks_and_comes_back(encoder, batches: dict, condition_size: int, tmp_path) -> None:
    model = model_of(encoder, condition_size=condition_size)
    first = {name: model(name, **batch).loss.item() for name, batch in batches.items()}
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(300):
        name = model.task_names[step % 3]
        optimizer.zero_grad(set_to_none=True)
        model(name, **batches[name]).loss.backward()
        optimizer.step()
    model.eval()
    for name, batch in batches.items():
        assert model(name, **batch).loss < 0.75 * first[name], name
    model.save_pretrained(tmp_path)
    loaded = MultiTask.from_pretrained(tmp_path)
    for number, (name, batch) in enumerate(batches.items()):
        given = {key: value for key, value in batch.items() if "labels" not in key}
        expected = model.probabilities(task=name, **given)
        torch.testing.assert_close(loaded.probabilities(task=torch.full((3,), number), **given), expected)
    assert loaded.head_of("entities").encoder is loaded.encoder


def test_each_head_is_what_it_would_be_alone(bert_checkpoint, batches: dict) -> None:
    model = model_of(load_encoder(bert_checkpoint))
    for name, kind in (("entities", Tagger), ("topic", CrossEncoder)):
        own = {key: value for key, value in TASKS[name].items() if key not in ("class", "weight")}
        alone = kind.from_encoder(load_encoder(bert_checkpoint), **own).eval()
        alone.load_state_dict(model.heads[name].state_dict(), strict=False)
        one, two = model(name, **batches[name]), alone(**batches[name])
        torch.testing.assert_close(one.logits, two.logits)
        torch.testing.assert_close(one.loss, two.loss * TASKS[name].get("weight", 1.0))
    assert sum("word_embeddings" in name for name in model.state_dict()) == 1, "the encoder is held once"


def test_a_batch_reaches_its_own_head_and_the_encoder_alone(bert_checkpoint, batches: dict) -> None:
    model = model_of(load_encoder(bert_checkpoint), condition_size=3).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.zeros(3, dtype=torch.long), **batches["entities"]).loss.backward()
    for name, value in model.named_parameters():
        reached = value.grad is not None and value.grad.isfinite().all()
        if name.startswith("heads."):
            assert reached == name.startswith("heads.entities."), name
    assert model.encoder.get_input_embeddings().weight.grad.any()
    # Projections start at zero: the task's embedding learns from the second step on.
    assert model.task_embedding.weight.grad is not None
    gains = [value.grad for name, value in model.named_parameters() if name.endswith("condition_gain")]
    assert gains and all(grad.any() for grad in gains)


def test_tasks_read_the_same_text_through_norms_of_their_own(bert_checkpoint, batches: dict) -> None:
    model = model_of(load_encoder(bert_checkpoint), tasks={"a": TASKS["topic"], "b": TASKS["topic"]}, condition_size=3)
    model.heads["b"].load_state_dict(model.heads["a"].state_dict())
    given = {key: value for key, value in batches["topic"].items() if key != "labels"}
    assert torch.equal(model.probabilities(task="a", **given), model.probabilities(task="b", **given))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "condition_" in name:
                value.normal_(std=0.5)
    together = model.probabilities(task="a", **given)
    assert not torch.allclose(together, model.probabilities(task="b", **given))
    for row, length in enumerate((9, 5, 7)):
        alone = model.probabilities(task="a", **{key: value[row : row + 1, :length] for key, value in given.items()})
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


def test_every_parameter_takes_the_learning_rate_of_its_part(bert_checkpoint) -> None:
    model = model_of(load_encoder(bert_checkpoint), condition_size=3)
    parts = {name: model.part_of(name) for name, _ in model.named_parameters()}
    assert {part for name, part in parts.items() if name.startswith("encoder.")} == {"encoder"}
    assert parts["task_embedding.weight"] == parts["heads.entities.classifier.weight"] == "head"
    assert parts["heads.entities.recurrent.forwards.0.weight_ih_l0"] == "recurrent"
    groups = parameter_groups(model, TrainingConfig(), model.part_of)
    assert sum(len(group["params"]) for group in groups) == len(parts)
    with pytest.raises(ValueError, match="no parameter"):
        model.part_of("heads.other.weight")


def test_misuse_is_named(bert_checkpoint, batches: dict) -> None:
    encoder = load_encoder(bert_checkpoint)
    for tasks, message in (
        ({}, "needs tasks"),
        ({"a": {}}, "names no head"),
        ({"a.b": TASKS["topic"]}, "named like a variable"),
        ({"a": TASKS["topic"] | {"weight": 0}}, "weight"),
        ({"a": {"class": "taggers.TaggerConfig"}}, "is no head of models/"),
        ({"a": {"class": "os.path"}}, "is no head of models/"),
        ({"a": {"class": "multi_task.MultiTask"}}, "is no head of models/"),
    ):
        with pytest.raises(ValueError, match=message):
            model_of(encoder, tasks=tasks)
    model = model_of(encoder)
    with pytest.raises(ValueError, match="there is no task 'other': expected one of entities, spans, topic"):
        model("other", **batches["topic"])
    for task in (torch.tensor([0, 1, 0]), torch.tensor([3, 3, 3])):
        with pytest.raises(ValueError, match=r"of one task|there is no task 3"):
            model(task, **batches["topic"])
