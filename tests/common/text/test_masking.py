"""Masker: every objective masks the share that was asked, by its own unit and at its own level, and nothing special."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.masking import OBJECTIVES, Masker, MaskingConfig
from common.text.masking_units import geometric_shares
from common.text.similar_words import SimilarWords
from tests.common.text.masking_batches import HAN, MASK, TOKENIZER, batch

CONFIGS = {name: MaskingConfig(objective=name) for name in OBJECTIVES} | {
    "2-3-gram": MaskingConfig(objective="ngram", ngram_shares=[0, 0.5, 0.5], whole_words=False),
    "other rate": MaskingConfig(objective="word", rate=0.4, mask_share=0.5, random_share=0.3),
}
WHOLE = [name for name, config in CONFIGS.items() if config.whole_words and name != "token"]


def no_similar_words() -> SimilarWords:
    return SimilarWords({}, {})


def masker(config: MaskingConfig, similar: SimilarWords | None = None) -> Masker:
    return Masker(config, TOKENIZER, similar or no_similar_words())


@pytest.fixture(scope="module")
def rows():
    return batch()


@pytest.fixture(scope="module", params=CONFIGS)
def masked(request, rows):
    """One pass of each objective over more than 100,000 tokens."""
    config = CONFIGS[request.param]
    return config, *rows, masker(config)(*rows, np.random.default_rng(7))


def test_the_asked_share_is_masked(masked):
    config, _, words, out = masked
    tokens = (words >= 0).sum()
    assert tokens >= 100_000
    assert abs(len(out.positions) / tokens - config.rate) < 0.002


def test_special_tokens_and_padding_never_are_and_never_appear(masked):
    _, ids, words, out = masked
    assert (words.ravel()[out.positions] >= 0).all()
    changed = out.input_ids.ravel() != ids.ravel()
    assert not np.isin(out.input_ids.ravel()[changed], [0, 1, 2, 3]).any()


def test_labels_are_what_stood_there_and_the_rest_is_as_it_was(masked):
    _, ids, _, out = masked
    assert (np.diff(out.positions) > 0).all()
    assert (out.labels == ids.ravel()[out.positions]).all()
    rest = np.ones(ids.size, dtype=bool)
    rest[out.positions] = False
    assert (out.input_ids.ravel()[rest] == ids.ravel()[rest]).all()


@pytest.mark.parametrize("name", WHOLE)
def test_words_are_masked_whole(rows, name):
    ids, words = rows
    out = masker(CONFIGS[name])(ids, words, np.random.default_rng(3))
    flags = np.zeros(ids.shape, dtype=bool)
    flags.ravel()[out.positions] = True
    same_word = (words[:, 1:] == words[:, :-1]) & (words[:, 1:] >= 0)
    assert (flags[:, 1:] == flags[:, :-1])[same_word].all()
    assert flags[:, 1:][same_word].any()


def shares_of(fates: np.ndarray) -> tuple[float, ...]:
    return tuple((fates == fate).mean() for fate in ("mask", "random", "kept"))


def fates(ids: np.ndarray, out) -> np.ndarray:
    new = out.input_ids.ravel()[out.positions]
    return np.where(new == MASK, "mask", np.where(new == out.labels, "kept", "random"))


@pytest.mark.parametrize("name", ["token", "word", "ngram", "2-3-gram", "other rate"])
def test_replacement_is_drawn_for_each_token(rows, name):
    config = CONFIGS[name]
    ids, words = rows
    out = masker(config)(ids, words, np.random.default_rng(5))
    found = fates(ids, out)
    rest = 1 - config.mask_share - config.random_share
    for share, expected in zip(shares_of(found), (config.mask_share, config.random_share, rest), strict=True):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(found)) + 1 / 3000
    # Independent of the neighbour: that both of two masked neighbours become [MASK] is the square of the share.
    pair = np.diff(out.positions) == 1
    both = ((found[1:] == "mask") & (found[:-1] == "mask"))[pair].mean()
    assert abs(both - config.mask_share**2) < 4 * np.sqrt(0.25 / pair.sum()) + 0.01


def lonely_runs(config: MaskingConfig, similar: SimilarWords | None = None):
    """Masked runs at a rate so low that two units hardly ever touch: (fates, words) of each run."""
    ids, words = batch(rows=1500, length=512, seed=2)
    out = masker(config, similar)(ids, words, np.random.default_rng(1))
    flat = words.ravel()
    cuts = np.flatnonzero(np.diff(out.positions) != 1) + 1
    found = fates(ids, out)
    for places, run in zip(np.split(out.positions, cuts), np.split(found, cuts), strict=True):
        yield run, len(set(flat[places].tolist()))


def test_spans_are_replaced_whole_and_have_geometric_lengths():
    runs = list(lonely_runs(MaskingConfig(objective="span", rate=0.01)))
    assert len(runs) > 1000
    mixed = [run for run, _ in runs if len(set(run)) > 1 and "kept" not in run]
    assert len(mixed) < 0.03 * len(runs)  # two spans that happen to touch
    first = np.array([run[0] for run, _ in runs])
    for share, expected in zip(shares_of(first), (0.8, 0.1, 0.1), strict=True):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(runs))
    lengths = np.bincount([min(words, 11) for _, words in runs], minlength=12)[1:11] / len(runs)
    expected = np.array(geometric_shares())
    # Ends of rows cut a few spans, and a few touch; the rest is chance.
    assert np.abs(lengths - expected).max() < 4 * np.sqrt(0.25 / len(runs))


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("ngram", [0.15, 0.2, 0.3, 0.2, 0.15]),
        ("macbert", [0.4, 0.3, 0.2, 0.1]),
        ("word", [1.0]),
    ],
)
def test_runs_have_the_stated_numbers_of_words(name, shares):
    counts = np.bincount([words for _, words in lonely_runs(MaskingConfig(objective=name, rate=0.01))])[1:]
    total = counts.sum()
    assert total > 1000
    expected = np.array(shares)
    sigma = np.sqrt(expected * (1 - expected) / total)
    # 1% of runs are two units that touch, 1% are cut by a special token.
    assert (np.abs(counts[: len(shares)] / total - expected) < 4 * sigma + 0.015).all()
    assert counts[len(shares) :].sum() / total < 0.03


@pytest.fixture(scope="module")
def similar() -> SimilarWords:
    """The first 1,500 characters by twos: each is like its neighbour and like nothing else."""
    random = np.random.default_rng(0)
    pairs = random.standard_normal((750, 40))
    return SimilarWords.of({HAN[i]: pairs[i // 2] for i in range(1500)}, TOKENIZER, least_similarity=0.9)


def test_macbert_puts_similar_words_in_and_never_a_mask(similar):
    ids, words = batch()
    config = MaskingConfig(objective="macbert", ngram_shares=[1.0])
    out = masker(config, similar)(ids, words, np.random.default_rng(4))
    assert MASK not in out.input_ids
    new = out.input_ids.ravel()[out.positions]
    twin = np.array(TOKENIZER.convert_tokens_to_ids([HAN[i ^ 1] for i in range(3000)]))
    numbers = {number: i for i, number in enumerate(TOKENIZER.convert_tokens_to_ids(HAN))}
    flat = words.ravel()
    alone = (flat[out.positions] != flat[out.positions - 1]) & (
        flat[out.positions] != flat[(out.positions + 1) % ids.size]
    )
    index = np.array([numbers[label] for label in out.labels.tolist()])
    known, unknown = alone & (index < 1500), alone & (index >= 1500)
    assert min(known.sum(), unknown.sum()) > 1500
    for chosen, expected in ((known, (0.8, 0.1)), (unknown, (0.0, 0.1))):
        found = (new == twin[index])[chosen].mean(), (new == out.labels)[chosen].mean()
        for share, wanted in zip(found, expected, strict=True):
            assert abs(share - wanted) < 4 * np.sqrt(0.25 / chosen.sum()) + 0.001
    # A random word is one of the known words with as many sub-tokens.
    random_words = known & (new != out.labels) & (new != twin[index])
    assert np.isin(new[random_words], [number for number, i in numbers.items() if i < 1500]).all()


def test_macbert_draws_for_each_word(similar):
    ids, words = batch()
    out = masker(MaskingConfig(objective="macbert"), no_similar_words())(ids, words, np.random.default_rng(4))
    kept = out.input_ids.ravel()[out.positions] == out.labels
    same = (np.diff(out.positions) == 1) & (np.diff(words.ravel()[out.positions]) == 0)
    assert (kept[1:] == kept[:-1])[same].mean() > 0.998  # but for the random token that is the same by chance
    assert abs(kept.mean() - 0.1) < 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_masks_come_from_the_generator_alone(rows, name):
    mask = masker(CONFIGS[name])
    before = [values.copy() for values in rows]
    random = np.random.default_rng(11)
    first = mask(*rows, random)
    state = random.bit_generator.state
    second = mask(*rows, random)
    assert not np.array_equal(first.positions, second.positions)  # anew at every pass
    again = np.random.default_rng(99)
    again.bit_generator.state = state
    for left, right in zip(second, masker(CONFIGS[name])(*rows, again), strict=True):
        assert np.array_equal(left, right)
    assert all(np.array_equal(old, new) for old, new in zip(before, rows, strict=True))


def test_short_rows_are_masked_at_the_same_rate():
    ids, words = batch(rows=20_000, length=8)
    out = masker(MaskingConfig(objective="span"))(ids, words, np.random.default_rng(0))
    assert abs(len(out.positions) / (words >= 0).sum() - 0.15) < 0.004


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(sorted(CONFIGS)), st.integers(0, 2**32))
def test_any_rows(data, name, seed):
    length = data.draw(st.integers(1, 9))
    cells = st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 4)), min_size=length, max_size=length)
    table = np.array(data.draw(st.lists(cells, min_size=1, max_size=6)))
    ids, words = table[..., 0], table[..., 1]
    out = masker(CONFIGS[name])(ids, words, np.random.default_rng(seed))
    assert out.input_ids.shape == ids.shape
    assert (out.labels == ids.ravel()[out.positions]).all()
    assert (out.labels >= 5).all()
    assert (words.ravel()[out.positions] >= 0).all()
    rest = np.setdiff1d(np.arange(ids.size), out.positions)
    assert (out.input_ids.ravel()[rest] == ids.ravel()[rest]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "wwm"}, "known are token, word"),
        ({"rate": 0}, "rate=0"),
        ({"mask_share": 0.95}, "sum to at most 1"),
        ({"ngram_shares": [0.5, 0.4]}, "sum to 1"),
        ({"objective": "span", "longest_span": 0}, "span lengths"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        masker(MaskingConfig(**settings))


def test_macbert_needs_similar_words_and_shapes_must_agree():
    with pytest.raises(ValueError, match="SimilarWords"):
        Masker(MaskingConfig(objective="macbert"), TOKENIZER)
    with pytest.raises(ValueError, match="expected one"):
        masker(MaskingConfig())(np.zeros((2, 3), int), np.zeros((2, 4), int), np.random.default_rng(0))
