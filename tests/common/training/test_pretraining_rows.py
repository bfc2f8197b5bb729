"""Which rows are drawn, which are held out, and how each is masked."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from common.files import write_lines
from common.text.masking import Masker, MaskingConfig
from common.text.packing import PackedRows
from common.text.sentence_pairs import SegmentPairs
from common.text.token_store import TokenStore, build_token_store
from common.text.tokenization import WholeWordTokenizer
from common.text.vocabulary import character_tokenizer
from common.training.pretraining_rows import HELD_OUT, MaskedRows, Passes, cut_rows

LENGTH = 12
Corpus = tuple[TokenStore, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three files of 400, 40 and 4 characters, each of its own characters."""
    folder, files = tmp_path_factory.mktemp("corpus"), []
    for name, characters, lines in (("a", "今天气很", 80), ("b", "我来到北", 8), ("c", "清华大学", 1)):
        files.append(folder / f"{name}.txt")
        write_lines(files[-1], [(characters * 2)[number % 4 :][:5] for number in range(lines)])
    tokenizer = character_tokenizer((line for file in files for line in file.read_text().split("\n")), 1)
    return build_token_store(files, WholeWordTokenizer(tokenizer), folder / "tokens"), tokenizer


def masked_rows(corpus: Corpus, pairs: bool = False, seed: int = 1, within: bool = False) -> MaskedRows:
    store, tokenizer = corpus
    rows = SegmentPairs(store, tokenizer, LENGTH) if pairs else PackedRows(store, tokenizer, LENGTH)
    return MaskedRows(rows, Masker(MaskingConfig(rate=0.3), tokenizer), seed, within)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a is not None)


@pytest.mark.parametrize("pairs", [False, True], ids=["packed", "pairs"])
def test_masks_depend_on_seed_pass_and_row_alone(corpus: Corpus, pairs: bool) -> None:
    rows, again, other = (masked_rows(corpus, pairs, seed) for seed in (1, 1, 2))
    numbers = range(8)
    first = [rows[0, number] for number in numbers]
    assert all(same(drawn, again[0, number]) for number, drawn in reversed(list(enumerate(first))))
    for changed in (
        [rows[1, n] for n in numbers],
        [rows[HELD_OUT, n] for n in numbers],
        [other[0, n] for n in numbers],
    ):
        assert sum(same(one, two) for one, two in zip(first, changed, strict=True)) < 4


def test_a_batch_says_what_stood_where_it_was_masked(corpus: Corpus) -> None:
    rows = masked_rows(corpus)
    numbers = [0, len(rows) - 1, 3]
    batch = rows.collate([rows[0, number] for number in numbers])
    plain = rows.rows.rows(numbers)
    ids = batch["input_ids"].flatten().clone()
    ids[batch["positions"]] = batch["labels"]
    assert torch.equal(ids.view(3, LENGTH), torch.from_numpy(plain.input_ids))
    assert torch.equal(batch["attention_mask"].bool(), torch.from_numpy(plain.document_ids >= 0)), "the last is padded"
    assert "attention_mask" not in rows.collate([rows[0, 0]])


def test_pairs_are_padded_to_the_longest(corpus: Corpus) -> None:
    rows = masked_rows(corpus, pairs=True)
    drawn = [rows[0, number] for number in range(len(rows))]
    batch = rows.collate(drawn)
    for place, row in enumerate(drawn):
        length = len(row.input_ids)
        assert batch["input_ids"][place, :length].tolist() == row.input_ids.tolist()
        assert batch["token_type_ids"][place, :length].tolist() == row.types.tolist()
        own = batch["positions"] // batch["input_ids"].shape[1] == place
        assert (batch["positions"][own] % batch["input_ids"].shape[1]).tolist() == row.positions.tolist()
    assert set(batch["pair_labels"].tolist()) == {0, 1}


def test_a_shorter_pair_has_no_padding_that_is_read(corpus: Corpus, tmp_path: Path) -> None:
    tokenizer, random = corpus[1], np.random.default_rng(0)
    write_lines(tmp_path / "a.txt", ["今天气很"[:2] * int(random.integers(1, 5)) for _ in range(60)])
    store = build_token_store([tmp_path / "a.txt"], WholeWordTokenizer(tokenizer), tmp_path / "tokens", True)
    pairs = SegmentPairs(store, tokenizer, LENGTH, "next")
    rows = MaskedRows(pairs, Masker(MaskingConfig(), tokenizer), 1)
    drawn = [rows[0, number] for number in range(len(rows))]
    batch = rows.collate(drawn)
    assert torch.equal(batch["attention_mask"] == 0, batch["input_ids"] == tokenizer.pad_token_id)
    lengths = batch["attention_mask"].sum(1)
    assert (lengths.numpy() < pairs.lengths + 3).any(), "some were cut to the shorter of two halves"
    assert rows.mean_tokens((0, number) for number in range(len(rows))) == pytest.approx(lengths.double().mean().item())


def test_within_documents_the_mask_is_of_each_pair_of_tokens(corpus: Corpus) -> None:
    rows = masked_rows(corpus, within=True)
    batch = rows.collate([rows[0, number] for number in (0, 44)])
    assert batch["attention_mask"].shape == (2, LENGTH, LENGTH) and batch["attention_mask"].dtype == torch.bool
    assert batch["position_ids"][:, 0].tolist() == [0, 0]


# Passes


def test_a_pass_takes_every_row_once_and_the_next_in_another_order() -> None:
    passes = Passes([np.arange(10), np.arange(10, 30)], seed=3)
    epochs = []
    for epoch in range(3):
        passes.set_epoch(epoch)
        epochs.append(list(passes))
        assert sorted(row for _, row in epochs[-1]) == list(range(30))
        assert {turn for turn, _ in epochs[-1]} == {epoch}
    assert len({tuple(row for _, row in epoch) for epoch in epochs}) == 3
    passes.set_epoch(1)
    assert list(passes) == epochs[1]


def test_an_epoch_is_whole_steps() -> None:
    passes = Passes([np.arange(30)], seed=1, multiple=8)
    assert len(passes) == len(list(passes)) == 24
    whole = []
    for epoch in range(5):
        passes.set_epoch(epoch)
        whole += list(passes)
    assert sorted(whole) == [(turn, row) for turn in range(4) for row in range(30)], "four passes, none skipped"
    with pytest.raises(ValueError, match="7 rows to train on are too few for a step of 8"):
        Passes([np.arange(7)], seed=1, multiple=8)


def test_rows_of_similar_length_come_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    parts = [np.arange(1500), np.arange(1500, 2000)]
    plain, grouped = (Passes(parts, 3, 0.5, 16, given, 8) for given in (None, lengths))
    for epoch in range(2):
        plain.set_epoch(epoch)
        grouped.set_epoch(epoch)
        one, other = list(plain), list(grouped)
        assert sorted(one) == sorted(other) and one != other
        padding = [
            sum(lengths[batch].max() * 8 - lengths[batch].sum() for batch in np.array(rows)[:, 1].reshape(-1, 8))
            for rows in (one, other)
        ]
        assert padding[1] < padding[0] / 10
        longest = [lengths[batch].max() for batch in np.array(other)[:, 1].reshape(-1, 8)]
        assert np.corrcoef(longest[1:], longest[:-1])[0, 1] < 0.3, "batches are in no order of length"


@pytest.mark.parametrize(("mixture", "shares"), [(1.0, (90, 10)), (0.5, (75, 25)), (0.0, (50, 50))])
def test_a_mixture_takes_each_text_by_a_power_of_its_size(mixture: float, shares: tuple[int, int]) -> None:
    passes, seen = Passes([np.arange(90), np.arange(90, 100)], seed=1, mixture=mixture), Counter()
    for epoch in range(9):
        passes.set_epoch(epoch)
        drawn = list(passes)
        large = sum(row < 90 for _, row in drawn)
        assert (large, len(drawn) - large) == shares
        seen.update(drawn)
    assert max(seen.values()) == 1, "a row comes once in each pass over its text"
    for rows in (range(90), range(90, 100)):
        times = Counter(row for _, row in seen)
        assert max(times[row] for row in rows) - min(times[row] for row in rows) <= 1


# Held out


@pytest.mark.parametrize("pairs", [False, True], ids=["packed", "pairs"])
def test_held_out_rows_are_the_last_of_each_text_and_never_trained_on(corpus: Corpus, pairs: bool) -> None:
    rows = masked_rows(corpus, pairs).rows
    cut = cut_rows(rows, 0.25, 1000)
    train, held_out = np.concatenate(cut.train), np.concatenate(cut.held_out)
    assert sorted([*train, *held_out]) == list(range(len(rows)))
    sizes = [len(one) + len(two) for one, two in zip(*cut, strict=True)]
    assert len(cut.held_out[0]) == int(sizes[0] * 0.25) and all(len(part) for part in cut.train[:2])
    first = cut.held_out[0]
    own = rows.rows(first, np.random.default_rng(0)) if pairs else rows.rows(first)
    others = masked_rows(corpus).rows.special
    ids = own.input_ids[~others[own.input_ids]]
    names = set(corpus[1].convert_ids_to_tokens(np.unique(ids).tolist()))
    assert names <= set("今天气很"), "wholly of its own text"


def test_at_most_so_many_rows_are_held_out(corpus: Corpus) -> None:
    rows = masked_rows(corpus).rows
    assert sum(map(len, cut_rows(rows, 0.5, 6).held_out)) <= 6
    assert not sum(map(len, cut_rows(rows, 0.5, 0).held_out))
    assert not sum(map(len, cut_rows(rows, 0.0, 100).held_out))


def test_many_short_files_hold_out_their_share_together(tmp_path: Path, corpus: Corpus) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(20)]
    for file in files:
        write_lines(file, ["今天气很" * 10])
    store = build_token_store(files, WholeWordTokenizer(corpus[1]), tmp_path / "tokens")
    rows = PackedRows(store, corpus[1], LENGTH)
    held = sum(map(len, cut_rows(rows, 0.1, 1000).held_out))
    assert len(rows) * 0.1 - 2 <= held <= len(rows) * 0.1


def test_of_a_row_some_bytes_are_held_in_memory() -> None:
    count = 200_000
    parts = [np.arange(count // 2, dtype=np.int32), np.arange(count // 2, count, dtype=np.int32)]
    tracemalloc.start()
    try:
        next(iter(Passes(parts, 1, 0.5, 32)))
        assert tracemalloc.get_traced_memory()[1] < 30 * count, "a row of 128 tokens is 400 bytes of text"
    finally:
        tracemalloc.stop()
