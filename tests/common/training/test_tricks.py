"""Every trick composes with resuming, accumulated batches and half precision, and leaves the optimizer its weights."""

import math

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, set_seed

from common.config import ConfigError, typed
from common.members.neural import trainer_class
from common.training.arguments import TrainingConfig, training_arguments
from common.training.trainer import FoldTrainer
from common.training.tricks import AveragingConfig
from models.classifiers import Classifier
from tests.common.members.test_neural import Killed, TinyMember, table
from tests.common.training.tiny import COLLATOR, fast, feature_rows, states, tagger

TRICKS = {
    "fgm": {"adversarial": {"kind": "fgm"}},
    "fgm of rows": {"adversarial": {"kind": "fgm", "target": "embedding_output"}},
    "late fgm": {"adversarial": {"kind": "fgm", "start": 0.5}},
    "pgd": {"adversarial": {"kind": "pgd"}},
    "pgd of rows": {"adversarial": {"kind": "pgd", "target": "embedding_output", "steps": 2}},
    "freelb": {"adversarial": {"kind": "freelb"}},
    "awp": {"adversarial": {"kind": "awp"}},
    "vat": {"adversarial": {"kind": "vat", "steps": 2}},
    "sam": {"adversarial": {"kind": "sam"}},
    "focal": {"loss": {"kind": "focal"}},
    "dice": {"loss": {"kind": "dice", "class_weights": [0.5, 1.0, 1.0]}},
    "label smoothing": {"loss": {"label_smoothing": 0.1}},
    "r-drop": {"loss": {"r_drop": 1.0}},
    "contrastive": {"loss": {"contrastive": 0.2}},
    "mixup": {"loss": {"mixup": 0.4}},
    "gradient penalty": {"loss": {"gradient_penalty": 0.5}},
    "flooding": {"loss": {"flooding": 50.0}},
    "neftune": {"noise": {"neftune": 5.0}},
    "hype": {"noise": {"hype": 0.01, "hype_kind": "uniform"}},
    "ema": {"averaging": {"kind": "ema", "decay": 0.9}},
    "swa": {"averaging": {"kind": "swa", "last": 3, "every": 1}},
    "adafactor": {"optimizer": {"name": "adafactor"}},
    "lamb": {"optimizer": {"name": "lamb"}},
    "radam": {"optimizer": {"name": "radam"}},
    "lookahead": {"optimizer": {"lookahead": 2}},
    "layer decay": {"layer_decay": 0.5},
    "mixout": {"layers": {"mixout": 0.3}},
    "fresh layers, unfreezing": {"layers": {"reinitialise": 1, "unfreeze": 0.7}},
    "other seeds": {"seeds": {"order": 9, "weights": 8}, "layers": {"reinitialise": 1}},
    "all at once": {
        "averaging": {"kind": "ema", "decay": 0.5},
        "optimizer": {"name": "lamb", "lookahead": 2},
        "layers": {"mixout": 0.1, "unfreeze": 0.5},
        "adversarial": {"kind": "pgd", "steps": 2},
        "loss": {"label_smoothing": 0.1, "r_drop": 0.5, "mixup": 0.4, "contrastive": 0.1, "flooding": 0.1},
        "noise": {"neftune": 1.0, "hype": 1e-3},
    },
}


def config(trick: str, **settings) -> TrainingConfig:
    return typed(TrainingConfig, {**vars(fast(batch_size=4, accumulation=2, epochs=2, **settings)), **TRICKS[trick]})


class TinyBert(TinyMember):
    """Three transformer layers under a CRF."""

    def build_model(self):
        return tagger("bert", head="crf")


def fit(folder, member):
    member.fit(table(14, 1), table(6, 2), (), folder)
    return member.model.state_dict()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    settings = fast(batch_size=4, accumulation=2, epochs=2, precision="bf16", keep="last")
    return fit(tmp_path_factory.mktemp("plain"), TinyBert(settings))


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels of a GPU add up in any order")
@pytest.mark.parametrize("trick", TRICKS)
def test_a_resumed_fit_in_half_precision_gives_bit_for_bit_what_an_uninterrupted_one_gives(tmp_path, trick, plain):
    settings = config(trick, precision="bf16", keep="last")
    expected = fit(tmp_path / "whole", TinyBert(settings))
    with pytest.raises(Killed):
        fit(tmp_path / "cut", TinyBert(settings, die_after=1))
    torch.rand(3)
    found = fit(tmp_path / "cut", TinyBert(settings))
    for name, value in expected.items():
        assert torch.equal(value, found[name]) and value.isfinite().all(), name
    assert any(not torch.equal(value, plain[name]) for name, value in expected.items())


class Sampling(TinyMember):
    """A softmax tagger whose loss is averaged over several dropout masks."""

    def build_model(self):
        return tagger("bert", multi_sample_dropout=3)


class Taught(TinyBert):
    """A CRF beside a teacher's distributions."""

    def teacher_labels(self, said, owner):
        return said

    def fit(self, train, *rest):
        random = np.random.default_rng(3)
        said = [random.dirichlet(np.ones(3), len(labels)).astype(np.float32) for labels in train["labels"]]
        return super().fit(train.assign(teacher=said, teacher_share=0.5), *rest)


class Classifying(TinyMember):
    """Does a text hold a token above 20? A second head, whose labels are of rows."""

    def judge_scores(self, rows, scores):
        self.judged += 1
        if self.judged == self.die_after + 1 and self.die_after:
            raise Killed
        return {"score": 0.0}

    def build_model(self):
        return Classifier.from_encoder(tagger("bert").encoder, classes=["no", "yes"], pooling="mean")

    def load_model(self, folder):
        return Classifier.from_pretrained(folder)

    def features(self, rows, labelled):
        rows = rows.drop(columns="word_positions").assign(labels=[int(max(ids) > 20) for ids in rows["input_ids"]])
        return super().features(rows, labelled)

    def forward(self, model, batch):
        return list(model.probabilities(**batch).cpu().numpy()[:, None])


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels of a GPU add up in any order")
@pytest.mark.parametrize(
    ("kind", "trick"),
    [(Sampling, trick) for trick in (None, "r-drop", "focal")]
    + [(Taught, trick) for trick in (None, "r-drop", "ema")]
    + [(Classifying, trick) for trick in ("fgm", "vat", "r-drop", "contrastive", "mixup", "flooding", "ema")],
)
def test_other_heads_and_a_teacher_are_resumed_bit_for_bit_too(tmp_path, kind, trick):
    plain = fast(batch_size=4, accumulation=2, epochs=2, precision="bf16", keep="last")
    settings = plain if trick is None else config(trick, precision="bf16", keep="last")
    expected = fit(tmp_path / "whole", kind(settings))
    with pytest.raises(Killed):
        fit(tmp_path / "cut", kind(settings, die_after=1))
    torch.rand(3)
    found = fit(tmp_path / "cut", kind(settings))
    for name, value in expected.items():
        assert torch.equal(value, found[name]) and value.isfinite().all(), name


@pytest.mark.parametrize(
    ("trick", "kind"),
    [(trick, "bert") for trick in TRICKS if {"adversarial", "loss", "noise"} & {*TRICKS[trick]}]
    + [(trick, "recurrent") for trick in ("pgd", "freelb", "gradient penalty")],
)
def test_between_two_steps_weights_are_what_the_optimizer_made_them(tmp_path, trick, kind):
    settings = config(trick, precision="bf16", max_steps=2, schedule="constant", warmup=0.0)
    set_seed(3)
    trainer = trainer_class(settings)(tagger(kind, head="crf"), settings, training_arguments(settings, tmp_path, 3),
                                      feature_rows(16), COLLATOR, lambda model: {"score": 0.0})  # fmt: skip
    made, step = [], trainer.training_step

    def watched(model, inputs, *rest):
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        loss = step(model, inputs, *rest)
        assert math.isfinite(loss)
        for name, value in trainer.model.named_parameters():
            assert torch.equal(value, before[name]), name
        made.append(before)
        return loss

    trainer.training_step = watched
    trainer.train()
    assert len(made) == 4 and any(not torch.equal(value, made[3][name]) for name, value in made[0].items())


@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_is_scored_and_what_is_saved_is_the_average(tmp_path, keep):
    settings = fast(batch_size=4, epochs=2, keep=keep, averaging=AveragingConfig("swa", last=4, every=1))
    seen: list[dict[str, torch.Tensor]] = []
    trained: list[dict[str, torch.Tensor]] = []

    def evaluate(model):
        seen.append(states(model))
        return {"score": -len(seen)}  # the first epoch is the best

    set_seed(3)
    trainer = trainer_class(settings)(tagger("bert"), settings, training_arguments(settings, tmp_path, 3),
                                      feature_rows(12), COLLATOR, evaluate)  # fmt: skip

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            trained.append(states(model))

    trainer.add_callback(Watch())
    trainer.train()
    name = "classifier.weight"
    assert len(trained) == 6 and len(seen) == 2
    # Four snapshots, of steps 3 to 6; the first evaluation comes after the first of them.
    assert torch.equal(seen[0][name], trained[2][name])
    assert torch.allclose(seen[1][name], torch.stack([one[name] for one in trained[2:]]).mean(0), atol=1e-6)
    assert torch.equal(trainer.model.state_dict()[name], seen[0 if keep == "best" else 1][name])


@pytest.mark.parametrize(
    ("keep", "averaging"),
    [("best", AveragingConfig("swa", last=1)), ("last", AveragingConfig("swa", every=500)), ("last", None)],
)
def test_weights_that_are_no_average_are_said_to_be_none(tmp_path, caplog, keep, averaging):
    averaging = averaging or AveragingConfig("swa", last=1)
    silent = keep == "last" and not averaging.every
    settings = fast(batch_size=4, epochs=2, keep=keep, averaging=averaging)
    scores = iter([{"score": 1.0}, {"score": 0.0}])
    set_seed(3)
    trainer = trainer_class(settings)(tagger("bert"), settings, training_arguments(settings, tmp_path, 3),
                                      feature_rows(12), COLLATOR, lambda model: next(scores))  # fmt: skip
    with caplog.at_level("INFO"):
        trainer.train()
    assert ("SWA's first snapshot" in caplog.text) == (trainer.average.count == 0) == (not silent)


def test_a_run_without_tricks_has_the_plain_trainer():
    assert trainer_class(TrainingConfig()) is FoldTrainer
    assert FoldTrainer.training_step is FoldTrainer.__mro__[1].training_step
    assert FoldTrainer.compute_loss is FoldTrainer.__mro__[1].compute_loss


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"adversarial": {"epsilom": 1}}, "'members.m.training.adversarial.epsilom': did you mean 'epsilon'"),
        ({"loss": {"kind": "focall"}}, "training.loss.kind is 'focall': did you mean 'focal'"),
        ({"loss": {"r_drop": -1}}, "training.loss.r_drop is -1: expected a number of at least 0"),
        ({"noise": {"hype_kind": "norm"}}, "did you mean 'normal'"),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_right_one(words, message):
    with pytest.raises(ConfigError) as raised:
        typed(TrainingConfig, words, "members.m.training")
    assert message in str(raised.value)
