"""Rows of questions with candidates, as rows of one candidate each."""

import numpy as np
import pandas as pd


def candidates(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a candidate: source (question and candidate), target (passage), choice, task (0) and, labelled, label."""
    counts = rows["choices"].map(len).to_numpy(np.int64)
    place = np.repeat(np.arange(len(rows)), counts)
    choices = [choice for own in rows["choices"] for choice in own]
    questions, passages = (rows[column].to_numpy()[place] for column in ("question", "passage"))
    table = pd.DataFrame({"choice": choices, "target": passages}, dtype=object).assign(task=0)
    table["source"] = [f"{question} {choice}" for question, choice in zip(questions, choices, strict=True)]
    if "label" in rows:
        number = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
        table["label"] = (number == rows["label"].to_numpy(np.int64)[place]).astype(np.int64)
    return table
