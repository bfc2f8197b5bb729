"""The pretrain stage: every objective by its key, what it writes, going on where it was cut off, and clear errors."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig

from common.config import ConfigError
from common.files import DataError, write_lines
from common.training import pretraining
from competitions.__main__ import main
from competitions.launch import launch
from competitions.pretraining import pretrain_text
from models.encoders import load_encoder
from tests.competitions.conftest import ROOT, Datagrand
from tests.competitions.pretraining_text import TINY, write_anonymised, write_text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


def run(text: Path, folder: Path, *words: str) -> Path:
    try:
        return pretrain_text([], [f"corpus={text}", f"output_dir={folder}", *TINY, *words])
    finally:
        torch.set_num_threads(1)


def facts(folder: Path) -> dict:
    return json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "encoder" / "model.safetensors")


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with dropout, over several passes, for reading only."""
    folder = tmp_path_factory.mktemp("finished")
    run(text, folder, "training.steps=24", "training.dropout=0.1", "training.accumulation=2")
    return folder


def test_a_run_leaves_an_encoder_a_picture_curves_and_facts(finished: Path) -> None:
    found = facts(finished)
    assert found["steps"] == 24 and found["tokens"] == 24 * 2 * 64
    assert 0 <= found["accuracy"] <= 1 and found["loss"] > 0 and found["accuracy"] == found["accuracy_text"]
    assert found["parameters"] == sum(value.numel() for value in load_encoder(finished / "encoder").parameters())
    assert (finished / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (finished / "masked_lm" / "config.json").exists()
    curves = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert {"train/loss", "train/learning_rate", "eval/loss", "eval/accuracy"} <= {*curves.Tags()["scalars"]}
    assert curves.Scalars("eval/accuracy")[-1].value == pytest.approx(found["accuracy"])
    assert not (finished / "checkpoints").exists()
    history = json.loads((finished / "history.json").read_text(encoding="utf-8"))
    losses = [line["loss"] for line in history if "loss" in line]
    assert losses[-1] < losses[0]
    said = (finished / "log.txt").read_text(encoding="utf-8")
    assert "held-out accuracy" in said and "tokens/s" in said and "left" in said


def test_the_encoder_keeps_its_own_dropout_and_its_tokenizer(finished: Path) -> None:
    encoder = load_encoder(finished / "encoder")
    assert encoder.config.hidden_dropout_prob == 0.1 and encoder.config.max_position_embeddings == 16
    tokenizer = AutoTokenizer.from_pretrained(finished / "encoder")
    assert len(tokenizer) == encoder.config.vocab_size
    assert tokenizer.tokenize("今天北京") == list("今天北京")


def test_a_finished_run_is_kept(text: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = (tmp_path / "run" / "encoder" / "model.safetensors").stat().st_mtime_ns
    words = ("training.steps=24", "training.dropout=0.1", "training.accumulation=2")
    assert run(text, tmp_path / "run", *words, "training.workers=1") == tmp_path / "run" / "encoder"
    assert (tmp_path / "run" / "encoder" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"begun with other settings.*training\.steps: 24 -> 25"):
        run(text, tmp_path / "run", *words, "training.steps=25")


def test_a_step_may_be_made_up_in_another_way_but_stays_as_large(text: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    words = ("training.steps=24", "training.dropout=0.1")
    run(text, tmp_path / "run", *words, "training.batch_tokens=128")
    with pytest.raises(ConfigError, match=r"begun with other settings \(training\.rows_of_a_step: 8 -> 4\)"):
        run(text, tmp_path / "run", *words)


def test_of_many_texts_one_accuracy_is_said(text: Path, tmp_path: Path) -> None:
    lines = text.read_text(encoding="utf-8").split("\n")
    files = [tmp_path / "texts" / f"{number}.txt" for number in range(24)]
    for number, file in enumerate(files):
        write_lines(file, lines[5 * number : 5 * number + 5])
    found = []
    for most in (20, 30):
        own = f"corpus={tmp_path / 'texts'}/*.txt"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("common.stages.pretrain.MOST_NAMED", most)
            run(text, tmp_path / str(most), own, "training.steps=1", "training.held_out=0.3")
        found.append(facts(tmp_path / str(most)))
    names = [{key for key in own if key.startswith("accuracy_")} for own in found]
    assert names[0] == {"accuracy_all"} and len(names[1]) > 3
    assert found[0]["accuracy"] == pytest.approx(found[1]["accuracy"]) and found[0]["loss"] == pytest.approx(
        found[1]["loss"], rel=1e-5
    )


@pytest.mark.parametrize("objective", [(), ("sentence_pairs=next",)], ids=["packed", "pairs"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(
    objective: tuple[str, ...], text: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("training.steps=24", "training.dropout=0.1", "training.accumulation=2", *objective)
    if objective:
        finished = tmp_path / "whole"
        run(text, finished, *words)
    words = (*words, "training.save_steps=5")

    class Killed(Exception):
        pass

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 18:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(pretraining.SaveByTime, "on_step_end", kill)
        with pytest.raises(Killed):
            run(text, tmp_path / "run", *words)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-15").exists()
    assert load_encoder(tmp_path / "run" / "encoder"), "usable from the first checkpoint on"

    before = len((tmp_path / "run" / "log.txt").read_text(encoding="utf-8"))
    run(text, tmp_path / "run", *words)
    said = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")[before:]
    assert "step 16 of 24" in said and "step 15 of 24" not in said, "it does not begin anew"
    whole, resumed = weights(finished), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert facts(tmp_path / "run") == facts(finished)


OBJECTIVES = {
    "token": ["masking.objective=token"],
    "word": ["masking.objective=word"],
    "ngram": ["masking.objective=ngram"],
    "ngram of 2 and 3": ["masking.objective=ngram", "masking.ngram_shares=[0,0.5,0.5]"],
    "span": ["masking.objective=span"],
    "macbert": ["masking.objective=macbert"],
    "sentence order": ["sentence_pairs=order"],
    "next sentence": ["sentence_pairs=next"],
    "structure": ["sentence_pairs=structure"],
    "albert": ["architecture.model_type=albert", "architecture.embedding_size=8", "sentence_pairs=order"],
    "nezha": ["architecture.model_type=nezha", "training.within_documents=true"],
    "within documents": ["training.within_documents=true", "half=true"],
    "lamb": ["training.optimizer=lamb"],
}


@pytest.fixture(scope="module")
def two_steps_by_words(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights that whole-word masking has after two steps: every other objective has to make others."""
    folder = tmp_path_factory.mktemp("words")
    run(text, folder, "training.steps=2")
    return weights(folder)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_is_a_key(
    name: str, text: Path, two_steps_by_words: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = run(text, tmp_path / "run", "training.steps=2", *OBJECTIVES[name])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    states = load_encoder(folder)(**tokenizer("今天天气很好", return_tensors="pt"))[0]
    assert states.shape == (1, 8, 16) and states.isfinite().all()
    stored = {value.dtype for value in weights(tmp_path / "run").values()}
    assert stored == {torch.float16 if "half=true" in OBJECTIVES[name] else torch.float32}
    if name != "word":
        own, plain = weights(tmp_path / "run"), two_steps_by_words
        assert any(key not in plain or not torch.equal(value, plain[key].to(value.dtype)) for key, value in own.items())
    found = facts(tmp_path / "run")
    pairs = any("sentence_pairs" in word for word in OBJECTIVES[name])
    assert found["steps"] == 2 and ("pair_accuracy" in found) == pairs


def test_an_encoder_goes_on_with_its_vocabulary_and_head(text: Path, tmp_path: Path) -> None:
    learnt = ("training.steps=60", "training.learning_rate=0.01", "training.batch_tokens=256")
    run(text, tmp_path / "first", *learnt)
    still = ("training.steps=1", "training.learning_rate=1e-9")
    run(text, tmp_path / "second", f"encoder={tmp_path / 'first' / 'encoder'}", *still)
    first, second = facts(tmp_path / "first"), facts(tmp_path / "second")
    assert first["loss"] < 3.5 and second["loss"] == pytest.approx(first["loss"], rel=1e-4)
    old, new = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in old)


# Anonymised text


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of the hub: a Chinese BERT whose vocabulary is not by frequency."""
    from tests.competitions.test_hub_models import tiny_tokenizer

    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=40)  # fmt: skip
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_rank_mapping_goes_on_from_an_encoder_of_ordinary_text(ordinary: Path, tmp_path: Path) -> None:
    corpus, pretrained = write_anonymised(tmp_path / "corpus.txt"), AutoTokenizer.from_pretrained(ordinary)
    write_lines(tmp_path / "ordinary.txt", ["北北北北京京京", "北京今"])
    words = (f"encoder={ordinary}", "rank_mapping=true", f"ordinary_text={tmp_path / 'ordinary.txt'}")
    folder = run(corpus, tmp_path / "run", *words, "training.steps=1", "training.learning_rate=1e-9")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = np.unique(corpus.read_text().replace("\n", "_").strip("_").split("_"), return_counts=True)
    ranked = [counts[0][place] for place in np.argsort(-counts[1], kind="stable")[:2]]
    assert tokenizer.convert_tokens_to_ids(ranked) == pretrained.convert_tokens_to_ids(["北", "京"])
    ids = tokenizer("_".join([*ranked, "999999999"]))["input_ids"]
    assert ids == pretrained.convert_tokens_to_ids(["[CLS]", "北", "京", "[UNK]", "[SEP]"])
    assert len(tokenizer) == len(pretrained)
    old, new = load_encoder(ordinary), load_encoder(folder)
    torch.testing.assert_close(old.embeddings.word_embeddings.weight, new.embeddings.word_embeddings.weight)


def test_numbers_are_not_read_by_a_vocabulary_of_ordinary_text(ordinary: Path, tmp_path: Path) -> None:
    corpus = write_anonymised(tmp_path / "corpus.txt")
    with pytest.raises(ConfigError, match="rank_mapping=true"):
        run(corpus, tmp_path / "run", f"encoder={ordinary}", "tokenizer=anonymised")
    run(corpus, tmp_path / "first", "tokenizer=anonymised", "training.steps=1")
    own = f"encoder={tmp_path / 'first' / 'encoder'}"
    assert run(corpus, tmp_path / "second", own, "tokenizer=anonymised", "training.steps=1"), "one of numbers goes on"


def test_an_encoder_without_a_head_says_so(
    ordinary: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_encoder(ordinary).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(ordinary).save_pretrained(tmp_path / "bare")
    for encoder in (ordinary, tmp_path / "bare"):
        run(text, tmp_path / encoder.name / "run", f"encoder={encoder}", "training.steps=1")
        assert ("has no head" in capsys.readouterr().out) == (encoder.name == "bare")


def test_rank_mapping_needs_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rank_mapping goes on from a pretrained encoder: name it with encoder="):
        run(write_anonymised(tmp_path / "corpus.txt"), tmp_path / "run", "rank_mapping=true")


def test_a_contest_pretrains_on_its_own_text_and_trains_with_what_comes_out(
    datagrand: Datagrand, ordinary: Path, tmp_path: Path
) -> None:
    small = [f"pretrain.{word}" for word in TINY if "architecture" in word or "precision" in word]
    folder = datagrand.run("pretrain", "smoke=true", *small)
    assert str(folder).endswith("run-smoke/pretrain/encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("11_12_40") == ["11", "12", "40"]
    text = (folder.parent / "corpus.txt").read_text(encoding="utf-8")
    assert "/" not in text and " " not in text, "no label is among the text"

    mapped = datagrand.run("pretrain", *small, f"pretrain.encoder={ordinary}", "pretrain.rank_mapping=true",
                           "pretrain.training.steps=2", "pretrain.training.max_length=40",
                           "pretrain.training.batch_tokens=160")  # fmt: skip
    corpus = {*(folder.parent.parent.parent / "run" / "pretrain" / "corpus.txt").read_text().split("\n")} - {""}
    assert len(corpus) > 90, "train.txt, test.txt and corpus.txt"
    for number, encoder in enumerate((folder, mapped)):
        kit = Datagrand(datagrand.data, tmp_path / f"fine-tuned-{number}")
        words = ("use=[bert_crf]", "only=bert_crf/fold-0/seed-1", f"encoder={encoder}")
        kit.run("train", *words)
        unit = kit.units(*words)["bert_crf/fold-0/seed-1"]
        assert 0 <= json.loads((unit / "unit.json").read_text())["score"] <= 1


def test_the_shipped_recipe_runs_in_smoke_too(datagrand: Datagrand) -> None:
    recipe = ROOT / "competitions/datagrand_extraction/config/small_encoder.yaml"
    words = ("smoke=true", "pretrain.architecture.hidden_size=16", "pretrain.architecture.num_attention_heads=2")
    folder = launch("datagrand_extraction", "pretrain", [recipe], datagrand.settings(*words))
    torch.set_num_threads(1)
    assert load_encoder(folder).config.hidden_size == 16 and facts(folder.parent)["steps"] == 4


def test_a_contest_goes_on_from_its_encoder(datagrand: Datagrand, ordinary: Path) -> None:
    words = ("smoke=true", f"encoder={ordinary}", "pretrain.rank_mapping=true", "pretrain.training.learning_rate=1e-9")
    old, new = load_encoder(ordinary), load_encoder(datagrand.run("pretrain", *words))
    torch.testing.assert_close(old.embeddings.word_embeddings.weight, new.embeddings.word_embeddings.weight)


def test_the_matching_contest_pretrains_too(tmp_path: Path) -> None:
    from competitions.sohu_matching.data import SUBTASKS

    for name in SUBTASKS:
        key = f"label{name[-2]}"
        pairs = [{"source": f"今天北京股票上涨{n}", "target": f"球队赢了{name}{n}", key: str(n % 2)} for n in range(8)]
        test = [{"source": "今天北京下雨", "target": "球队输了", "id": f"{name}a"}]
        for file, rows in (("train.txt", pairs), ("test_with_id.txt", test)):
            write_lines(tmp_path / "data" / name / file, (json.dumps(row, ensure_ascii=False) for row in rows))
    small = [f"pretrain.{word}" for word in TINY if "architecture" in word or "precision" in word]
    words = [f"data_dir={tmp_path / 'data'}", f"output_dir={tmp_path / 'run'}", "smoke=true", *small]
    folder = launch("sohu_matching", "pretrain", [], words)
    torch.set_num_threads(1)
    assert AutoTokenizer.from_pretrained(folder).tokenize("今天北京") == list("今天北京")
    assert load_encoder(folder).config.hidden_size == 16


# Errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.max_length=2"], "max_length=2 leaves no room"),
        (["training.batch_tokens=1000000"], "too few for a step"),
        (["encoder={ordinary}", "training.max_length=64"], "max_length=64: the encoder takes at most 40 tokens"),
        (["encoder=/nowhere/at/all"], "encoder=/nowhere/at/all has no tokenizer"),
        (["tokenizer=charcter"], "did you mean 'character'"),
        (["architecture.model_type=brt"], "architecture: "),
        (["architecture.hidden_sise=32"], "bert has no setting 'hidden_sise': did you mean 'hidden_size'?"),
        (["architecture.num_attention_heads=3"], "architecture: The hidden size (16) is not a multiple"),
        (["architecture.intermediate_size=1024", "architecture.model_type=gpt2"], "gpt2 does not read text on both"),
        (["architecture.intermediate_size=1024", "architecture.model_type=t5"], "t5 does not read text on both sides"),
        (["tokenizer=/nowhere/at/all"], "tokenizer=/nowhere/at/all has no tokenizer"),
        (["vocab_size=10"], "the vocabulary (vocab_size=10, min_frequency=1): no room"),
        (["vector_epochs=0"], "vector_epochs is 0: expected at least 1"),
        (["masking.objective=macbert", "corpus={few}"], "no word occurs 5 times"),
        (["masking.objective=span", "masking.span_probability=2"], "masking: no span lengths for probability 2.0"),
        (["training.seed=-1"], "training.seed is -1: expected 0 or more"),
        (["training.steps=-5"], "training.steps is -5"),
        (["training.betas=[0.9]"], "training.betas is [0.9]"),
        (["training.betas=[0.9,1.5]"], "training.betas is [0.9, 1.5]"),
        (["architecture.model_type=deberta-v2", "training.within_documents=true"], "within_documents: deberta-v2"),
        (["min_frequency=100000"], "the vocabulary"),
        (["masking.objective=wrd", "corpus=/nowhere.txt"], "no masking objective"),
        (["masking.rate=2"], "rate=2"),
        (["training.optimizer=lam"], "training.optimizer is 'lam': did you mean 'lamb'"),
        (["training.dropout=1"], "training.dropout is 1"),
        (["trainig.steps=1"], "unknown config key 'trainig'"),
        (["sentence_pairs=order", "training.within_documents=true"], "sentence_pairs cannot keep documents apart"),
        (["sentence_pairs=ordr"], "sentence_pairs is 'ordr': did you mean 'order'"),
        (["user_dictionary=/nowhere.txt"], "no such user dictionary"),
    ],
)
def test_what_cannot_be_pretrained_is_one_clear_error(
    words: list[str], message: str, text: Path, ordinary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "few.txt", ["今天", "天气"] * 2)
    own = [word.replace("{ordinary}", str(ordinary)).replace("{few}", str(tmp_path / "few.txt")) for word in words]
    assert main(["pretrain", f"corpus={text}", f"output_dir={tmp_path / 'run'}", *TINY, *own]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and message in said, said
    late = ("too few for a step", "leaves no room", "macbert")
    assert any(part in said for part in late) or not (tmp_path / "run/tokens").exists(), "before the text is tokenized"


def test_text_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
    for corpus, message in (
        ("absent.txt", "absent.txt: no such file"),
        ("*.nothing", "no such file"),
        ("empty.txt", "vocabulary|no text"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            run(tmp_path / corpus, tmp_path / "run")
    with pytest.raises(DataError, match="no text to pretrain on"):
        pretrain_text([], [f"output_dir={tmp_path / 'run'}"])
    with pytest.raises(ConfigError, match="output_dir is empty"):
        pretrain_text([], ["corpus=x.txt"])


def test_settings_that_failed_do_not_stay_in_the_way(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too few"):
        run(text, tmp_path / "run", "training.batch_tokens=1000000", "vocab_size=85")
    run(text, tmp_path / "run", "training.steps=1")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run" / "encoder")) > 85


# Several processes

AT_STEP_8 = """
import os
import sys

from common.training import pretraining
from competitions.__main__ import main


def die(self, args, state, control, **kwargs):
    if state.global_step == 8:
        os._exit(1)


pretraining.SaveByTime.on_step_end = die
sys.exit(main(sys.argv[1:]))
"""
STEPS = ("training.steps=14", "training.learning_rate=1e-3", "training.accumulation=2")


@pytest.fixture
def two_processes(
    text: Path, elsewhere: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Pretrains by torchrun. program: the kit, or a script that runs it."""

    def pretrain(folder: Path, *words: str, program: tuple[str, ...] = ("-m", "competitions")):
        launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
        own = ("pretrain", f"corpus={text}", f"output_dir={folder}", *TINY, *STEPS, *words)
        return elsewhere([*launcher, *program, *own], PYTHONPATH=str(ROOT))

    return pretrain


@pytest.mark.parametrize("words", [(), ("sentence_pairs=structure", "training.max_length=32")], ids=["packed", "pairs"])
def test_two_processes_train_what_one_does(
    words: tuple[str, ...], text: Path, tmp_path: Path, two_processes: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = two_processes(tmp_path / "two", *words)
    assert found.returncode == 0, found.stderr[-3000:]
    run(text, tmp_path / "one", *STEPS, "training.batch_tokens=128", *words)
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)
    first, second = facts(tmp_path / "one"), facts(tmp_path / "two")
    assert first["tokens"] == second["tokens"] and first["loss"] == pytest.approx(second["loss"], abs=1e-5)
    assert first["accuracy"] == pytest.approx(second["accuracy"], abs=1e-6)


def test_two_processes_that_were_killed_go_on_to_the_same_weights(
    tmp_path: Path, two_processes: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    # With dropout, which each process draws for itself and takes up again.
    words = ("training.dropout=0.1", "training.save_steps=5")
    assert two_processes(tmp_path / "whole", *words).returncode == 0
    script = tmp_path / "at_step_8.py"
    script.write_text(AT_STEP_8, encoding="utf-8")
    assert two_processes(tmp_path / "cut", *words, program=(str(script),)).returncode != 0
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["checkpoint-5"]
    found = two_processes(tmp_path / "cut", *words)
    assert found.returncode == 0, found.stderr[-3000:]
    assert "step 6 of 14" in found.stdout and "step 5 of 14" not in found.stdout, "it does not begin anew"
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert facts(tmp_path / "whole") == facts(tmp_path / "cut")
