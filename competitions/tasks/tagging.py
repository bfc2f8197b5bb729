"""Contests that mark entities in token sequences: everything but how their files look."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from common.config import ConfigError
from common.contest import Contest, Member, RunConfig
from common.ensembling.blending import Blend
from common.ensembling.boosted_entities import BoostedEntities
from common.ensembling.folds import grouped_stratified_folds, text_groups
from common.ensembling.interval_voting import IntervalConfidence, IntervalVote
from common.ensembling.scores import Scores, average
from common.ensembling.subset import BestSubset
from common.ensembling.voting import EntityVote, TokenVote
from common.evaluation.metrics import entity_counts, entity_f1
from common.members.sparse_crf import SparseCrf, SparseCrfSettings
from common.text.labels import LabelScheme, Span
from common.text.tag_decoding import decode_tags

BIASES = (-0.6, -0.3, 0.0, 0.3, 0.6)
MOST_STACKED = 16  # tags beyond which stacking, whose time grows with their square, is tried only when asked for


@dataclass
class TaggingConfig(RunConfig):
    """types: the entity types. scheme: BIO or BIOES; all members share it, so that they can be blended."""

    types: list[str] = field(default_factory=list)
    scheme: str = "BIO"


def _kinds() -> dict[str, type]:
    from competitions.tasks.span_grid_members import BiaffineSettings, GlobalPointerSettings
    from competitions.tasks.tagging_members import SpanSettings, TaggerSettings

    return {
        "tagger": TaggerSettings,
        "span_pointers": SpanSettings,
        "global_pointer": GlobalPointerSettings,
        "biaffine": BiaffineSettings,
        "sparse_crf": SparseCrfSettings,
    }


class TaggingContest(Contest):
    """Rows have tokens (list of str) and spans (list of (start, end, type), `end` exclusive, flat)."""

    config_class: ClassVar[type[RunConfig]] = TaggingConfig
    columns: ClassVar[tuple[str, ...]] = ("id", "tokens", "spans")
    label_column: ClassVar[str] = "spans"
    # Of hundreds of thousands of tokens: trees take as long as all other blends, and a vote gained nothing by a subset.
    slow_blends: tuple[str, ...] = ("boosted_stacking", "best_subset_token_vote", "best_subset_entity_vote")

    def __init__(self, config: TaggingConfig) -> None:
        self.member_kinds = _kinds()
        try:
            self.scheme = LabelScheme(tuple(config.types), config.scheme)
        except ValueError as error:
            raise ConfigError(f"types or scheme: {error}") from None
        if len(self.scheme.tags) > MOST_STACKED:
            self.slow_blends = (*self.slow_blends, "stacking")
        super().__init__(config)

    def pretraining_texts(self) -> Iterator[str]:
        """Every line: its tokens one after another, as of text whose tokens are characters."""
        yield from map("".join, self.read_train()["tokens"])
        yield from map("".join, self.unlabelled())

    def folds(self, train: pd.DataFrame) -> np.ndarray:
        """Equal lines share a fold; each fold has its share of lines with each set of types."""
        groups = self.groups(train)
        strata = ["".join(sorted({kind for *_, kind in spans})) for spans in train["spans"]]
        return grouped_stratified_folds(groups, strata, self.config.folds, self.config.fold_seed)

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        return text_groups([(" ".join(tokens),) for tokens in rows["tokens"]])

    def build_member(self, name: str, seed: int) -> Member:
        from competitions.tasks.span_grid_members import SpanGridMember, SpanGridSettings
        from competitions.tasks.tagging_members import SpanMember, SpanSettings, TaggerMember

        settings = self.settings[name]
        if isinstance(settings, SparseCrfSettings):
            return SparseCrf(replace(settings, seed=seed), self.scheme)
        kinds = {SpanSettings: SpanMember, SpanGridSettings: SpanGridMember}
        kind = next((member for own, member in kinds.items() if isinstance(settings, own)), TaggerMember)
        return kind(settings, self.scheme, seed, self.judge)

    def targets(self, rows: pd.DataFrame) -> np.ndarray:
        return np.concatenate(
            [
                self.scheme.encode(spans, len(tokens))
                for tokens, spans in zip(rows["tokens"], rows["spans"], strict=True)
            ]
        )

    def blends(self) -> dict[str, Blend]:
        kinds = super().blends()
        del kinds["rank_mean"]  # ranks of tags are no probabilities
        settings = {"types": list(self.scheme.types), "scheme": self.scheme.scheme}
        for vote in (TokenVote, EntityVote):
            kinds[vote.name] = vote(**settings)
            kinds[f"best_subset_{vote.name}"] = BestSubset(vote(**settings), self.config.ensemble.exhaustive)
        return kinds | {vote.name: vote(**settings) for vote in (IntervalVote, IntervalConfidence, BoostedEntities)}

    def stacking_features(self, rows: pd.DataFrame) -> np.ndarray:
        from competitions.tasks.stacking_features import token_features

        return token_features(rows["tokens"])

    def average_units(
        self, name: str, scores: list[Scores], emissions: list[Scores | None], folders: list[Path]
    ) -> Scores:
        if getattr(self.settings[name], "average", "") != "crf" or len(scores) == 1 or None in emissions:
            return average(scores)
        from competitions.tasks.crf_averaging import averaged_marginals

        return averaged_marginals(emissions, [folder / "model" for folder in folders])

    def fit_decision(self, rows: pd.DataFrame, scores: Scores) -> dict[str, Any]:
        """entity_bias: what is added to the log-probability of every entity tag, where it helps F1 on these rows."""
        if ((scores.values == 0) | (scores.values == 1)).all():
            return {"entity_bias": 0.0}  # votes that are certain: no bias of a few tenths turns them
        best = max(BIASES, key=lambda bias: (round(self._f1(rows, scores, bias), 4), -abs(bias)))
        return {"entity_bias": best}

    def objective(self, rows: pd.DataFrame, scores: Scores) -> float:
        # Weights are chosen without the bias search, which would cost its five decodings at every step.
        return self._f1(rows, scores, 0.0)

    def _f1(self, rows: pd.DataFrame, scores: Scores, bias: float) -> float:
        return self.score(rows, self.gold(rows), self.decode(rows, scores, {"entity_bias": bias}))["score"]

    def decode(self, rows: pd.DataFrame, scores: Scores, decision: dict[str, Any]) -> list[list[Span]]:
        return decode_tags(scores.values, scores.offsets, self.scheme, decision.get("entity_bias", 0.0))

    def gold(self, rows: pd.DataFrame) -> list[list[Span]]:
        return [[tuple(span) for span in spans] for spans in rows["spans"]]

    def score(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """Entity-level micro F1, its precision and recall, and F1, precision and recall of each type."""
        found = entity_f1(gold, predictions)
        micro = found.pop("micro")
        parts = {f"{part} {kind}": found[kind][part] for kind in found for part in ("f1", "precision", "recall")}
        return {"score": micro["f1"], "precision": micro["precision"], "recall": micro["recall"], **parts}

    def counts(self, rows: pd.DataFrame, gold: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
        return entity_counts(gold, predictions)[:, None]

    def facts(self, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        lengths = train["tokens"].map(len)
        known = {" ".join(tokens) for tokens in train["tokens"]}
        kinds = pd.Series([kind for spans in train["spans"] for *_, kind in spans], dtype=object).value_counts()
        return {
            "entities": ", ".join(f"{kind} {count}" for kind, count in kinds.sort_index().items()),
            "lines without an entity": f"{(train['spans'].map(len) == 0).mean():.1%}",
            "tokens a line": _quantiles(lengths),
            **{
                f"lines that become windows in {name}": int((lengths > own.max_length - 2).sum())
                for name, own in self.settings.items()
                if hasattr(own, "max_length")
            },
            "test lines that are also training lines": sum(" ".join(tokens) in known for tokens in test["tokens"]),
        }


def _quantiles(lengths: pd.Series) -> str:
    points = lengths.quantile([0.5, 0.9, 0.99]).astype(int).tolist()
    return f"median {points[0]}, 90% {points[1]}, 99% {points[2]}, longest {lengths.max()}"
