"""Matchers tell tasks apart in the way that they are told to, learn, and come back from a folder as they were."""

import pytest
import torch

from models.conditional_layer_norm import ConditionalLayerNorm
from models.encoders import load_encoder
from models.matchers import TASK_HANDLINGS, BiEncoder, CrossEncoder, Matcher
from models.pooling import KINDS
from tests.models.dropout_samples import dropped_by

TASK = torch.tensor([0, 2, 1])
LABELS = torch.tensor([1, 0, 1])


def matcher(kind: type[Matcher], encoder, **settings) -> Matcher:
    torch.manual_seed(0)
    model = kind.from_encoder(encoder, **({"tasks": 3, "condition_size": 5} | settings)).eval()
    for name, parameter in model.named_parameters():
        if "condition_" in name or "embedding.weight" in name.removeprefix("encoder."):
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def pairs(kind: type[Matcher], texts: dict) -> dict[str, torch.Tensor]:
    if kind is CrossEncoder:
        segments = (torch.arange(9) > 3).long() * texts["attention_mask"]
        return texts | {"token_type_ids": segments, "task": TASK}
    batch = {f"{name}_a": value for name, value in texts.items()}
    return batch | {f"{name}_b": value.flip(0)[:, :7] for name, value in texts.items()} | {"task": TASK}


@pytest.mark.parametrize("handling", TASK_HANDLINGS)
@pytest.mark.parametrize("kind", [CrossEncoder, BiEncoder])
def test_saved_and_loaded_it_is_the_same(encoder, kind, handling: str, texts: dict, tmp_path) -> None:
    model, batch = matcher(kind, encoder, task_handling=handling), pairs(kind, texts)
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.probabilities(**batch), model.probabilities(**batch), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("handling", TASK_HANDLINGS)
@pytest.mark.parametrize("kind", [CrossEncoder, BiEncoder])
def test_the_task_changes_the_answer_unless_it_is_not_handled(encoder, kind, handling: str, texts: dict) -> None:
    model, batch = matcher(kind, encoder, task_handling=handling), pairs(kind, texts)
    answers = model.probabilities(**batch)
    others = model.probabilities(**batch | {"task": (TASK + 1) % 3})
    one_other = model.probabilities(**batch | {"task": torch.tensor([0, 0, 1])})
    assert torch.allclose(answers, others, atol=1e-6) == (handling == "none")
    torch.testing.assert_close(one_other[[0, 2]], answers[[0, 2]], atol=1e-6, rtol=1e-5)
    has_norms = any(isinstance(module, ConditionalLayerNorm) for module in model.modules())
    assert has_norms == (handling in ("conditional_norm", "both"))
    assert model.classifier.out_features == (3 if handling in ("classifier_per_task", "both") else 1)


@pytest.mark.parametrize("pooling", KINDS)
@pytest.mark.parametrize("kind", [CrossEncoder, BiEncoder])
def test_each_pair_scores_the_same_alone_and_in_a_batch(encoder, kind, pooling: str, texts: dict) -> None:
    model, batch = matcher(kind, encoder, task_handling="both", pooling=pooling), pairs(kind, texts)
    together = model.probabilities(**batch)
    for row in range(3):
        alone = {}
        for name, value in batch.items():
            mask = (
                batch[f"attention_mask{name[-2:]}" if name[-2:] in ("_a", "_b") else "attention_mask"]
                if name != "task"
                else None
            )
            alone[name] = value[row : row + 1] if mask is None else value[row : row + 1, : int(mask[row].sum())]
        torch.testing.assert_close(model.probabilities(**alone)[0], together[row], atol=1e-5, rtol=1e-4)


def test_a_classifier_per_task_is_one_row_each(encoder, texts: dict) -> None:
    model = matcher(CrossEncoder, encoder, task_handling="classifier_per_task", pooling="mean")
    torch.nn.init.normal_(model.classifier.bias)
    batch = pairs(CrossEncoder, texts)
    features = model.pool(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], TASK)
    expected = [
        features[row] @ model.classifier.weight[task] + model.classifier.bias[task] for row, task in enumerate(TASK)
    ]
    torch.testing.assert_close(model(**batch).logits, torch.stack(expected), atol=1e-6, rtol=1e-5)


def test_a_bi_encoder_reads_both_vectors_their_distance_and_product(encoder, texts: dict) -> None:
    model, batch = matcher(BiEncoder, encoder), pairs(BiEncoder, texts)
    u = model.pool(batch["input_ids_a"], batch["attention_mask_a"], None, None)
    v = model.pool(batch["input_ids_b"], batch["attention_mask_b"], None, None)
    weight = model.classifier.weight[0].view(4, -1)
    expected = u @ weight[0] + v @ weight[1] + (u - v).abs() @ weight[2] + (u * v) @ weight[3] + model.classifier.bias
    torch.testing.assert_close(model(**batch).logits, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("handling", TASK_HANDLINGS)
@pytest.mark.parametrize("kind", [CrossEncoder, BiEncoder])
def test_the_loss_is_mean_binary_cross_entropy_over_dropout_samples(encoder, kind, handling, texts: dict) -> None:
    model = matcher(kind, encoder, task_handling=handling, dropout=0.3, multi_sample_dropout=3).train()
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.encoder.eval()
    with dropped_by(model) as samples:
        output = model(**pairs(kind, texts), labels=LABELS)
    tasks = TASK.tolist() if model.classifier.out_features > 1 else [0] * 3
    logits = torch.stack([model.classifier(sample)[range(3), tasks] for sample in samples])
    chances = logits.sigmoid()
    losses = -torch.stack([chances[:, 0], 1 - chances[:, 1], chances[:, 2]]).log().mean(0)
    assert losses.max() - losses.min() > 1e-3
    torch.testing.assert_close(output.loss, losses.mean(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(output.logits, logits.mean(0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("handling", TASK_HANDLINGS)
def test_every_family_takes_a_step_and_comes_back(checkpoint, handling: str, texts: dict, tmp_path) -> None:
    encoder = load_encoder(checkpoint)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model, batch = matcher(CrossEncoder, encoder, task_handling=handling).train(), pairs(CrossEncoder, texts)
    assert all(
        torch.equal(encoder.state_dict()[name], value) for name, value in before.items() if "embedding" not in name
    )
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(**batch, labels=LABELS).loss.backward()
    optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(start[name], value)}
    assert "classifier.weight" in moved and any("embeddings" in name for name in moved)
    if handling in ("conditional_norm", "both"):
        assert {name for name in start if "condition_" in name} <= moved and "task_embedding.weight" in moved
    model.eval().save_pretrained(tmp_path)
    loaded = CrossEncoder.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.probabilities(**batch), model.probabilities(**batch), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [CrossEncoder, BiEncoder])
def test_it_learns_that_one_pair_means_different_things_to_two_tasks(encoder, kind, texts: dict) -> None:
    torch.manual_seed(0)
    model = kind.from_encoder(encoder, tasks=3, condition_size=5, task_handling="conditional_norm", dropout=0.0).train()
    encoder.eval()
    batch = {name: value[:1].repeat(3, 1) for name, value in pairs(kind, texts).items() if name != "task"}
    batch["task"] = torch.arange(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=LABELS).loss.backward()
        optimizer.step()
    assert ((model.probabilities(**batch) > 0.5) == LABELS.bool()).all()


def test_conditional_norms_recompute_under_the_trainers_checkpointing(bert_checkpoint, texts: dict) -> None:
    encoder = load_encoder(bert_checkpoint, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = matcher(BiEncoder, encoder, task_handling="both", dropout=0.0).train()
    batch, gradients = pairs(BiEncoder, texts), []
    for _ in range(2):
        model.zero_grad()
        model(**batch, labels=LABELS).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        model.gradient_checkpointing_enable()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_misuse_is_named(encoder, texts: dict) -> None:
    batch = pairs(CrossEncoder, texts)
    model = matcher(CrossEncoder, encoder, task_handling="classifier_per_task")
    with pytest.raises(ValueError, match="needs the batch's task numbers"):
        model(**texts)
    with pytest.raises(IndexError):
        model(**batch | {"task": torch.tensor([0, 3, -1])})
    with pytest.raises(ValueError, match="unknown task_handling 'norm'"):
        matcher(CrossEncoder, encoder, task_handling="norm")
    with pytest.raises(ValueError, match="unknown pooling 'min'"):
        matcher(CrossEncoder, encoder, pooling="min")
