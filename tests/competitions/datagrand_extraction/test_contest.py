"""DataGrand 2019 as a contest: its files, its submission and what the organisers would reject."""

from pathlib import Path

import pytest

from common.config import read_config, resolved, save_config, typed
from common.files import DataError
from common.run import Run
from common.stages.pretrain import PretrainConfig
from common.stages.train import slowest_first
from competitions.launch import configured
from competitions.pretraining import DEFAULT
from tests.competitions.conftest import Datagrand


def submission(kit: Datagrand, path: Path) -> Path:
    """A right submission: the gold labels of the test lines."""
    path.write_bytes((kit.data / "gold.txt").read_bytes())
    return path


def spoilt(path: Path, change) -> Path:
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in change(lines)))
    return path


def test_a_right_submission_passes(datagrand: Datagrand, tmp_path: Path) -> None:
    path = submission(datagrand, tmp_path / "submission.txt")
    datagrand.run("check", f"submission={path}")


def test_its_own_writer_passes_its_own_check(datagrand: Datagrand, tmp_path: Path) -> None:
    contest = datagrand.contest()
    test = contest.read_test()
    contest.write_submission(tmp_path / "out.txt", test, [[(0, 2, "a")]] * len(test))
    contest.check_submission(tmp_path / "out.txt", test)
    assert contest.read_predictions(tmp_path / "out.txt")[1] == [[(0, 2, "a")]] * len(test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:4], "7" + lines[4], *lines[5:]], r"\.txt:5: differs from the test file at token 1;"),
        (lambda lines: [*lines[:4], "1_" + lines[4], *lines[5:]], r"\.txt:5: differs from the test file at token"),
        (lambda lines: [*lines[:4], lines[4] + "  99/o", *lines[5:]], r"\.txt:5: differs from the test file at token"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], r"\.txt:1: differs from the test file"),
        (lambda lines: lines[:-1], r"\.txt: has 11 lines; expected 12 lines, one a test line"),
        (lambda lines: [*lines, lines[-1]], r"\.txt: has 13 lines; expected 12 lines"),
        (lambda lines: [lines[0], *lines], r"\.txt:2: differs from the test file"),
        (lambda lines: [*lines[:2], "", *lines[2:]], r"\.txt:3: the line is empty"),
        (lambda lines: [*lines[:2], lines[2].replace("/", ""), *lines[3:]], r"\.txt:3: .*has no tag"),
        (lambda lines: [], r"\.txt: is empty"),
    ],
)  # fmt: skip
def test_what_the_organisers_would_reject_is_named(datagrand: Datagrand, tmp_path: Path, change, message: str) -> None:
    path = spoilt(submission(datagrand, tmp_path / "submission.txt"), change)
    with pytest.raises(DataError, match=message):
        datagrand.run("check", f"submission={path}")


def test_without_a_submission_check_says_how_to_get_one(datagrand: Datagrand) -> None:
    with pytest.raises(DataError, match=r"expected a submission; run the ensemble stage first"):
        datagrand.run("check")


def test_a_prediction_of_another_file_is_not_scored(datagrand: Datagrand, tmp_path: Path) -> None:
    """Scores of lines that are not the gold's would be a number without a meaning."""
    path = spoilt(submission(datagrand, tmp_path / "prediction.txt"), lambda lines: lines[::-1])
    with pytest.raises(DataError, match=r"differs from the test file"):
        datagrand.run("score", f"prediction={path}", f"gold={datagrand.data / 'gold.txt'}")


def test_unlabelled_text_is_the_corpus_and_the_test_lines_but_never_training_lines(datagrand: Datagrand) -> None:
    contest = datagrand.contest()
    text = list(contest.unlabelled())
    assert len(text) == 40 + 12 and text[-12:] == contest.read_test()["tokens"].tolist()
    assert list(contest.unlabelled()) == text


def test_without_a_corpus_the_test_lines_are_all_there_is(own_files: Datagrand) -> None:
    (own_files.data / "corpus.txt").unlink()
    assert len(list(own_files.contest().unlabelled())) == 12


def test_augmentation_reaches_the_rows_that_a_fold_is_fitted_on_alone(datagrand: Datagrand) -> None:
    contest = datagrand.contest("augmentation=all_types")
    train = contest.read_train()
    assert len(train) == 60 and len(contest.augment(train)) > 100
    datagrand.run("train", "augmentation=all_types", "use=[sparse_crf]", "only=sparse_crf/fold-0")
    run = Run(contest)
    facts = run.finished(run.units("sparse_crf/fold-0")[0]) if "sparse_crf" in contest.config.use else None
    folds = contest.folds(train)
    assert facts["rows"] == len(contest.augment(train[folds != 0].reset_index(drop=True)))
    assert len(run.scores(run.units("sparse_crf/fold-0")[0], "oof")) == (folds == 0).sum()


@pytest.mark.parametrize(
    ("config", "members"),
    [
        ([], ["bilstm_crf", "span_pointers", "sparse_crf", "bert_crf"]),
        (["small_encoder.yaml"], ["bilstm_crf", "span_pointers", "sparse_crf", "bert_crf"]),
        (["demo.yaml"], ["bilstm_crf", "sparse_crf", "bert_crf"]),
    ],
)
def test_the_shipped_configs_are_complete(config: list[str], members: list[str], tmp_path: Path) -> None:
    files = [Path("competitions/datagrand_extraction/config") / name for name in config]
    own = configured("datagrand_extraction", files, ["encoder=some/encoder"])
    assert list(own.settings) == members
    assert own.settings["bert_crf"].encoder == "some/encoder"
    save_config(tmp_path / "pretrain.yaml", own.config.pretrain)
    pretraining = typed(PretrainConfig, resolved(read_config([DEFAULT, tmp_path / "pretrain.yaml"], [])))
    assert bool(config) == (pretraining.masking.objective == "ngram")


def test_side_by_side_the_slowest_members_come_first() -> None:
    demo = [Path("competitions/datagrand_extraction/config/demo.yaml")]
    contest = configured("datagrand_extraction", demo, ["encoder=some/encoder", "folds=2"])
    order = [unit.name for unit in slowest_first(contest, Run(contest).units())]
    assert order == [f"{name}/fold-{fold}/seed-1" for name in ("bert_crf", "bilstm_crf", "sparse_crf")
                     for fold in range(2)]  # fmt: skip
