"""Where the time of a training step and of a prediction goes, before and after what the kit does about it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from benchmarks.speed_lengths import datagrand_rows, sohu_rows

LINES = 8  # of each profile
STEPS = {"training": 3, "prediction": 20}  # batches of 32 rows


def section() -> str:
    """The section of SPEED.md: a table for each member's training step and its prediction."""
    text = ["## Profile\n`python -m benchmarks.speed --profile`: milliseconds of the processor's own time that 1,000 "
            f"tokens of text take, by operation, over {STEPS['training']} batches of 32 rows ({STEPS['prediction']} to "
            "predict), one thread, the second time that they come. Before: rows in random order, fp32, torch's dropout "
            "and linear layers. After: as the kit trains and predicts."]  # fmt: skip
    for name, member, rows in members():
        table, _ = member.features(rows, labelled=True)
        for stage in ("training", "prediction"):
            before, after = (profiled(member, table, stage, own) for own in (False, True))
            most = sorted(before | after, key=lambda key: -max(before.get(key, 0), after.get(key, 0)))[:LINES]
            lines = [f"| {key} | {before.get(key, 0):.1f} | {after.get(key, 0):.1f} |" for key in most]
            whole = f"| **all** | **{sum(before.values()):.1f}** | **{sum(after.values()):.1f}** |"
            text.append("\n".join([f"\n| {name}, {stage} | before | after |", "|---|---:|---:|", *lines, whole]))
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
    recurrent = configured("sohu_matching", [], []).build_member("recurrent_norm", 1)
    recurrent.text.tokenizer = character_tokenizer([*pairs["source"], *pairs["target"]], 1)
    return [("DataGrand bilstm_crf", tagger, lines), ("Sohu recurrent_norm", recurrent, pairs),
            ("cross-encoder of 4 layers of 256", matcher(pairs), pairs)]  # fmt: skip


def profiled(member: Any, table: Any, stage: str, after: bool) -> dict[str, float]:
    """Milliseconds that each operation itself takes for 1,000 tokens of text."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from common.training.prepared_text import rows_of

    torch.manual_seed(1)
    model, lengths = member.build_model().train(stage == "training"), np.asarray(table["length"])
    batches = batches_of(lengths, stage, after)
    features, collate = table.remove_columns("length"), member.collator()

    def run(places: np.ndarray) -> None:
        batch = collate(rows_of(features, places))
        if stage == "prediction":
            member.forward(model, {name: value for name, value in batch.items() if "labels" not in name})
            return
        loss = model(**batch).loss
        loss.backward()
        model.zero_grad()

    with the_kits_ways(model, stage, after):
        for places in batches:
            run(places)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for places in batches:
                run(places)
    tokens, times = sum(lengths[batch].sum() for batch in batches), {}
    for event in found.key_averages():
        name = event.key.removeprefix("autograd::engine::evaluate_function: ")
        times[name] = times.get(name, 0.0) + event.self_cpu_time_total / tokens  # microseconds a token
    return times


def batches_of(lengths: np.ndarray, stage: str, after: bool) -> list[np.ndarray]:
    """The rows of each batch: 32 in random order; after: of like lengths, and to predict, by padded tokens."""
    from common.training.batching import LengthGroupedSampler, prediction_batches
    from common.training.prepared_text import TOKENS

    order = np.random.default_rng(1).permutation(len(lengths))
    if stage == "prediction" and after:
        rows = order[: 32 * STEPS[stage]]
        return [rows[places] for places in prediction_batches(lengths[rows], TOKENS)]
    if after:
        order = np.array(list(LengthGroupedSampler(lengths, 32, 1)))
    return [order[begin : begin + 32] for begin in range(0, 32 * STEPS[stage], 32)]


@contextmanager
def the_kits_ways(model: Any, stage: str, after: bool) -> Iterator[None]:
    """The precision of each stage, without gradients where none are wanted; after: dropout and linear layers too."""
    import torch

    from common.training.arguments import precision
    from common.training.fast_dropout import use_fast_dropout
    from common.training.fast_linear import fast_linears

    if stage == "prediction":
        with torch.inference_mode(), fast_linears(model) if after else nullcontext():
            yield
        return
    if after:
        use_fast_dropout(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=after and precision("auto")["bf16"]):
        yield
