"""Text is made ready once: the batches of a later pass are those of the first, and only equal settings share them."""

import pytest
import torch

from common.training.prepared_text import PreparedText, SharedText
from tests.common.training.tiny import COLLATOR, feature_rows


@pytest.mark.parametrize("kept_bytes", [0, 4000, 2**20], ids=["none kept", "some kept", "all kept"])
def test_every_pass_gives_the_same_batches(kept_bytes: int) -> None:
    rows, calls = feature_rows(40), []

    def collator(batch):
        calls.append(len(batch))
        return COLLATOR(batch)

    text = PreparedText(rows, collator, tokens=60, kept_bytes=kept_bytes)
    first, second = list(text), list(text)
    assert len(text) == 40 and sorted(place for places, _ in first for place in places) == list(range(40))
    for (places, batch), (again, same) in zip(first, second, strict=True):
        assert places.tolist() == again.tolist()
        assert all(torch.equal(batch[name], same[name]) for name in batch)
    expected = {0: 2 * len(first) + 1, 2**20: len(first)}.get(kept_bytes)
    assert len(calls) == expected if expected else len(first) < len(calls) < 2 * len(first)


def test_equal_keys_share_and_others_do_not() -> None:
    shared, made = SharedText(), []

    def make() -> PreparedText:
        made.append(PreparedText(feature_rows(3), COLLATOR))
        return made[-1]

    assert shared.get("a", make) is shared.get("a", make)
    assert shared.get("b", make) is not made[0] and len(made) == 2
    assert shared.get(None, make) is not shared.get(None, make)
