"""The members that the speed benchmark trains and predicts with: the kit's own, on text of the contests' lengths."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.speed_crf import SMALL
from benchmarks.speed_lengths import datagrand_rows, sohu_rows


class Mix(NamedTuple):
    """A member on rows like a contest's. batch: rows of a batch, the same for the kit and its peers."""

    name: str
    member: Any
    rows: pd.DataFrame
    batch: int


def tagger(rows: pd.DataFrame, seed: int = 1, **settings: Any) -> Any:
    """A CRF tagger on 4 new layers of 256, as for DataGrand."""
    from common.text.anonymised import anonymised_tokenizer
    from common.text.labels import LabelScheme
    from competitions.tasks.tagging_members import TaggerMember, TaggerSettings

    own = TaggerSettings(**({"architecture": dict(SMALL), "dropout": 0.1} | settings))
    member = TaggerMember(own, LabelScheme(("a", "b", "c"), "BIO"), seed, lambda *_: {"score": 0.0})
    member.text.tokenizer = anonymised_tokenizer(rows["tokens"], 1)
    return member


def matcher(rows: pd.DataFrame, seed: int = 1, **settings: Any) -> Any:
    """A cross-encoder of 4 new layers of 256, as for Sohu."""
    from common.text.vocabulary import character_tokenizer
    from competitions.tasks.matching_members import CrossEncoderSettings, MatcherMember

    own = CrossEncoderSettings(**({"architecture": dict(SMALL), "task_handling": "none"} | settings))
    member = MatcherMember(own, 1, seed, lambda *_: {"score": 0.0})
    member.text.tokenizer = character_tokenizer([*rows["source"], *rows["target"]], 1)
    return member


def mixes(quick: bool) -> list[Mix]:
    """Both contests, and Sohu's pairs with and without long texts."""
    count = 400 if quick else 2400
    lines, short, every = datagrand_rows(count), sohu_rows(count), sohu_rows(count // 2, "all")
    return [
        Mix("DataGrand", tagger(lines), lines, 8 if quick else 32),
        Mix("Sohu, short pairs", matcher(short), short, 8 if quick else 16),
        Mix("Sohu, short and long pairs", matcher(every), every, 4 if quick else 8),
    ]


def padding_of(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """The share of computed tokens that is padding."""
    return 1 - sum(lengths[batch].sum() for batch in batches) / sum(len(b) * lengths[b].max() for b in batches)


def flops_a_token(model: Any, length: float, training: bool) -> float:
    """Floating point operations of a token of a transformer: its matrices, and attention over `length` tokens."""
    config = model.config.encoder
    matrices = sum(weight.numel() for name, weight in model.encoder.named_parameters()
                   if weight.dim() == 2 and "embedding" not in name)  # fmt: skip
    once = 2 * matrices + 4 * config.num_hidden_layers * length * config.hidden_size
    return once * (3 if training else 1)
