import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.text import bigrams
from common.text.bigrams import frequent_bigrams

ROWS = st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=12)


@given(ROWS, st.integers(1, 3), st.integers(1, 7))
def test_counts_agree_with_a_plain_counter_whatever_the_chunks(rows, min_count, chunk):
    expected = Counter(pair for row in rows for pair in itertools.pairwise(row))
    whole, bigrams.CHUNK = bigrams.CHUNK, chunk
    try:
        found = frequent_bigrams(map(np.array, rows), 6, min_count)
    finally:
        bigrams.CHUNK = whole
    assert found.tolist() == sorted(a * 6 + b for (a, b), count in expected.items() if count >= min_count)


def test_the_most_frequent_stay():
    found = frequent_bigrams([np.array([1, 2, 1, 2, 1, 2, 3])], 10, min_count=1, most=2)
    assert found.tolist() == [12, 21]
