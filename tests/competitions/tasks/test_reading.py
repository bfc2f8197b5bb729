"""Reading contests: folds by passage, the null threshold, and a reader that keeps to the rows it is given."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.ensembling.scores import Scores
from common.evaluation.bootstrap import bootstrap_scores, f1_from_counts
from common.files import DataError, read_json
from common.text.tokenization import WholeWordTokenizer
from common.training.arguments import TrainingConfig
from common.training.prepared_text import SharedText
from competitions.tasks.reading import ReadingConfig, ReadingContest
from competitions.tasks.reading_files import read_answers, read_squad, write_answers
from competitions.tasks.reading_members import ReaderMember, ReaderSettings

ENCODER = {"model_type": "recurrent", "embedding_size": 8, "hidden_size": 16, "num_layers": 1}


class Example(ReadingContest):
    name, submission_file = "example", "submission.json"

    def read_train(self):
        return questions()

    def read_test(self, path=None):
        return questions().head(0)

    def write_submission(self, path, rows, predictions): ...

    def read_predictions(self, path, like=None): ...

    def check_submission(self, path, test): ...


def contest(**settings) -> Example:
    return Example(ReadingConfig(**{"folds": 2, **settings}))


def questions(count: int = 12, seed: int = 0) -> pd.DataFrame:
    """Two questions a passage: where is somebody, and one without an answer."""
    random, rows = np.random.default_rng(seed), []
    for n in range(count):
        who, where = random.choice(["小王", "老李", "阿明"]), random.choice(["北湖", "南山", "东桥"])
        passage = f"第{n}天，{who}到了{where}，然后回家。"
        start = passage.find(where)
        rows.append((f"{n}a", f"{who}到了哪里？", passage, [where], start))
        rows.append((f"{n}b", "谁在唱歌？", passage, [], -1))
    return pd.DataFrame(rows, columns=["id", "question", "passage", "answers", "start"])


def certain(rows: pd.DataFrame, null: list[float]) -> Scores:
    """Scores whose best answer is the gold one (or the first two characters), and `null` for there being none."""
    values = []
    for passage, start, chance in zip(rows["passage"], rows["start"], null, strict=True):
        own = np.full((1 + len(passage), 2), 1e-6)
        own[0] = chance
        own[1 + max(start, 0), 0] = own[2 + max(start, 0), 1] = 1 - chance
        values.append(own / own.sum(axis=0))
    return Scores.of(rows["id"].tolist(), values)


def test_questions_about_a_passage_share_a_fold():
    rows = questions()
    folds = contest().folds(rows)
    assert (folds[::2] == folds[1::2]).all() and sorted(np.bincount(folds)) == [12, 12]


def test_answers_are_decoded_and_a_question_without_one_needs_a_threshold():
    rows = questions(4)
    scores = certain(rows, [0.1, 0.4] * 4)
    every = contest().decode(rows, scores, {})
    assert every[::2] == [own[0] for own in rows["answers"][::2]] and all(every)
    own = contest(unanswerable=True)
    # By the likelier of both nothing would be left out; the threshold, chosen on these rows, leaves the right ones out.
    assert own.decode(rows, scores, {}) == every
    decision = own.fit_decision(rows, scores)
    found = own.decode(rows, scores, decision)
    assert found[1::2] == [""] * 4 and found[::2] == every[::2]
    assert own.score(rows, own.gold(rows), found)["score"] == 1.0
    assert own.fit_decision(rows[::2].reset_index(drop=True), scores.take(np.arange(0, 8, 2))) != decision


def test_what_rows_count_adds_up_to_the_score():
    rows = questions(5)
    predictions = ["", None, "北", "", *["北湖南", ""] * 3]
    own = contest(unanswerable=True)
    gold = own.gold(rows)
    counts, score = own.counts(rows, gold, predictions), own.score(rows, gold, predictions)["score"]
    assert counts.shape == (10, 1, 3) and len(set(counts[:, 0, 0])) > 2 and 0 < score < 1
    assert f1_from_counts(counts.sum(axis=0)) == pytest.approx(score, abs=1e-12)
    half = np.arange(5)
    found = own.score(rows.iloc[half], gold[:5], predictions[:5])["score"]
    assert f1_from_counts(counts[half].sum(axis=0)) == pytest.approx(found, abs=1e-12)
    # Resamples have the score of one's rows, in single precision: two systems on the same rows differ by nothing.
    alone = bootstrap_scores(np.stack([counts, counts]), np.zeros(10), resamples=3)
    assert alone == pytest.approx(np.full((2, 3), score), abs=1e-6) and (alone[0] == alone[1]).all()


def test_units_are_characters_and_one_before():
    rows = questions(3)
    assert len(contest().targets(rows)) == len(certain(rows, [0.5] * 6).values)
    assert set(contest().blends()) == {"mean", "hill_climbing", "best_subset"}


def member(**settings) -> ReaderMember:
    training = TrainingConfig(epochs=1, batch_size=8, keep="last", precision="fp32")
    own = ReaderSettings(**{"architecture": ENCODER, "max_length": 24, "overlap": 4, "training": training, **settings})
    return ReaderMember(own, 1, contest().judge)


@pytest.mark.parametrize("marks", [0, 2])
def test_a_restored_reader_scores_as_the_fitted_one_and_answers_have_no_say(marks, tmp_path: Path):
    train, rows = questions(8), questions(3, seed=5)
    rows.loc[0, "passage"] = "这一段很长，" * 10 + rows.loc[0, "passage"]
    own = member(shared_ngrams=marks)
    own.fit(train, rows, ("另外的文字",), tmp_path)
    values = own.scores(rows)
    assert [own.shape for own in values] == [(1 + len(passage), 2) for passage in rows["passage"]]
    assert all(own.sum(axis=0) == pytest.approx([1, 1]) for own in values)
    again = member(shared_ngrams=marks).restore(tmp_path)
    bare = rows[["id", "question", "passage"]]
    np.testing.assert_allclose(again.scores(bare.tail(1))[0], values[-1], atol=1e-5)
    assert again.scores(bare.head(0)) == []


def test_models_of_all_folds_read_the_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train, rows = questions(8), questions(5, seed=5)
    members = []
    for fold in range(3):
        own = member(max_length=30)
        own.fit(train, rows, (), tmp_path / str(fold))  # the same text, so that all have one vocabulary
        members.append(own)
    alone = members[2].scores(rows)
    read, encode = [], WholeWordTokenizer.encode_many

    def counted(self, texts):
        read.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(WholeWordTokenizer, "encode_many", counted)
    shared = SharedText()
    for own in members:
        own.share_text(shared)
        found = own.scores(rows)
    assert sorted(read) == sorted(set(rows["passage"])), "each passage once, for all three models"
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    other = member(max_length=24).restore(tmp_path / "0")
    assert other.text_key() != members[0].text_key()


def test_labels_are_tokens_and_an_answer_that_is_nowhere_teaches_nothing(tmp_path: Path):
    rows = questions(2)
    rows.at[2, "answers"], rows.at[2, "start"] = ["火星"], -1
    own = member(max_length=64, min_frequency=1)
    own.fit_text(rows, (), tmp_path)
    table, owners = own.features(rows, labelled=True)
    ids = table[0]["input_ids"][table[0]["start_labels"] : table[0]["end_labels"] + 1]
    assert own.text.tokenizer.convert_ids_to_tokens(ids) == list(rows["answers"][0][0])
    assert [(row["start_labels"], row["end_labels"]) for row in table][1:3] == [(0, 0), (-100, -100)]
    assert owners[:, 0].tolist() == [0, 1, 2, 3]


def test_n_best_answers_are_each_text_once_with_probabilities(tmp_path: Path):
    rows = questions(1).head(1)
    rows.at[0, "passage"] = "北湖北"
    values = np.array([[0.1, 0.1], [0.6, 0.1], [0.1, 0.4], [0.2, 0.4]])  # none, then each character
    scores = Scores.of(rows["id"].tolist(), [values])
    (found,) = contest().n_best(rows, scores, 3)
    # 北湖 and 北湖北 0.24, 北 0.08: it stands twice, 0.06 as the first character and 0.08 as the last.
    assert sorted(text for text, _ in found) == ["北", "北湖", "北湖北"] and found[2][0] == "北"
    assert [p for _, p in found] == pytest.approx([0.24 / 0.56, 0.24 / 0.56, 0.08 / 0.56], rel=1e-5)
    own = contest(unanswerable=True, n_best=9)
    own.write_more(tmp_path, rows, scores)
    (written,) = read_json(tmp_path / "nbest.json").values()
    assert "" in {item["text"] for item in written} and sum(item["probability"] for item in written) == pytest.approx(1)
    contest().write_more(tmp_path / "nowhere", rows, scores)
    assert not (tmp_path / "nowhere").exists()


# Files


def test_squads_json_is_read_and_wrong_places_are_looked_for(tmp_path: Path):
    answers = [[{"text": "北湖", "answer_start": 3}], [{"text": "北湖", "answer_start": 0}], [{"text": "火星"}], []]
    own = [{"id": f"q{n}", "question": "哪里？", "answers": found} for n, found in enumerate(answers)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "他在去北湖", "qas": own}]}]}), encoding="utf-8")
    rows = read_squad(path, labelled=True)
    assert rows["start"].tolist() == [3, 3, -1, -1] and rows["answers"].tolist() == [["北湖"], ["北湖"], ["火星"], []]
    assert read_squad(path, labelled=False).columns.tolist() == ["id", "question", "passage"]
    write_answers(tmp_path / "s.json", rows, ["北湖", "", "a", "b"])
    assert read_answers(tmp_path / "s.json") == (["q0", "q1", "q2", "q3"], ["北湖", "", "a", "b"])


@pytest.mark.parametrize("text", ["[]", '{"data": 3}', '{"data": [{"paragraphs": [{"context": "x"}]}]}'])
def test_a_file_of_another_form_is_one_error(text, tmp_path: Path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="is not SQuAD's JSON"):
        read_squad(tmp_path / "a.json", labelled=True)
