"""Pretraining next to a Trainer with transformers' whole-word masking collator, on made-up sentences."""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.pretraining_speed import Settings, measure
from benchmarks.speed_lengths import texts_of
from benchmarks.speed_measure import ROOT, Row, ratio_row

WANTED = 1.5
SENTENCES, LENGTH = 8000, 25  # characters of a sentence, on average


def pretraining_rows(quick: bool) -> list[Row]:
    """Tokens of text a second of both, in each precision that this machine computes in."""
    from common.config import read_config, resolved
    from common.training.arguments import precision

    architecture = resolved(read_config([Path(ROOT) / "competitions/config/pretrain.yaml"], []))["architecture"]
    precisions = ["fp32"] if quick or not precision("auto")["bf16"] else ["fp32", "bf16"]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "text.txt"
        random = np.random.default_rng(1)
        lengths = random.integers(5, 2 * LENGTH - 5, SENTENCES // (4 if quick else 1))
        corpus.write_text("\n".join(texts_of(lengths, random)), encoding="utf-8")
        found = measure(
            Settings(corpus=str(corpus), lines="as_they_are", batch_tokens=2048, precisions=precisions,
                     steps=2 if quick else 5, turns=1 if quick else 5, clock="cpu", architecture=architecture),
            say=lambda _: None,
        )  # fmt: skip
    rows = []
    for name, own in found.items():
        first, second = (median(own[side]) for side in ("ours", "theirs"))
        rows.append(ratio_row(
            f"pretraining, sentences of {LENGTH} characters, {name}", "Trainer, DataCollatorForLanguageModeling",
            f"{first:,.0f} tokens/s", f"{second:,.0f} tokens/s",
            [a / b for a, b in zip(own["ours"], own["theirs"], strict=True)], WANTED,
        ))  # fmt: skip
    return rows
