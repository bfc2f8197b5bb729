"""What is made ready to serve scores as the head that it was made of."""

import pytest
import torch
from sklearn.metrics import f1_score

from models.biaffine import BiaffineTagger
from models.classifiers import ChoiceClassifier, Classifier
from models.encoders import encoder_from_config
from models.export import export_onnx, quantized
from models.global_pointer import GlobalPointer
from models.matchers import BiEncoder, CrossEncoder
from models.multi_task import MultiTask, OneTask
from models.reading import Reader
from models.relations import RelationClassifier
from models.spans import SpanPointerTagger
from models.taggers import Tagger
from models.word_pairs import WordPairTagger

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 40}  # fmt: skip
# NEZHA clips positions in the longer rows and not in the shorter ones.
ENCODERS = {"bert": {"model_type": "bert"}, "nezha": {"model_type": "nezha", "max_relative_position": 10}}
TYPES, CLASSES = {"types": ["a", "b"]}, {"classes": ["x", "y", "z"]}
TASKS = {"entities": {"class": "taggers.Tagger", "types": ["a"]}, "topic": {"class": "matchers.CrossEncoder"}}
HEADS = {
    "cross-encoder": (CrossEncoder, {"tasks": 2, "task_handling": "conditional_norm", "condition_size": 8}),
    "bi-encoder": (BiEncoder, {"pooling": "mean"}),
    "tagger": (Tagger, TYPES | {"recurrent_size": 6}),
    "softmax tagger": (Tagger, TYPES | {"head": "softmax"}),
    "pointers": (SpanPointerTagger, TYPES),
    "classes": (Classifier, CLASSES | {"pooling": "attention"}),
    "labels": (Classifier, CLASSES | {"kind": "multi_label", "pooling": "max"}),
    "grades": (Classifier, CLASSES | {"kind": "ordinal"}),
    "choices": (ChoiceClassifier, {"pooling": "mean"}),
    "global pointer": (GlobalPointer, TYPES | {"head_size": 8}),
    "biaffine": (BiaffineTagger, TYPES | {"span_size": 8}),
    "word pairs": (WordPairTagger, TYPES | {"pair_size": 8, "distance_size": 4}),
    "relations": (RelationClassifier, {"relations": ["r", "s"], "types": ["a"], "type_size": 4}),
    "reader": (Reader, {}),
    "tasks": (MultiTask, {"tasks": TASKS, "condition_size": 4}),
}


def head_and_batch(name: str, rows: int = 64, length: int = 12, encoder: str = "bert", **other):
    torch.manual_seed(0)
    kind, settings = HEADS[name][0], HEADS[name][1] | other
    head = kind.from_encoder(encoder_from_config({**ENCODERS[encoder], **SIZES}), **settings).eval()
    lengths = torch.randint(4, length + 1, (rows,))
    mask = (torch.arange(length) < lengths[:, None]).long()
    batch = {"input_ids": torch.randint(5, 60, (rows, length)) * mask, "attention_mask": mask}
    places = torch.arange(length).expand(rows, -1).masked_fill(mask == 0, -1)
    if name == "bi-encoder":
        return head, {f"{key}{side}": value.roll(turn, 0) for turn, side in enumerate(("_a", "_b"))
                      for key, value in batch.items()}  # fmt: skip
    if name == "cross-encoder":
        return head, batch | {"task": torch.arange(rows) % 2, "token_type_ids": torch.zeros_like(mask)}
    if name == "choices":
        batch = {key: torch.stack([value, value.roll(1, 0)], 1) for key, value in batch.items()}
        batch["attention_mask"][1:2, 1] = 0  # padding
        return head, batch
    if name == "reader":
        return head, batch | {"passage_mask": mask * (torch.arange(length) > 1)}
    if kind is Classifier:
        return head, batch
    batch["word_positions"] = places
    if name == "relations":
        spans = torch.tensor([[[0, 2], [2, 3], [3, 4]], [[1, 2], [2, 4], [-1, -1]]]).repeat(rows // 2 or 1, 1, 1)[:rows]
        batch |= {"entity_spans": spans, "entity_types": torch.zeros(rows, 3, dtype=torch.long)}
    return (OneTask(head, "entities") if name == "tasks" else head), batch


@pytest.mark.parametrize("name", HEADS)
def test_eight_bits_give_nearly_the_same_probabilities(name: str) -> None:
    head, batch = head_and_batch(name)
    small = quantized(head)
    found, expected = small.probabilities(**batch), head.probabilities(**batch)
    assert not torch.equal(found, expected), "nothing was quantized"
    # A span's score is a product of two rounded vectors; those of the untrained heads reach far beyond a sure answer.
    product = name in ("global pointer", "biaffine")
    torch.testing.assert_close(found, expected, atol=0.1 if product else 5e-3, rtol=0)
    assert float((found - expected).abs().mean()) < 5e-3
    assert float(torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1]) > 0.998
    assert any(isinstance(module, torch.nn.Linear) for module in head.modules()), "the head itself stays as it was"


@pytest.mark.parametrize("name", ["cross-encoder", "tagger"])
def test_eight_bits_lose_nothing_of_what_a_head_has_learned(name: str) -> None:
    head, batch = head_and_batch(name, rows=128)
    # Of a text: whether it holds a token above 55. Of a word: whether it is one above 40.
    ids = batch["input_ids"]
    labels = (ids > 55).any(1).long() if name == "cross-encoder" else (ids > 40).long()
    if name == "tagger":
        labels = labels.masked_fill(batch["word_positions"] < 0, -100)
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    head.train()
    for _ in range(60):
        head(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    scores = []
    for each in (head.eval(), quantized(head)):
        found = each.probabilities(**batch)
        guesses = found > 0.5 if name == "cross-encoder" else found.argmax(-1)
        scores.append(f1_score(labels[labels >= 0], guesses[labels >= 0]))
    assert scores[0] > 0.9 and abs(scores[1] - scores[0]) < 0.002


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", HEADS)
def test_a_graph_gives_the_same_logits_for_other_rows_and_lengths(name: str, encoder: str, tmp_path) -> None:
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    head, batch = head_and_batch(name, encoder=encoder, **({"recurrent_size": 0} if name == "tagger" else {}))
    batch = {key: value[:8] for key, value in batch.items()}
    session = runtime.InferenceSession(str(export_onnx(head, tmp_path, batch)))
    for rows, length in ((5, 9), (1, 12)):
        part = {key: value[:rows, ..., :length] if name == "choices" or value.shape[1:] == (12,) else value[:rows]
                for key, value in batch.items()}  # fmt: skip
        (found,) = session.run(["logits"], {key: value.numpy() for key, value in part.items()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), head(**part).logits, atol=1e-3, rtol=0)


def test_an_export_says_what_it_lacks(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a head with an LSTM"):
        export_onnx(head_and_batch("tagger")[0], tmp_path, {})
    with pytest.raises(ValueError, match=r"one task: export OneTask.* for each of entities, topic"):
        export_onnx(head_and_batch("tasks")[0].model, tmp_path, {})
    head, batch = head_and_batch("cross-encoder", rows=1)
    monkeypatch.setattr("models.export.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx(head, tmp_path, batch)
    monkeypatch.setattr("models.export.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="at least two rows"):
        export_onnx(head, tmp_path, batch)
