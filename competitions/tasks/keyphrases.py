"""Contests that extract keyphrases: phrases of a text as entities of one type, predicted and scored as phrases."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.contest import RunConfig
from common.ensembling.scores import Scores
from common.evaluation.metrics import entity_counts, entity_f1
from common.files import DataError, read_json_lines, write_lines
from common.text.keyphrases import KEYPHRASE, phrase_spans, phrases_of
from competitions.tasks.table_contests import TableTagging, TableTaggingConfig
from competitions.tasks.tables import check_ids, labels_of, read_cells


@dataclass
class KeyphraseConfig(TableTaggingConfig):
    """types: the one type that the phrases have. most: phrases that are predicted of a text, 0 for all that are found;
    those that occur most often come first."""

    types: list[str] = field(default_factory=lambda: [KEYPHRASE])
    most: int = 0


class KeyphraseContest(TableTagging):
    """Rows have tokens (characters), phrases and spans, where the phrases occur. All members of tagging contests fit.

    Files are tables or JSON lines with `text` and `keyphrases`: a list, or one cell with label_separator. The score is
    micro F1 of phrases; those that the text does not hold count as missed, since tagging cannot find them.
    """

    config_class: ClassVar[type[RunConfig]] = KeyphraseConfig

    def read(self, path: Path, labelled: bool) -> pd.DataFrame:
        files, rows = self.config.files, []
        for line, cells in read_cells(path, files, ("text", "keyphrases") if labelled else ("text",), not labelled):
            if not isinstance(cells["text"], str):
                raise DataError(f"text is {cells['text']!r}", path, line, expected="a text", action="fix the line")
            phrases = list(dict.fromkeys(labels_of(cells["keyphrases"], files))) if labelled else []
            spans, _ = phrase_spans(list(cells["text"]), map(list, phrases), self.config.types[0])
            rows.append((cells["id"], list(cells["text"]), spans, phrases))
        return pd.DataFrame(rows, columns=["id", "tokens", "spans", "phrases"])

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[list[str]]:
        found = zip(rows["tokens"], super().decode(rows, scores, decision), strict=True)
        phrases = [["".join(phrase) for phrase in phrases_of(tokens, spans)] for tokens, spans in found]
        return [own[: self.config.most or None] for own in phrases]

    def gold(self, rows: pd.DataFrame) -> list[list[str]]:
        return [list(own) for own in rows["phrases"]]

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """Micro F1 of phrases, each counted once a text, its precision and recall."""
        micro = entity_f1(self._named(gold), self._named(predictions))["micro"]
        return {"score": micro["f1"], "precision": micro["precision"], "recall": micro["recall"]}

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
        return entity_counts(self._named(gold), self._named(predictions))[:, None]

    def _named(self, phrases: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
        return [[(phrase, self.config.types[0]) for phrase in own] for own in phrases]

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        pairs = zip(map("".join, train["tokens"]), train["phrases"], strict=True)
        absent = sum(phrase not in text for text, own in pairs for phrase in own)
        total = int(train["phrases"].map(len).sum())
        return super().facts(train, test) | {"phrases that their text does not hold": f"{absent} of {total}"}

    def write_submission(self, path: Path, rows: pd.DataFrame, predictions: Sequence[Sequence[str]]) -> None:
        """{"id", "keyphrases"} a line."""
        lines = ({"id": name, "keyphrases": own} for name, own in zip(rows["id"], predictions, strict=True))
        write_lines(path, (json.dumps(line, ensure_ascii=False) for line in lines))

    def read_submission(self, path: Path) -> tuple[list[str], list[Any]]:
        items = [item for _, item in read_json_lines(path, ("id", "keyphrases"))]
        return [str(item["id"]) for item in items], [item["keyphrases"] for item in items]

    def check_submission(self, path: Path, test: pd.DataFrame) -> None:
        check_ids(path, self.read_submission(path)[0], test["id"].tolist())
