"""The benchmark reads every format, scores no row that it trained on, resumes, and counts right."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import BertModel

from benchmarks import datasets, encoder, tasks
from benchmarks.encoder_table import results, table
from benchmarks.encoder_units import EncoderUnit
from benchmarks.results import replace_section
from common.files import DataError
from tests.benchmarks.sets import NAMES, lines, text


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds, one epoch."""
    monkeypatch.setattr(datasets, "FOLDS", 2)
    for name, task in tasks.TASKS.items():
        monkeypatch.setitem(tasks.TASKS, name, replace(task, recipe=replace(task.recipe, epochs=1)))
    tasks.load.cache_clear()
    yield
    tasks.load.cache_clear()


def test_texts_of_the_scored_file_are_not_trained_on(tmp_path: Path) -> None:
    lines(tmp_path / "train.tsv", ["label\ttext_a", "1\t真 不错", "0\t不好", "0\t不好", "1\t很 好"])
    lines(tmp_path / "dev.tsv", ["label\ttext_a", "1\t很好", "0\t很\t差"])
    train, scored = datasets.read_texts(tmp_path / "train.tsv", tmp_path / "dev.tsv").split(0)
    assert train["source"].tolist() == ["真 不错", "不好"] and train["label"].tolist() == [1, 0]
    assert scored["source"].tolist() == ["很好", "很\t差"] and scored["label"].tolist() == [1, 0]


def test_pairs_that_share_a_text_share_a_fold(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    texts = [text(random) for _ in range(120)]
    rows = [(texts[random.integers(120)], texts[random.integers(120)], random.integers(2)) for _ in range(30)]
    lines(tmp_path / "dev.tsv", ["\t".join(map(str, row)) for row in rows])
    data = datasets.read_pairs(tmp_path / "dev.tsv")
    assert len(data.rows) == 30 and data.rows["label"].tolist() == [int(row[2]) for row in rows]
    for fold in data.folds:
        sides = [set(part["source"]) | set(part["target"]) for part in data.split(fold)]
        assert not sides[0] & sides[1]


def test_inference_leaves_out_pairs_without_a_majority(root: Path) -> None:
    data = datasets.read_inference(root / "nli/ocnli/train.10k.json")
    assert data.names == ("entailment", "neutral", "contradiction")
    assert data.rows["label"].tolist() == [0, 1, 2] * 6 and (data.rows["target"].str.len() == 6).all()


def test_topic_pairs_come_from_both_files(root: Path) -> None:
    folder = root / "sohu2021/短短匹配A类"
    data = datasets.read_topic_pairs([folder / "train.txt", folder / "valid.txt"])
    assert len(data.rows) == 24 and data.rows["label"].sum() == 12


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-ORG M-ORG E-ORG S-LOC O", [(1, 4, "ORG"), (4, 5, "LOC")]),
        ("B-PER I-PER B-PER O I-LOC", [(0, 2, "PER"), (2, 3, "PER")]),
        ("B-PER O B-LOC E-LOC", [(2, 4, "LOC")]),
        ("O O", []),
    ],
)
def test_spans_of_bmes_and_bio(tags: str, spans: list) -> None:
    assert datasets.spans_of_tags(tags.split()) == spans


def test_tagged_files_have_sentences_between_blank_lines(root: Path) -> None:
    data = datasets.read_tagged(root / "ner/resume/train.char.bmes", root / "ner/resume/dev.char.bmes")
    train, scored = data.split(0)
    assert (len(train), len(scored), data.names, data.folds) == (24, 24, ("PER",), [0])
    assert all("".join(row.tokens[3:5]) in NAMES and row.spans == [(3, 5, "PER")] for row in train.itertuples())


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    for reader, row in (
        (datasets.read_pairs, "一\t二"),
        (datasets.read_tagged, "东 X"),
        (datasets.read_inference, "{}"),
    ):
        lines(tmp_path / "broken", [row])
        with pytest.raises(DataError, match=r"broken:1: .*expected"):
            reader(tmp_path / "broken")


def test_the_threshold_of_a_fold_comes_from_the_others() -> None:
    # Alone, each fold would be perfect; by the other's threshold the second takes both of its rows.
    folds = [([1, 0], [0.4, 0.2]), ([1, 0], [0.9, 0.7])]
    assert tasks.score("f1", folds) == pytest.approx(2 / 4)
    assert tasks.score("f1", folds[:1]) == 0.0
    assert tasks.score("accuracy", [([1, 0, 2], [1, 1, 2]), ([0], [0])]) == 0.75
    spans = [([[[0, 2, "PER"]], []], [[[0, 2, "PER"]], [[1, 2, "LOC"]]])]
    assert tasks.score("entity_f1", spans) == pytest.approx(2 / 3)


def unit(folder: Path, start: str, seed: int, fold: int, gold: list, predictions: dict, settings=None) -> EncoderUnit:
    path = folder / f"{start}-{seed}-{fold}.json"
    facts = {"settings": settings or {}, "seconds": 10.0, "gold": gold, "predictions": predictions}
    if predictions:
        path.write_text(json.dumps(facts))
    own = {"task": "ocnli", "start": start, "seed": seed, "fold": fold, "settings": {}, "path": path}
    return EncoderUnit(**own, encoder="", data="", rows=0)


def test_the_table_has_means_over_seeds_and_the_best_baseline(tmp_path: Path) -> None:
    made = [unit(tmp_path, "baseline", 0, fold, [0, 1], {"a": [0, fold], "b": [1, 0]}) for fold in range(2)]
    for start, right in (("random", (2, 1)), ("pretrained", (3, 4))):
        for seed, total in enumerate(right, start=1):
            found = [int(place >= total) for place in range(4)]
            made += [unit(tmp_path, start, seed, fold, [0, 0], {"encoder": found[2 * fold :][:2]}) for fold in range(2)]
    # A seed that lacks a fold, and one that was made under other settings, count for nothing.
    made += [unit(tmp_path, "random", 3, 0, [0], {"encoder": [0]}), unit(tmp_path, "random", 3, 1, [0], {})]
    made += [unit(tmp_path, "random", 4, fold, [0], {"encoder": [0]}, {"recipe": 1}) for fold in range(2)]
    found = results(made)
    assert found["ocnli", "random"].scores == [0.5, 0.25] and found["ocnli", "random"].seconds == 40
    assert found["ocnli", "baseline"].scores == [0.75] and found["ocnli", "baseline"].by == "a"
    one, two = table(found, ["ocnli", "bq"]).splitlines()[2:]
    assert one.startswith(
        "| OCNLI train.10k, 5 folds | accuracy | 0.7500 (a) | 0.3750 ± 0.1768 | **0.8750 ± 0.1768** |"
    )
    assert one.endswith("| +0.5000 | +0.1250 | 0.687 |")
    assert two == "| BQ dev, 5 folds | accuracy | - | - | - | - | - | 0.837 |"


def test_a_whole_run_resumes_and_measures_a_new_encoder_anew(
    quick, root: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"datasets={root}", f"encoder={tiny}", f"output_dir={tmp_path / 'out'}", "workers=1", "seeds=1",
             f"results={tmp_path / 'RESULTS.md'}"]  # fmt: skip
    weights = (tiny / "model.safetensors").read_bytes()
    (tiny / "model.safetensors").unlink()
    assert encoder.main([*words, "starts=random,baseline"]) == 0
    assert "| - |" in (tmp_path / "RESULTS.md").read_text()
    (tiny / "model.safetensors").write_bytes(weights)
    capsys.readouterr()
    assert encoder.main(words) == 0
    assert "54 units, 36 of them finished" in capsys.readouterr().out
    report = (tmp_path / "RESULTS.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("| ") and "metric" not in line]
    # Only what nobody has published is missing.
    assert len(rows) == len(tasks.TASKS) and all("| - |" not in row.removesuffix("| - |") for row in rows), rows

    files = sorted((tmp_path / "out/units").rglob("*.json"))
    before = {file: file.stat().st_mtime_ns for file in files}
    assert len(files) == 54
    for file in files:
        facts = json.loads(file.read_text())
        assert all(len(found) == len(facts["gold"]) for found in facts["predictions"].values())
        if facts["start"] == "pretrained":
            assert facts["settings"]["architecture"]["hidden_dropout_prob"] == 0.1
    lost = tmp_path / "out/units/lcqmc/random/seed-1-fold-1.json"
    first = json.loads(lost.read_text())
    lost.unlink()
    assert encoder.main([*words, "tasks=lcqmc"]) == 0
    again = json.loads(lost.read_text())
    assert again["predictions"] == first["predictions"]
    assert all(file.stat().st_mtime_ns == before[file] for file in files if file != lost)

    model = BertModel.from_pretrained(tiny, add_pooling_layer=False)
    model.embeddings.LayerNorm.bias.data += 1
    model.save_pretrained(tiny)
    capsys.readouterr()
    assert encoder.main([*words, "tasks=lcqmc"]) == 0
    assert "6 units, 4 of them finished" in capsys.readouterr().out
    assert len(list((tmp_path / "out/units/lcqmc").glob("pretrained-*"))) == 2


def test_two_workers_make_the_same_files(root: Path, tmp_path: Path) -> None:
    words = [f"datasets={root}", "tasks=resume", "starts=baseline", "encoder=nowhere/at/all"]
    for workers in (1, 2):
        assert encoder.main([*words, f"workers={workers}", f"output_dir={tmp_path / str(workers)}", "results="]) == 0
    one, two = (json.loads(next((tmp_path / name).rglob("*.json")).read_text()) for name in "12")
    assert one["predictions"] == two["predictions"]
    assert tasks.score("entity_f1", [(one["gold"], *one["predictions"].values())]) > 0.9


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    replace_section(path, "one", "first\n")
    replace_section(path, "two", "second")
    before = path.read_text()
    path.write_text(before + "\nby hand\n")
    replace_section(path, "one", "third")
    assert path.read_text() == before.replace("first", "third") + "\nby hand\n"
    path.write_text("<!-- one: begin -->")
    with pytest.raises(DataError, match="only one of the markers"):
        replace_section(path, "one", "x")


@pytest.mark.parametrize(
    ("word", "says"),
    [("tasks=lcqcm", "did you mean 'lcqmc'"), ("starts=rand", "'random'"), ("seed=1", "'seeds'"), ("seeds=0", "from 1"),
     ("encoder=./nowhere", "nowhere"), ("datasets=nowhere", "nowhere")],
)  # fmt: skip
def test_misuse_is_named(word: str, says: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"encoder={tiny}", f"output_dir={tmp_path}", "results=", "starts=random", word]
    assert encoder.main(words) == 2
    assert says in capsys.readouterr().err


def test_help_is_at_hand_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found = subprocess.run([sys.executable, "-m", "benchmarks.encoder", "--help"], capture_output=True, text=True)
    assert "workers=2" in found.stdout and resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
