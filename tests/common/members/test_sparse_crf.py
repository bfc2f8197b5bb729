"""The sparse-feature CRF: learns contexts, scores in the contest's tags, and comes back from its folder unchanged."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from common.files import DataError
from common.members.sparse_crf import SparseCrf, SparseCrfSettings
from common.text.labels import LabelScheme
from common.text.tag_decoding import decode_tags

BIO, BIOES = LabelScheme(("a", "b")), LabelScheme(("a", "b"), "BIOES")
PLAIN = SparseCrfSettings(clusters=0, lexicon=0, iterations=40)


def lines(rows: int, seed: int) -> pd.DataFrame:
    """Entities of type a stand after token 7 and end before 8; those of type b are token 9 and what follows it."""
    random = np.random.default_rng(seed)
    table = []
    for row in range(rows):
        tokens, spans = [], []
        for _ in range(3):
            tokens += list(random.integers(100, 160, random.integers(1, 4)).astype(str))
            if random.random() < 0.5:
                inside = int(random.integers(1, 4))
                spans.append((len(tokens) + 1, len(tokens) + 1 + inside, "a"))
                tokens += ["7", *random.integers(100, 160, inside).astype(str), "8"]
            else:
                spans.append((len(tokens), len(tokens) + 2, "b"))
                tokens += ["9", str(random.integers(100, 160))]
        table.append((f"r{row}", tokens, spans))
    return pd.DataFrame(table, columns=["id", "tokens", "spans"])


def decoded(scores: list[np.ndarray], scheme: LabelScheme) -> list[list[tuple[int, int, str]]]:
    return decode_tags(np.concatenate(scores), np.cumsum([0, *map(len, scores)]), scheme)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crf")
    crf = SparseCrf(PLAIN, BIO)
    facts = crf.fit(lines(200, 0), None, (), folder)
    return crf, folder, facts


def test_finds_entities_by_their_context(fitted):
    crf, _, facts = fitted
    new = lines(60, 1)
    found = decoded(crf.scores(new.drop(columns="spans")), BIO)
    right = sum(len(set(one) & set(two)) for one, two in zip(found, new["spans"], strict=True))
    assert right / new["spans"].map(len).sum() > 0.95
    assert 0 < facts["iterations"] <= 40


def test_scores_are_tag_probabilities_of_every_token(fitted):
    new = lines(10, 2)
    for tokens, scores in zip(new["tokens"], fitted[0].scores(new), strict=True):
        assert scores.shape == (len(tokens), len(BIO.tags)) and scores.dtype == np.float32
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_scores_are_the_marginals_of_all_tag_sequences(fitted):
    crf = fitted[0]
    tokens = ["120", "9", "130"]
    labels = crf.tagger.labels()
    crf.tagger.set(crf.features(tokens))
    expected = np.zeros((len(tokens), len(BIO.tags)))
    for sequence in product(labels, repeat=len(tokens)):
        for place, label in enumerate(sequence):
            tag = {"S": "B", "E": "I"}.get(label[0], label[0]) + label[1:]
            expected[place, BIO.tags.index(tag)] += crf.tagger.probability(list(sequence))
    (found,) = crf.scores(pd.DataFrame({"tokens": [tokens]}))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bioes_scores_add_up_to_those_in_bio(fitted, tmp_path):
    crf = SparseCrf(PLAIN, BIOES)
    crf.fit(lines(200, 0), None, (), tmp_path)
    new = lines(10, 3)
    for bioes, bio in zip(crf.scores(new), fitted[0].scores(new), strict=True):
        for tag, parts in (("B-a", ("B-a", "S-a")), ("I-b", ("I-b", "E-b")), ("O", ("O",))):
            total = bioes[:, [BIOES.tags.index(part) for part in parts]].sum(axis=1)
            np.testing.assert_allclose(total, bio[:, BIO.tags.index(tag)], atol=1e-5)


def test_restored_scores_are_the_same(fitted):
    crf, folder, _ = fitted
    new, again = lines(10, 4), SparseCrf.load(folder)
    assert again.settings == crf.settings and again.scheme == BIO
    for one, two in zip(crf.scores(new), again.scores(new), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_same_rows_fit_the_same_model_whatever_is_held_out(tmp_path):
    settings = SparseCrfSettings(clusters=5, cluster_epochs=2, iterations=5)
    for name, held_out in (("one", None), ("two", lines(20, 9))):
        SparseCrf(settings, BIO).fit(lines(40, 0), held_out, lines(20, 5)["tokens"], tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_clusters_come_from_training_and_unlabelled_text(tmp_path):
    crf = SparseCrf(SparseCrfSettings(clusters=5, cluster_epochs=2, iterations=5), BIO)
    crf.fit(lines(40, 0), None, [["100", "new", "101"]] * 3, tmp_path)
    assert "new" in crf.clusters and len(set(crf.clusters.values())) <= 5
    assert any(feature.startswith("c0=") for feature in crf.features(["new"])[0])


def test_tags_that_no_training_row_has_get_zero(tmp_path):
    rows = lines(30, 0)
    rows["spans"] = rows["spans"].map(lambda spans: [span for span in spans if span[2] == "b"])
    crf = SparseCrf(PLAIN, BIO)
    crf.fit(rows, None, (), tmp_path)
    scores = np.concatenate(crf.scores(lines(5, 1)))
    assert (scores[:, [BIO.tags.index("B-a"), BIO.tags.index("I-a")]] == 0).all()


def test_training_lines_do_not_find_themselves_in_the_lexicon(tmp_path):
    crf = SparseCrf(SparseCrfSettings(clusters=0, iterations=3), BIO)
    rows = pd.DataFrame({"tokens": [["1", "2"], ["3"]], "spans": [[(0, 2, "a")], []]})
    crf.fit(rows, None, (), tmp_path)
    assert "known=Ba4" in crf.features(["1", "2"])[0]
    assert not any(name.startswith("known") for name in crf.features(["1", "2"], [(0, 2, "a")])[0])


def test_features_are_the_token_its_neighbours_and_the_edges():
    crf = SparseCrf(PLAIN, BIO)
    first, second = crf.features(["5", "6"])
    assert first == ["w-2=<2", "w-1=<1", "w0=5", "w1=6", "w2=>1", "w-1_0=<1_5", "w0_1=5_6", "begins"]
    assert "w0=6" in second and "w-1_0=5_6" in second and second[-1] == "ends"


def test_character_features_are_an_option():
    crf = SparseCrf(SparseCrfSettings(clusters=0, characters=True), BIO)
    assert {"k0=aAa0", "first=i", "last=2"} <= set(crf.features(["iPhone12"])[0])
    assert "k0=x" in crf.features(["北京"])[0]


def test_an_empty_line_has_no_scores(fitted):
    one, two = fitted[0].scores(pd.DataFrame({"tokens": [[], ["9", "100"]]}))
    assert one.shape == (0, len(BIO.tags)) and two.shape == (2, len(BIO.tags))


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="no training rows"):
        SparseCrf(PLAIN, BIO).fit(lines(1, 0).iloc[:0], None, (), tmp_path)


def test_scoring_before_fitting_says_so():
    with pytest.raises(RuntimeError, match="before fit"):
        SparseCrf(PLAIN, BIO).scores(lines(1, 0))
