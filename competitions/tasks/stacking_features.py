"""What boosted stacking may look at beside the members' scores: each row's own text alone, so that nothing leaks."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from common.text.lexical import PairFeatures


def pair_features(rows: pd.DataFrame) -> np.ndarray:
    """(rows, features) of pairs: words and characters that both texts share, lengths, and the subtask's number.

    rows: source, target and task. How rare a word is comes from general Chinese, never from other rows.
    """
    table = PairFeatures().unfitted(rows["source"].tolist(), rows["target"].tolist())
    return np.concatenate([table.to_numpy(), rows["task"].to_numpy(np.float64)[:, None]], axis=1)


def token_features(rows: Iterable[Sequence[str]]) -> np.ndarray:
    """(tokens, 6) of the tokens of all rows, one after another.

    Place from the start and from the end, the row's tokens, the token's characters, how often it stands in its row, and
    what its first character is (a letter, a digit, punctuation, something else).
    """
    kinds: dict[str, int] = {}
    features = []
    for tokens in rows:
        counts, total = Counter(tokens), len(tokens)
        for token in counts:
            if token not in kinds:
                kinds[token] = "LNP".find(unicodedata.category(token[0])[0]) if token else -1
        features += [
            (place, total - 1 - place, total, len(token), counts[token], kinds[token])
            for place, token in enumerate(tokens)
        ]
    return np.array(features, dtype=np.float64).reshape(-1, 6)
