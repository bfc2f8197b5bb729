"""Metrics against scikit-learn and seqeval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2, IOBES
from sklearn.metrics import f1_score

from common.evaluation.metrics import binary_f1, entity_f1, f1_by_group, f1_of_counts
from common.text.labels import LabelScheme

labels = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from("AB")), min_size=1, max_size=30)


@given(labels)
def test_binary_f1_is_that_of_scikit_learn(rows):
    gold, predicted, groups = map(list, zip(*rows, strict=True))
    assert binary_f1(gold, predicted) == pytest.approx(f1_score(gold, predicted, zero_division=0.0))
    found = f1_by_group(groups, gold, predicted)
    assert list(found) == list(dict.fromkeys(groups))
    for group, value in found.items():
        own = np.array(groups) == group
        expected = f1_score(np.array(gold)[own], np.array(predicted)[own], zero_division=0.0)
        assert value == pytest.approx(expected)


def test_predictions_may_be_the_outcome_of_a_comparison():
    assert binary_f1(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.1]) >= 0.5) == 0.5


def test_numbers_of_rows_must_agree():
    with pytest.raises(ValueError, match="2 labels but 3 predictions"):
        binary_f1([1, 0], [1, 0, 1])
    with pytest.raises(ValueError):
        entity_f1([[]], [[], []])


def random_spans(random: np.random.Generator, length: int) -> list[tuple[int, int, str]]:
    spans, place = [], 0
    while (place := place + int(random.integers(0, 3))) < length:
        end = min(length, place + int(random.integers(1, 4)))
        spans.append((place, end, "abc"[random.integers(3)]))
        place = end
    return spans


@pytest.mark.parametrize(("scheme", "reference"), [("BIO", IOB2), ("BIOES", IOBES)])
@pytest.mark.parametrize("seed", range(4))
def test_entity_f1_is_that_of_seqeval_in_strict_mode(scheme, reference, seed):
    random, tags = np.random.default_rng(seed), LabelScheme(("a", "b", "c"), scheme)
    lengths = random.integers(1, 15, 60)
    gold = [random_spans(random, length) for length in lengths]
    # Half of the rows are right, so that every count is above zero.
    predicted = [
        own if random.random() < 0.5 else random_spans(random, len_) for own, len_ in zip(gold, lengths, strict=True)
    ]

    def as_tags(rows: list) -> list[list[str]]:
        return [[tags.tags[tag] for tag in tags.encode(row, size)] for row, size in zip(rows, lengths, strict=True)]

    theirs = classification_report(
        as_tags(gold), as_tags(predicted), mode="strict", scheme=reference, output_dict=True, zero_division=0
    )
    own = entity_f1(gold, predicted)
    assert list(own) == ["micro", "a", "b", "c"]
    for kind, result in own.items():
        expected = theirs["micro avg" if kind == "micro" else kind]
        assert [result["precision"], result["recall"], result["f1"]] == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"]]
        )


def test_an_entity_with_another_border_or_type_is_wrong():
    found = entity_f1([[(0, 2, "a"), (4, 5, "b")]], [[(0, 3, "a"), (4, 5, "a"), (4, 5, "b")]])
    assert found["micro"] == pytest.approx({"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5})
    assert found["a"]["f1"] == 0 and found["b"]["f1"] == 1


def test_a_repeated_prediction_counts_once():
    assert entity_f1([[(0, 1, "a")]], [[(0, 1, "a"), (0, 1, "a")]])["micro"]["precision"] == 1


def test_nothing_predicted_and_nothing_to_find_is_zero_not_an_error():
    assert f1_of_counts(0, 0, 0) == {"precision": 0, "recall": 0, "f1": 0}
    assert entity_f1([[], []], [[], []]) == {"micro": {"precision": 0, "recall": 0, "f1": 0}}
    assert binary_f1([0, 0], [0, 0]) == 0
