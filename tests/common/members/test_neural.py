"""A neural member that is cut off and started again ends where an undisturbed one ends."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from common.config import ConfigError, typed
from common.ensembling.scores import Scores
from common.files import read_json
from common.members.neural import FeatureMember, last_whole_checkpoint
from common.training.arguments import TrainingConfig
from models.taggers import Tagger
from tests.common.training.tiny import COLLATOR, fast, feature_rows, tagger


class Killed(BaseException):
    """Ends a process as a kill would: nothing in between may catch it."""


class TinyMember(FeatureMember):
    """Rows carry their features. die_after: evaluations after whose checkpoint the process ends; 0 for never.

    script: held-out scores by epoch, in place of the share of right tags.
    """

    def __init__(self, training, die_after: int = 0, script: tuple[float, ...] = ()) -> None:
        super().__init__(training, 5, self.judge_scores)
        self.die_after, self.script, self.judged = die_after, script, 0

    def judge_scores(self, rows, scores):
        self.judged += 1
        if self.judged == self.die_after + 1 and self.die_after:
            raise Killed
        bounds = zip(scores.offsets, scores.offsets[1:], rows["labels"], strict=False)
        right = [(scores.values[start:end].argmax(1) == labels).mean() for start, end, labels in bounds]
        return {"score": self.script[self.epochs_before + self.judged - 1] if self.script else float(np.mean(right))}

    epochs_before = 0

    def fit_text(self, train, unlabelled, folder):
        np.random.random(7)  # what a run draws before training differs from what a checkpoint holds
        folder.mkdir(parents=True, exist_ok=True)

    def restore_text(self, folder):
        pass

    def build_model(self):
        return tagger(head="crf")

    def load_model(self, folder):
        return Tagger.from_pretrained(folder)

    def features(self, rows, labelled):
        columns = [name for name in rows if name not in ("id", "teacher", "teacher_share")]
        table = Dataset.from_pandas(rows[columns], preserve_index=False)
        return table if labelled else table.remove_columns("labels"), np.arange(len(rows))

    def collator(self):
        return COLLATOR

    def forward(self, model, batch):
        values = model.probabilities(**batch).cpu().numpy()
        lengths = batch["attention_mask"].sum(1).tolist()
        return [row[:length] for row, length in zip(values, lengths, strict=True)]

    def collect(self, outputs, owners, rows):
        return outputs


def table(rows: int, seed: int) -> pd.DataFrame:
    frame = feature_rows(rows, seed).to_pandas()
    return frame.assign(id=[f"{seed}-{place}" for place in range(rows)])


TRAIN, HELD_OUT = table(44, 1), table(15, 2)


def fit(folder, member):
    facts = member.fit(TRAIN, HELD_OUT, (), folder)
    return facts, member.model.state_dict(), read_json(folder / "history.json")


def without_times(history: list[dict]) -> list[dict]:
    timed = ("runtime", "per_second", "total_flos", "train_loss")  # of one process, not of the whole fit
    return [{key: value for key, value in line.items() if not any(word in key for word in timed)} for line in history]


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels of a GPU add up in any order")
@pytest.mark.parametrize(
    ("die_after", "settings"),
    [
        (1, {}),
        (1, {"accumulation": 2}),
        (1, {"keep": "last"}),
        (2, {"keep": "last", "accumulation": 2, "group_by_length": False}),
        (2, {"schedule": "plateau"}),
        (1, {"batch_tokens": 40}),
        (3, {"schedule": "cosine", "epochs": 4}),
    ],
    ids=str,
)
def test_a_resumed_fit_gives_bit_for_bit_what_an_uninterrupted_one_gives(tmp_path, die_after, settings):
    config = fast(**settings)
    expected = fit(tmp_path / "whole", TinyMember(config))
    with pytest.raises(Killed):
        fit(tmp_path / "cut", TinyMember(config, die_after=die_after))
    assert last_whole_checkpoint(tmp_path / "cut" / "checkpoints")
    torch.rand(3)  # another process has other random states
    again = TinyMember(config)
    found = fit(tmp_path / "cut", again)
    assert again.judged == config.epochs - die_after
    assert found[0] == expected[0]
    for name, value in expected[1].items():
        assert torch.equal(value, found[1][name]), name
    assert without_times(found[2]) == without_times(expected[2])


@pytest.mark.parametrize("settings", [{}, {"keep": "last"}, {"averaging": {"kind": "ema", "decay": 0.9}}], ids=str)
def test_a_fit_that_pauses_goes_on_as_if_it_had_not(tmp_path, settings):
    config = typed(TrainingConfig, asdict(fast(epochs=4)) | settings)
    expected = fit(tmp_path / "whole", TinyMember(config))
    for _ in range(2):  # a second call, as after a cut right at the pause, does not train on
        paused = TinyMember(config)
        paused.pause_after = 0.3
        facts = paused.fit(TRAIN, HELD_OUT, (), tmp_path / "cut")
        scores = [line["eval_score"] for line in expected[2] if "eval_score" in line]
        assert facts == {"paused": scores[1]}, "the first evaluation after 30 % of four epochs is the second"
        assert not (tmp_path / "cut" / "model").exists()
    found = fit(tmp_path / "cut", TinyMember(config))
    assert all(torch.equal(value, found[1][name]) for name, value in expected[1].items())
    assert found[0] == expected[0]


class Taught(TinyMember):
    def teacher_labels(self, said, owner):
        return said


def test_what_a_teacher_says_is_learned(tmp_path):
    """A teacher that is certain of other tags than the labels' turns the model round; one without a share does not."""
    config = fast(epochs=8, keep="last")
    shift = [np.eye(3, dtype=np.float32)[np.where(np.array(labels) == 1, 0, 1)] for labels in TRAIN["labels"]]
    right = {}
    for share in (0.0, 1.0):
        member = Taught(config)
        member.build_model = lambda: tagger(head="softmax")
        taught = TRAIN.assign(teacher=pd.Series(shift, dtype=object), teacher_share=share)
        member.fit(taught, HELD_OUT, (), tmp_path / str(share))
        right[share] = member.judge_scores(HELD_OUT, Scores.of(HELD_OUT["id"].tolist(), member.scores(HELD_OUT)))[
            "score"
        ]
    assert right[0.0] > 0.9 and right[1.0] < 0.1
    with pytest.raises(ConfigError, match="no teacher's distributions"):
        TinyMember(config).fit(taught, HELD_OUT, (), tmp_path / "none")


def test_rows_without_a_teacher_stand_beside_rows_with_one(tmp_path):
    said = [np.full((len(labels), 3), 1 / 3, np.float32) if place % 2 else None
            for place, labels in enumerate(TRAIN["labels"])]  # fmt: skip
    member = Taught(fast(epochs=1))
    member.features = lambda rows, labelled: (
        TinyMember.features(member, rows, labelled)[0],
        np.array([(place, 0, len(ids)) for place, ids in enumerate(rows["input_ids"])]),
    )
    member.fit(TRAIN.assign(teacher=pd.Series(said, dtype=object), teacher_share=0.5), HELD_OUT, (), tmp_path)


def test_a_fit_that_is_cut_off_twice_still_gives_the_same(tmp_path):
    config = fast(epochs=4)
    expected = fit(tmp_path / "whole", TinyMember(config))
    for _ in range(2):
        with pytest.raises(Killed):
            fit(tmp_path / "cut", TinyMember(config, die_after=1))
    found = fit(tmp_path / "cut", TinyMember(config))
    assert all(torch.equal(value, found[1][name]) for name, value in expected[1].items())


@pytest.mark.parametrize("die_after", [2, 3])
def test_patience_is_not_forgotten_by_a_resumed_fit(tmp_path, die_after):
    config, script = fast(epochs=7, patience=3), (0.5, 0.4, 0.3, 0.2, 0.9, 0.9, 0.9)
    whole = TinyMember(config, script=script)
    expected = fit(tmp_path / "whole", whole)
    assert whole.judged == 4
    with pytest.raises(Killed):
        fit(tmp_path / "cut", TinyMember(config, die_after=die_after, script=script))
    again = TinyMember(config, script=script)
    again.epochs_before = die_after
    found = fit(tmp_path / "cut", again)
    assert die_after + again.judged == 4 and found[0] == expected[0]
    assert all(torch.equal(value, found[1][name]) for name, value in expected[1].items())


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize(
    ("last_step", "epochs_kept"),
    # The Trainer ends with loading the best checkpoint and deleting the others.
    [("common.training.trainer.FoldTrainer._load_best_model", 4), ("common.members.neural.write_json", 2)],
)
def test_a_fit_that_is_cut_off_when_all_but_done_is_not_trained_too_long(
    tmp_path, monkeypatch, patience, last_step, epochs_kept
):
    script = (0.5, 0.9, 0.3, 0.2) + (1.0,) * 3  # an epoch too many would be the best one
    config = fast(epochs=7 if patience else 4, patience=patience)
    expected = fit(tmp_path / "whole", TinyMember(config, script=script))

    def dies(*arguments, **settings):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(last_step, dies)
        fit(tmp_path / "cut", TinyMember(config, script=script))
    again = TinyMember(config, script=script)
    again.epochs_before = epochs_kept
    found = fit(tmp_path / "cut", again)
    assert again.judged == 4 - epochs_kept and found[0] == expected[0]
    assert all(torch.equal(value, found[1][name]) for name, value in expected[1].items())


def test_what_is_saved_scores_as_what_was_fitted_and_no_checkpoint_is_left(tmp_path):
    member = TinyMember(fast(epochs=2))
    facts, _, history = fit(tmp_path, member)
    assert facts["steps"] == 12 and facts["best"] == max(line["eval_score"] for line in history if "eval_score" in line)
    assert not (tmp_path / "checkpoints").exists()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".pkl")]
    again = TinyMember(fast()).restore(tmp_path)
    for own, other in zip(member.scores(HELD_OUT), again.scores(HELD_OUT), strict=True):
        assert np.array_equal(own, other)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path):
    weights = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        member = TinyMember(fast(epochs=1))
        member.seed = seed
        weights.append(fit(tmp_path / name, member)[1]["classifier.weight"])
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    for step, state in ((9, '{"epoch": 1}'), (10, '{"epoch": 2}'), (11, '{"epo'), (12, ""), (13, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_whole_checkpoint(tmp_path).endswith("checkpoint-10")
    assert last_whole_checkpoint(tmp_path / "absent") is None
