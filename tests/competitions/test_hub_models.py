"""A checkpoint of any family that the kit promises goes through both contests with encoder=FOLDER."""

import copy
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from common.ensembling.scores import Scores
from common.files import write_lines
from competitions.launch import launch
from competitions.sohu_matching.data import SUBTASKS
from models.conditional_layer_norm import ConditionalLayerNorm
from models.matchers import CrossEncoder
from models.taggers import Tagger
from tests.competitions.conftest import Datagrand
from tests.models.families import CONFIGS

CHARACTERS = "股票上涨下跌球队赢输了今天北京"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece as of a Chinese BERT: single characters, and numbers spelt by their digits."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"0123456789", *(f"##{digit}" for digit in range(10))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *CHARACTERS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )  # fmt: skip
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.fixture(scope="module", params=list(CONFIGS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved masked language model of each family with one layer, random weights, and its tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    config = copy.deepcopy(CONFIGS[request.param])
    config.num_hidden_layers = 1
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sohu_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled pairs and a test pair of each subtask."""
    folder = tmp_path_factory.mktemp("sohu")
    for task, name in enumerate(SUBTASKS):
        key = f"label{name[-2]}"
        pairs = [
            (f"{day}股票上涨", f"{day}{other}", day % 2)
            for day, other in enumerate(["球队赢了", "股票上涨"] * 2, 4 * task)
        ]
        labelled = [{"source": one, "target": two, key: str(label)} for one, two, label in pairs]
        test = {"source": "北京", "target": "今天北京", "id": f"{task}{name[-2].lower()}"}
        write_lines(folder / name / "train.txt", (json.dumps(row, ensure_ascii=False) for row in labelled))
        write_lines(folder / name / "test_with_id.txt", [json.dumps(test, ensure_ascii=False)])
    return folder


def test_it_tags(checkpoint: Path, datagrand: Datagrand) -> None:
    words = (f"encoder={checkpoint}", "use=[bert_crf]", "only=bert_crf/fold-0")
    datagrand.run("train", *words)
    unit = datagrand.units(*words)["bert_crf/fold-0/seed-1"]
    assert json.loads((unit / "unit.json").read_text())["steps"] == 1
    model = Tagger.from_pretrained(unit / "model")
    assert model.encoder.config.model_type == json.loads((checkpoint / "config.json").read_text())["model_type"]
    for part, rows in (("oof", 30), ("test", 12)):
        scores = Scores.load(unit / f"{part}.parquet")
        assert len(scores) == rows and abs(scores.values.sum(1) - 1).max() < 1e-4
    # Its own folder is all that predicting needs: the checkpoint may be gone.
    contest = datagrand.contest(*words)
    restored = contest.build_member("bert_crf", 1).restore(unit)
    again = Scores.of(contest.read_test()["id"].tolist(), restored.scores(contest.read_test()))
    assert abs(again.values - Scores.load(unit / "test.parquet").values).max() < 1e-5


def test_it_matches_pairs_with_the_subtask_in_every_layer_norm(
    checkpoint: Path, sohu_files: Path, tmp_path: Path
) -> None:
    words = [f"encoder={checkpoint}", "use=[conditional_norm]", "only=conditional_norm/fold-0", "folds=2", "workers=1",
             f"data_dir={sohu_files}", f"output_dir={tmp_path}", "members.conditional_norm.training.max_steps=1",
             "members.conditional_norm.training.batch_size=8", "members.conditional_norm.condition_size=4",
             "members.conditional_norm.training.warmup=0"]  # fmt: skip
    launch("sohu_matching", "train", [], words)
    unit = tmp_path / "conditional_norm" / "fold-0" / "seed-1"
    assert json.loads((unit / "unit.json").read_text())["steps"] == 1
    model = CrossEncoder.from_pretrained(unit / "model")
    norms = {name: module for name, module in model.encoder.named_modules() if isinstance(module, ConditionalLayerNorm)}
    assert len(norms) >= 3, "the embeddings' and the layer's two"
    plain = {name for name, module in model.encoder.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert plain <= {"encoder.LayerNorm"}, "DeBERTa's table of relative positions, which belongs to no text"
    assert any(norm.condition_gain.any() or norm.condition_shift.any() for norm in norms.values()), "a step moved them"
    for part, rows in (("oof", 12), ("test", 6)):
        scores = Scores.load(unit / f"{part}.parquet").values
        assert scores.shape == (rows, 1) and ((scores > 0) & (scores < 1)).all()
