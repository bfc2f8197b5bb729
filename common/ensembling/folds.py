"""Cross-validation folds that no text crosses."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def text_groups(texts_of_row: Sequence[Iterable[str]]) -> np.ndarray:
    """Groups of rows that are tied together by a shared text, directly or through other rows.

    texts_of_row: for each row the texts that must not straddle a fold, e.g. (source, target).
    Texts count as the same when they agree after normalising (case, white space). Returns int64 (rows,) group numbers.
    """
    number: dict[str, int] = {}
    rows, texts = [], []
    for row, own in enumerate(texts_of_row):
        for text in own:
            key = "".join(text.lower().split())
            rows.append(row)
            texts.append(number.setdefault(key, len(number)))
    total = len(texts_of_row)
    # Rows and texts are the two sides of a graph; a group is one connected component of it.
    edges = coo_matrix((np.ones(len(rows)), (rows, np.asarray(texts, dtype=int) + total)), (total + len(number),) * 2)
    return connected_components(edges, directed=False)[1][:total].astype(np.int64)


def grouped_stratified_folds(groups: np.ndarray, strata: Sequence[Hashable], folds: int, seed: int) -> np.ndarray:
    """A fold for every row: groups stay whole, and each fold gets its share of every stratum.

    groups: (rows,) group numbers. strata: (rows,) what to balance, e.g. the label or (task, label).
    folds: how many. seed: shuffles which group goes where.
    Returns int64 (rows,) fold numbers from 0. Raises ValueError for fewer groups than folds or fewer than two folds.

    Large groups are placed first, each into the fold where the strata stay closest to even: the greedy rule of
    scikit-learn's StratifiedGroupKFold, which is quadratic in the number of groups; this one is linear.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    total = int(groups.max()) + 1 if len(groups) else 0
    if folds < 2 or total < folds:
        raise ValueError(
            f"cannot cut {total} groups of rows into {folds} folds: expected at least 2 folds and one group each"
        )
    kinds: dict[Hashable, int] = {}
    stratum = np.array([kinds.setdefault(item, len(kinds)) for item in strata])
    counts = np.zeros((total, len(kinds)))
    np.add.at(counts, (groups, stratum), 1)

    order = np.random.default_rng(seed).permutation(total)
    order = order[np.argsort(-counts[order].max(axis=1), kind="stable")]
    share = counts.sum(axis=0)  # a rare stratum weighs as much as a frequent one
    filled = np.zeros((folds, len(kinds)))
    size = np.zeros(folds)
    fold_of_group = np.zeros(total, dtype=np.int64)
    for group in order:
        need = counts[group] / share
        # Adding `need` to fold f changes the sum of squared fills by need*(2*fill + need): the least is the most even.
        cost = filled @ need + size * 1e-9
        fold = int(cost.argmin())
        fold_of_group[group] = fold
        filled[fold] += need
        size[fold] += counts[group].sum()
    return fold_of_group[groups]
