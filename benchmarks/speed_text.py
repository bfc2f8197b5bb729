"""Text to features: words, tokens and an Arrow table, next to jieba and BertTokenizer a line at a time."""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.speed_lengths import SOHU_SHORT, lengths_like, texts_of
from benchmarks.speed_measure import Row, command, compare, timed

SAMPLE = 10  # the peer's time grows with the lines: every so manieth is enough to know it


def lines_of(count: int) -> pd.DataFrame:
    """Lines as long as a text of a short pair of Sohu."""
    random = np.random.default_rng(1)
    return pd.DataFrame({"text": texts_of(lengths_like(SOHU_SHORT, count, random) // 2, random)})


def features_of(tokenizer: Any) -> Any:
    """What turns lines into token ids and the places of their words."""
    from common.text.segmentation import Segmenter
    from common.text.tokenization import WholeWordTokenizer
    from common.training.feature_tables import table_of

    encode, segment = WholeWordTokenizer(tokenizer), Segmenter()

    def features(rows: pd.DataFrame, labelled: bool) -> tuple[Any, np.ndarray]:
        columns = encode.encode_words_many(segment.cut_many(rows["text"].tolist()))
        columns["length"] = np.fromiter(map(len, columns["input_ids"]), np.int64)
        return table_of(columns), np.arange(len(rows))

    return features


def text_rows(quick: bool) -> list[Row]:
    """Speed against the peer, the second time from the cache, and memory."""
    import jieba
    from transformers import BertTokenizer

    from common import cache
    from common.text.vocabulary import character_tokenizer
    from common.training.feature_tables import feature_table

    count = 10_000 if quick else 100_000
    rows = lines_of(count)
    tokenizer = character_tokenizer(rows["text"], 1)
    jieba.setLogLevel(60)
    jieba.initialize()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        peer = BertTokenizer(str(folder / "vocab.txt"))
        sample = rows["text"].tolist()[::SAMPLE]
        number = 0

        def ours() -> None:
            nonlocal number
            number += 1  # never the same entry, and never the same tokenizer's memory of words
            feature_table(rows, False, features_of(tokenizer), str(number))

        def again() -> float:
            return timed(lambda: feature_table(rows, False, features_of(tokenizer), str(number)))

        cache.use(cache.DiskCache(folder / "cache"))
        try:
            row = compare(
                f"{count:,} lines to words, tokens and a table on disk", "jieba and BertTokenizer, a line at a time",
                ours, lambda: [peer(jieba.lcut(line), is_split_into_words=True) for line in sample],
                3 if quick else 5, 8, f"theirs: every {SAMPLE}th line, times {SAMPLE}; nothing written; wall time",
                SAMPLE, time.perf_counter,
            )  # fmt: skip
            seconds = median(again() for _ in range(5))
        finally:
            cache.use(None)
    second = Row(f"the same {count:,} lines from the cache", "", f"{1000 * seconds:.0f} ms", "", "", "< 5 s",
                 seconds < 5)  # fmt: skip
    return [row, second, memory_row(count)]


def memory_row(count: int) -> Row:
    """What the peak of memory is for so many lines, and for twice as many."""
    peaks, own = [], []
    for lines in (count, 2 * count):
        peak, texts = json.loads(command(["-m", "benchmarks.speed_text", str(lines)])[1].splitlines()[-1])
        peaks.append(peak - texts)
        own.append(texts)
    growth = 100 * (peaks[1] / peaks[0] - 1)
    return Row(f"peak memory of features, {count:,} and {2 * count:,} lines", "", f"{peaks[0]:,.0f} MB",
               f"{peaks[1]:,.0f} MB", f"{growth:+.1f}%", "≤ 5%", growth <= 5,
               f"the texts themselves, {own[0]:,.0f} and {own[1]:,.0f} MB, not counted")  # fmt: skip


def main(count: int) -> None:
    """Makes the feature table of so many lines and prints this process's peak of memory and the lines' own, in MB."""
    from benchmarks.speed_measure import memory_now
    from common import cache
    from common.text.vocabulary import character_tokenizer
    from common.training.feature_tables import feature_table

    texts = lines_of(20_000)
    rows = texts.iloc[np.random.default_rng(1).integers(0, len(texts), count)].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        cache.use(cache.DiskCache(Path(folder)))
        feature_table(rows, False, features_of(character_tokenizer(texts["text"], 1)), "settings")
    print(json.dumps([memory_now(), rows.memory_usage(deep=True).sum() / 2**20]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
