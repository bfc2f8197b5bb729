"""With soup=true one model a seed, the mean of its folds' weights, scores what has no label."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from common.ensembling.scores import Scores
from common.files import DataError
from common.run import Run, Unit
from common.stages.soups import models, scored
from common.text.vocabulary import character_tokenizer
from competitions.launch import configured, launch
from tests.competitions.conftest import ROOT

OWN = ROOT / "competitions" / "chnsenticorp"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random encoder whose vocabulary all folds share, as those of a pretrained one do."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = character_tokenizer((OWN / "sample/train.tsv").read_text(encoding="utf-8").splitlines(), 1)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


def words(folder: Path, encoder: str) -> list[str]:
    short = ["epochs=1", "max_steps=2", "precision=fp32", "learning_rate=0.01"]
    return [f"data_dir={OWN / 'sample'}", f"output_dir={folder}", "workers=1", "folds=2", "use=[classifier]",
            f"encoder={encoder}", "soup=true", "members.classifier.max_length=32",
            *(f"members.classifier.training.{word}" for word in short)]  # fmt: skip


def test_test_rows_and_new_rows_are_scored_by_the_mean_of_the_folds(tmp_path: Path, encoder: str) -> None:
    own = words(tmp_path / "run", encoder)
    for stage in ("train", "ensemble", "check"):
        launch("chnsenticorp", stage, [], own)
    run = tmp_path / "run"
    states = [load_file(run / f"classifier/fold-{fold}/seed-1/model/model.safetensors") for fold in range(2)]
    found = load_file(run / "classifier/soup-seed-1/model/model.safetensors")
    assert all(torch.allclose(found[name], (states[0][name] + states[1][name]) / 2, atol=1e-7) for name in found)
    assert any(not torch.equal(states[0][name], states[1][name]) for name in found)

    contest = configured("chnsenticorp", [], own)
    test = contest.read_test()
    ((unit, folder),) = models(contest, Run(contest), Run(contest).units())
    scores, *_ = scored(contest, unit, folder, test)
    assert Scores.load(run / "test.parquet").values == pytest.approx(scores.values, abs=1e-6)
    again = tmp_path / "again"
    new = [f"run={run}", f"output_dir={run}", f"input={OWN / 'sample/test.tsv'}", f"output={again}"]
    launch("chnsenticorp", "predict", [], new)
    assert again.read_bytes() == (run / contest.submission_file).read_bytes()


def test_folds_with_vocabularies_of_their_own_have_no_mean(tmp_path: Path, encoder: str) -> None:
    contest = configured("chnsenticorp", [], words(tmp_path, encoder))
    run = Run(contest)
    for fold in range(2):
        folder = run.unit_folder(Unit("classifier", fold, 1))
        for name in ("model/model.safetensors", "unit.json", "tokenizer/tokenizer.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(str(fold))
    with pytest.raises(DataError, match="vocabulary"):
        models(contest, run, run.units())


def test_without_soup_and_for_members_without_weights_every_unit_scores(tmp_path: Path, encoder: str) -> None:
    contest = configured("chnsenticorp", [], [*words(tmp_path, encoder), "use=[tfidf]"])
    assert len(models(contest, Run(contest), Run(contest).units())) == 2
    contest = configured("chnsenticorp", [], [*words(tmp_path, encoder), "soup=false"])
    assert len(models(contest, Run(contest), Run(contest).units())) == 2


def test_members_from_random_weights_keep_their_models(tmp_path: Path, encoder: str) -> None:
    contest = configured("chnsenticorp", [], [*words(tmp_path, encoder), "members.classifier.encoder="])
    run = Run(contest)
    for unit in run.units():
        (run.unit_folder(unit) / "model").mkdir(parents=True)
        (run.unit_folder(unit) / "model/model.safetensors").write_bytes(b"")
    assert [folder for _, folder in models(contest, run, run.units())] == list(map(run.unit_folder, run.units()))
