"""Questions about passages in SQuAD's JSON, which CMRC 2018 and DRCD use too; answers as {id: text}."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.files import DataError, read_json, write_json


def read_squad(path: Path, labelled: bool) -> pd.DataFrame:
    """Rows with id, question, passage and, labelled, answers and start (-1 where no answer is part of the passage).

    Raises DataError for a file of another form, naming the question.
    """
    rows: list[tuple[Any, ...]] = []
    try:
        paragraphs = [own for article in read_json(path)["data"] for own in article["paragraphs"]]
        questions = [(own["context"], question) for own in paragraphs for question in own["qas"]]
        for passage, own in questions:
            answers = [str(item["text"]) for item in own.get("answers", ())] if labelled else []
            answers = [text for text in answers if text]
            rows.append((str(own["id"]), own["question"], passage, answers, _start(passage, own, answers)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"is not SQuAD's JSON ({type(error).__name__}: {error}, after {len(rows)} questions)", path,
                        expected='{"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}',
                        action="convert it first, or read it in data.py") from None  # fmt: skip
    table = pd.DataFrame(rows, columns=["id", "question", "passage", "answers", "start"])
    return table if labelled else table.drop(columns=["answers", "start"])


def _start(passage: str, question: dict[str, Any], answers: Sequence[str]) -> int:
    """Where the first answer stands: where the file says, or else the first place that reads so."""
    if not answers:
        return -1
    said = question["answers"][0].get("answer_start", -1)
    if said >= 0 and passage.startswith(answers[0], said):
        return said
    return passage.find(answers[0])


def write_answers(path: Path, rows: pd.DataFrame, predictions: Sequence[str]) -> None:
    """Writes one JSON object of answers by question id, as SQuAD's and CMRC 2018's scorers read it."""
    write_json(path, dict(zip(rows["id"], predictions, strict=True)))


def read_answers(path: Path) -> tuple[list[str], list[str]]:
    """The ids and answers of a file that `write_answers` wrote."""
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise DataError("is no object of answers", path, expected='{"question id": "answer"}', action="predict again")
    return list(found), list(found.values())
