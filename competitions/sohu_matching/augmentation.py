"""More training pairs from the labelled ones, without a pair that contradicts another.

swap      the two texts of every pair the other way round; matching has no direction
implied   the pair under the other standard: the same event (B) is always of the same topic (A), so a match by B is one
          by A, and what does not even match by A does not match by B
"""

import pandas as pd

from competitions.sohu_matching.data import standard
from competitions.tasks.matching import pair_key

RULES = ("implied", "swap")


def augmented(rows: pd.DataFrame, rules: list[str]) -> pd.DataFrame:
    """Training rows and, after them, the new ones.

    rows: id, source, target, task (number in SUBTASKS), label. rules: any of RULES; "implied" comes before "swap", so
    that what it adds is swapped as well.
    Returns a table with new ids (the row's own and what was done). No row is added whose pair, in the same order for
    "swap" and in any order for "implied", is already there under that subtask, and none to a subtask without own rows.
    """
    for rule in RULES:
        if rule in rules:
            added = pd.DataFrame(_implied(rows) if rule == "implied" else _swapped(rows), columns=list(rows.columns))
            rows = pd.concat([rows, added.astype(rows.dtypes)], ignore_index=True)
    return rows


def _implied(rows: pd.DataFrame) -> list[dict]:
    known = {pair_key(row.source, row.target, row.task) for row in rows.itertuples(index=False)}
    present = set(rows["task"])
    added = []
    for row in rows.itertuples(index=False):
        # Subtasks come in twos, A and B of each length class: label 1 is handed on by B, label 0 by A.
        task = row.task ^ 1
        key = pair_key(row.source, row.target, task)
        if (standard(row.task) == "B") == (row.label == 1) and key not in known and task in present:
            known.add(key)
            added.append({**row._asdict(), "id": f"{row.id}/implied-{standard(task)}", "task": task})
    return added


def _swapped(rows: pd.DataFrame) -> list[dict]:
    known = {(row.source, row.target, row.task) for row in rows.itertuples(index=False)}
    added = []
    for row in rows.itertuples(index=False):
        key = (row.target, row.source, row.task)
        if key not in known:
            known.add(key)
            added.append({**row._asdict(), "id": f"{row.id}/swap", "source": row.target, "target": row.source})
    return added
