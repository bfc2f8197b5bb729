"""Where the time of a training step and of a prediction goes, before and after what the kit does about it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.speed_lengths import datagrand_rows, sohu_rows

LINES = 12  # of each profile
STEPS = 3


def section() -> str:
    """The section of SPEED.md: before is torch's dropout and fused attention on rows in random order."""
    text = ["## Profile\n`python -m benchmarks.speed --profile`: the operations that take most of the processor's own "
            f"time over {STEPS} batches of 32 rows, one thread. Before: rows in random order, torch's dropout and "
            "attention. After: as the kit trains and predicts."]  # fmt: skip
    for name, member, rows in members():
        table, _ = member.features(rows, labelled=True)
        for stage in ("training", "prediction"):
            for when in ("before", "after"):
                total, lines = profiled(member, table, stage, when == "after")
                head = f"\n{name}, {stage}, {when}: {total:.0f} ms for 1,000 tokens of text\n"
                text.append("\n".join([head, "| operation | share | calls |", "|---|---:|---:|", *lines]))
    return "\n".join(text)


def members() -> list[tuple[str, Any, Any]]:
    """Both contests' own recurrent members by their default settings, and a BERT of four layers."""
    from benchmarks.speed_members import matcher
    from common.text.anonymised import anonymised_tokenizer
    from common.text.vocabulary import character_tokenizer
    from competitions.launch import configured

    lines, pairs = datagrand_rows(800), sohu_rows(800)
    tagger = configured("datagrand_extraction", [], []).build_member("bilstm_crf", 1)
    tagger.text.tokenizer = anonymised_tokenizer(lines["tokens"], 1)
    tagger.text.bigrams = np.arange(1000)
    recurrent = configured("sohu_matching", [], []).build_member("conditional_norm", 1)
    recurrent.text.tokenizer = character_tokenizer([*pairs["source"], *pairs["target"]], 1)
    return [("DataGrand bilstm_crf", tagger, lines), ("Sohu conditional_norm", recurrent, pairs),
            ("cross-encoder of 4 layers of 256", matcher(pairs), pairs)]  # fmt: skip


def profiled(member: Any, table: Any, stage: str, after: bool) -> tuple[float, list[str]]:
    """Milliseconds for 1,000 tokens, and the operations that take most of them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from common.training.arguments import precision
    from common.training.batching import LengthGroupedSampler, prediction_batches
    from common.training.fast_dropout import use_fast_dropout
    from common.training.prepared_text import rows_of

    torch.manual_seed(1)
    model, lengths = member.build_model(), np.asarray(table["length"])
    random = np.random.default_rng(1).permutation(len(lengths))
    grouped = np.array(list(LengthGroupedSampler(lengths, 32, 1)))
    if stage == "training" and after:
        use_fast_dropout(model)
    order = grouped if after else random
    batches = [order[begin : begin + 32] for begin in range(0, 32 * STEPS, 32)]
    if stage == "prediction" and after:
        rows = np.sort(random[: 32 * STEPS])
        batches = [rows[places] for places in prediction_batches(lengths[rows], 16_384)]
    features, collate = table.remove_columns("length"), member.collator()
    half = stage == "training" and precision("auto")["bf16"]

    def run(places: np.ndarray) -> None:
        batch = collate(rows_of(features, places))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            if stage == "training":
                model.train()
                loss = model(**batch).loss
        if stage == "training":
            loss.backward()
            model.zero_grad()
        else:
            member.forward(model, {name: value for name, value in batch.items() if "labels" not in name})

    with nullcontext() if stage == "training" else torch.inference_mode():
        run(batches[0])
        with profile(activities=[ProfilerActivity.CPU]) as found:
            _each(run, batches)
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    lines = [f"| {event.key.replace('autograd::engine::evaluate_function: ', '')} | "
             f"{event.self_cpu_time_total / total:.1%} | {event.count} |" for event in events[:LINES]]  # fmt: skip
    return total / sum(lengths[batch].sum() for batch in batches), lines


def _each(run: Callable[[np.ndarray], None], batches: list[np.ndarray]) -> None:
    for batch in batches:
        run(batch)
