"""Batches for tests of masking: synthetic rows with special tokens, padding, unknown tokens and words of 1 to 4."""

import numpy as np

from common.text.vocabulary import character_tokenizer

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
TOKENIZER = character_tokenizer(["".join(HAN)], min_frequency=1)
PAD, UNK, CLS, SEP, MASK = range(5)


def batch(rows: int = 220, length: int = 512, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and word ids of packed rows, (rows, length) each."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, 3005, size=(rows, length))
    widths = random.choice([1, 2, 3, 4], p=[0.5, 0.35, 0.1, 0.05], size=(rows, length))
    begins = np.zeros((rows, length), dtype=bool)
    for row in range(rows):
        stops = np.cumsum(widths[row])
        begins[row, [0, *stops[stops < length]]] = True
    words = np.cumsum(begins, axis=1)
    special = np.zeros((rows, length), dtype=bool)
    special[:, [0, length // 3, -1]] = True
    ids[:, 0], ids[:, length // 3], ids[:, -1] = CLS, SEP, SEP
    ids[-1, length // 2 :], special[-1, length // 2 :] = PAD, True
    ids[0, 5], special[0, 5] = UNK, True
    return ids, np.where(special, -1, words)
