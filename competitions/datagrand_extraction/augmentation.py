"""More training lines from the labelled ones: the entities of one type are cut out of a line."""

import numpy as np
import pandas as pd

from common.text.labels import Span

SCHEMES = ("none", "one_line_each", "all_types", "random_type")


def drop_one_type(rows: pd.DataFrame, scheme: str, random: np.random.Generator) -> pd.DataFrame:
    """Training rows and, after them, the new ones.

    rows: with id, tokens and spans. random: decides where the scheme leaves a choice.
    scheme: for lines that hold entities of at least two types,
        "one_line_each": one new line for one line in three, without a random one of its types;
        "random_type": one new line for every such line, without a random one of its types;
        "all_types": a new line for each of its types, without that type;
        "none": no new line.
    The entity's tokens are removed with it, so that what was around them stands together.
    Returns a table with new ids (the line's own and the dropped type). Rows keep their order.
    Source: the 9th place of DataGrand 2019 described three schemes of dropping the entities of one type.
    """
    if scheme == "none":
        return rows
    added = []
    for row in rows.itertuples(index=False):
        kinds = sorted({kind for *_, kind in row.spans})
        if len(kinds) < 2:
            continue
        if scheme == "one_line_each" and random.random() >= 1 / 3:
            continue
        chosen = kinds if scheme == "all_types" else [kinds[random.integers(len(kinds))]]
        added += [(f"{row.id}-{kind}", *without(row.tokens, row.spans, kind)) for kind in chosen]
    if not added:
        return rows
    return pd.concat([rows, pd.DataFrame(added, columns=["id", "tokens", "spans"])], ignore_index=True)


def without(tokens: list[str], spans: list[Span], kind: str) -> tuple[list[str], list[Span]]:
    """A line without the entities of one type: their tokens removed, the other spans moved up."""
    kept = np.ones(len(tokens), dtype=bool)
    for start, end, own in spans:
        if own == kind:
            kept[start:end] = False
    place = np.concatenate([[0], np.cumsum(kept)]).tolist()
    left = [token for token, stays in zip(tokens, kept, strict=True) if stays]
    return left, [(place[start], place[end], own) for start, end, own in spans if own != kind]
