"""The command line: help is instant, and what is misspelt is named with what was meant."""

import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from competitions.__main__ import STAGES, contests, main
from competitions.scaffold.new import TASKS
from tests.competitions.conftest import ROOT, Datagrand

HEAVY = ("torch", "transformers", "datasets", "pandas", "numpy", "jieba", "gensim", "sklearn", "omegaconf")


def test_help_is_there_at_once_and_loads_nothing_heavy(
    elsewhere: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = elsewhere([*Datagrand(Path(), Path()).command("")[:1], "-X", "importtime", "-m", "competitions", "--help"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.returncode == 0
    # Computing time: what the clock on the wall says depends on who else uses the machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in found.stderr.splitlines()}
    assert "python -m competitions" in found.stdout
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["datagrand_extraction", "train", "--help"]])
def test_help_lists_every_contest_and_stage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr().out
    for name, about in contests().items():
        assert name in said and about in said
    for stage in STAGES:
        assert f"\n  {stage} " in said


def test_help_of_a_contest_ends_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    for words, key in ((["lcqmc", "--help"], "cross_encoder:"), (["pretrain", "-h"], "every_line:")):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert "Stages:" in said and key in said
    assert main(["new", "--help"]) == 0
    said = capsys.readouterr().out
    assert "Stages:" not in said and all(f"{task} " in said for task in TASKS)


def test_help_says_how_to_begin_a_contest_with_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    from competitions.scaffold.new import TASKS

    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "python -m competitions new NAME --task TASK" in said and f"tasks: {' '.join(TASKS)}" in said


def test_a_contest_is_a_folder_with_a_contest_file() -> None:
    assert {"datagrand_extraction", "sohu_matching"} <= set(contests())
    assert all(about for about in contests().values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown stage 'trian': did you mean 'train'?"),
        ([], "unknown stage '': known are prepare, pretrain, search, train, ensemble, check, score, predict"),
        (["train", "flods=3"], "unknown config key 'flods': did you mean 'folds'?"),
        (["train", "folds=many"], "'folds'"),
        (["train", "folds"], "cannot read the argument 'folds': expected key=value"),
        (["train", "--folds=3"], "folds"),
        (["train", "use=[bilstm]"], "use names a member 'bilstm' that has no settings: did you mean 'bilstm_crf'?"),
        (["train", "members.bilstm_crff.head=crf"], "members.bilstm_crff has no kind, so there is no such member"),
        (["train", "members.bilstm_crf.training.epoch=3"],
         "unknown config key 'members.bilstm_crf.training.epoch': did you mean 'epochs'?"),
        (["train", "members.bilstm_crf.training.epochs=0"], "training.epochs is 0"),
        (["train", "members.bilstm_crf.kind=taggr"], "members.bilstm_crf.kind is 'taggr': did you mean 'tagger'?"),
        (["train", "members.bilstm_crf.head=crfs"], "head is 'crfs': did you mean 'crf'?"),
        (["train", "members.bilstm_crf.average=crfs"], "average is 'crfs': did you mean 'crf'?"),
        (["train", "members.span_pointers.activation=softmx"], "activation is 'softmx': did you mean 'softmax'?"),
        (["train", "members.bilstm_crf.recurrent_size=3"], "recurrent_size"),
        (["train", "scheme=BOI"], "'BOI'"),
        (["train", "types=[a,b]"], "types"),
        (["train", "augmentation=all_type"], "augmentation is 'all_type': did you mean 'all_types'?"),
        (["train", "--config", "no-such.yaml"], "no-such.yaml"),
        (["train", "data_dir=no/such/folder"], "train.txt: no such file or folder"),
        (["prepare", "use=[bert_crf]", "encoder=no/such/encoder"], "no/such/encoder"),
        (["predict", "run=no-such-run"], "no such file or folder; expected the folder of a finished run"),
        (["score"], "score needs gold=FILE"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_ends_with_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], datagrand: Datagrand
) -> None:
    files = datagrand.settings() if words[:1] in (["train"], ["prepare"]) else []
    assert main(["datagrand_extraction", *words[:1], *files, *words[1:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
    assert "Traceback" not in said


def test_an_unknown_contest_is_named_with_the_nearest_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datagrand_extractoin", "train"]) == 2
    assert "unknown contest 'datagrand_extractoin': did you mean 'datagrand_extraction'?" in capsys.readouterr().err
    assert main(["kaggle", "train"]) == 2
    assert "unknown contest 'kaggle': known are c3, chnsenticorp, cluener," in capsys.readouterr().err


def test_a_mistake_in_a_file_of_settings_names_the_file(
    datagrand: Datagrand, capsys: pytest.CaptureFixture[str]
) -> None:
    datagrand.output.mkdir()
    config = datagrand.output / "my.yaml"
    for text, message in (("folds: [", "not valid YAML"), ("- folds", "my.yaml holds a list"),
                          ("contest: sohu_matching\n", "belongs to another contest"),
                          ("fold: 3\n", "'folds'")):  # fmt: skip
        config.write_text(text)
        assert main(["datagrand_extraction", "prepare", "--config", str(config), *datagrand.settings()]) == 2
        assert message in capsys.readouterr().err


def test_later_settings_win(datagrand: Datagrand) -> None:
    """default.yaml, then --config, then words."""
    from competitions.launch import configured

    datagrand.output.mkdir()
    config = datagrand.output / "my.yaml"
    config.write_text("folds: 7\nfold_seed: 8\n")
    found = configured("datagrand_extraction", [config], ["folds=9"]).config
    assert (found.folds, found.fold_seed, found.scheme) == (9, 8, "BIO")


def test_interrupted_by_a_person_it_says_that_it_can_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("competitions.launch.launch", interrupt)
    assert main(["datagrand_extraction", "train"]) == 130
    assert "the same command goes on from the last checkpoint" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = " ".join(map(shlex.quote, [sys.executable, "-m", "competitions", "--help"]))
    done = subprocess.run(["bash", "-c", f"({command}; echo $? >&2) | true"], capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and done.stderr.split()[-1] in ("0", "141")


def test_without_the_packages_it_says_how_to_install_them(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "common.config")
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    assert main(["datagrand_extraction", "check"]) == 2
    assert "omegaconf is not installed: run `make setup`" in capsys.readouterr().err
