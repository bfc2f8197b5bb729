"""Prediction: tokens a second next to Trainer.predict, an ensemble next to its models alone, and one pair's latency."""

import copy
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.speed_lengths import sohu_rows
from benchmarks.speed_measure import Row, in_turns, milliseconds, peak_flops, ratio_row, timed
from benchmarks.speed_members import Mix, flops_a_token, matcher, padding_of

TOKENS = 24_000  # of text, about as many as are predicted in a turn
BATCH = 32  # rows of the peer's batches


def prediction_rows(quick: bool, mix: Mix) -> list[Row]:
    """The kit's scores next to Trainer.predict's logits, from features to numbers, both in one precision, and the kit's
    in bf16 next to a Trainer's in fp32, which is how it comes."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from common.training.arguments import precision
    from common.training.batching import prediction_batches
    from common.training.fast_linear import wanted
    from common.training.prepared_text import TOKENS as PREDICTED
    from common.training.prepared_text import PreparedText
    from common.training.trainer import predict_rows

    member = mix.member
    first = np.asarray(member.features(mix.rows, labelled=False)[0]["length"]).cumsum()
    rows = mix.rows[: int(np.searchsorted(first, TOKENS // 4 if quick else TOKENS)) + 1]
    table, owners = member.features(rows, labelled=False)
    tokens = sum(table["length"])
    model = member.build_model().eval()
    other = copy.deepcopy(model)  # a Trainer in bf16 leaves its model in it
    auto = "bf16" if precision("auto")["bf16"] else "fp32"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        lengths = np.asarray(table["length"])
        plain = padding_of(lengths, np.split(np.arange(len(rows)), range(BATCH, len(rows), BATCH)))
        own_padding = padding_of(lengths, prediction_batches(lengths, PREDICTED))
        sides = [("fp32", "fp32")] if quick else dict.fromkeys([("fp32", "fp32"), (auto, auto), (auto, "fp32")])
        for name, other_name in sides:
            arguments = TrainingArguments(
                output_dir=folder, per_device_eval_batch_size=BATCH, use_cpu=not torch.cuda.is_available(),
                report_to=[], disable_tqdm=True, remove_unused_columns=False, bf16_full_eval=other_name == "bf16",
                dataloader_pin_memory=torch.cuda.is_available(),
            )  # fmt: skip
            features = table.remove_columns("length")

            def ours(name: str = name) -> None:
                text = PreparedText(table, member.collator(), owners)
                member.collect(predict_rows(model, text, member.forward, name), owners, rows)

            def theirs(arguments: Any = arguments, features: Any = features) -> None:
                trainer = Trainer(other, arguments, member.collator())
                trainer.remove_callback(PrinterCallback)
                trainer.predict(features)

            pairs = []
            for own, peer in in_turns(lambda ours=ours: timed(ours), lambda theirs=theirs: timed(theirs),
                                       1 if quick else 5):  # fmt: skip
                pairs.append((tokens / own, tokens / peer))
            other.float()
            first, second = (median(side) for side in zip(*pairs, strict=True))
            share = first * flops_a_token(model, np.mean(table["length"]), False) / peak_flops(getattr(torch, {
                "fp32": "float32", "bf16": "bfloat16"}[name]))  # fmt: skip
            remark = f"{share:.0%} of a large matrix product's speed"
            remark += f"; {plain:.0%} of theirs is padding"
            if name == other_name:
                # With the same kernels on both sides there is nothing else to gain; in fp32 on AMD they differ.
                remark += f", which is worth {(1 - own_padding) / (1 - plain):.1f} times"
                remark += "; the kit's linear layers are oneDNN's" if name == "fp32" and wanted() else ""
            what = f"both in {name}" if name == other_name else f"predict_precision={name}"
            found.append(ratio_row(f"prediction, {mix.name}: {what}", f"Trainer.predict, {other_name}, {BATCH} rows",
                                   f"{first:,.0f} tokens/s", f"{second:,.0f} tokens/s",
                                   [a / b for a, b in pairs], 2.5, remark))  # fmt: skip
    return found


def ensemble_row(quick: bool, mix: Mix) -> Row:
    """Five models' scores, reading the text once, against the five models' own time on batches that are ready."""
    import torch

    from common.training.fast_linear import fast_linears
    from common.training.prepared_text import SharedText

    table, members = mix.rows[: 20 if quick else 80], []
    for seed in range(5):
        member = matcher(mix.rows, seed)
        torch.manual_seed(seed)
        member.model = member.build_model().to("cuda" if torch.cuda.is_available() else "cpu").eval()
        members.append(member)
    batches = [{name: value.to(members[0].model.device) for name, value in batch.items()}
               for _, batch in members[0].prepared(table)]  # fmt: skip

    def ensemble() -> None:
        shared = SharedText()
        for member in members:
            member.share_text(shared)
            member.scores(table)

    @torch.inference_mode()
    def alone() -> None:
        for member in members:
            with fast_linears(member.model):  # as the kit predicts: the difference is that of the text
                for batch in batches:
                    member.forward(member.model, batch)

    pairs = in_turns(lambda: timed(ensemble), lambda: timed(alone), 2 if quick else 5)
    ratios = [own / other for own, other in pairs]
    own, other = (milliseconds(median(side)) for side in zip(*pairs, strict=True))
    return Row(f"five folds' scores of {len(table)} pairs, text included", "the five models alone", own, other,
               f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})", "< 1.3",
               median(ratios) < 1.3)  # fmt: skip


def latency_rows(quick: bool) -> list[Row]:
    """One pair of texts to its probability with the kit's own encoder, on both cores; and its linear layers in int8."""
    import torch

    from competitions.tasks.text_settings import load_tokenizer
    from models.export import quantized

    if torch.cuda.is_available():
        return []
    torch.set_num_threads(2)
    try:
        rows = sohu_rows(20)
        member = matcher(rows, encoder="models/pretrained")
        member.text.tokenizer = load_tokenizer("models/pretrained")
        head = member.build_model().eval()
        times = {}
        for name, model in (("fp32", head), ("int8", quantized(head))):
            member.model, own = model, []
            for number in range(12 if quick else 60):
                row = rows.iloc[[number % len(rows)]].reset_index(drop=True)
                begun = time.perf_counter()
                member.scores(row)
                own.append(1000 * (time.perf_counter() - begun))
            times[name] = sorted(own[2:])
    finally:
        torch.set_num_threads(1)
    found = []
    for name, own in times.items():
        found.append(Row(f"one pair, models/pretrained, {name}, 2 cores", "wall time, text included",
                         f"{median(own):.1f} ms", f"95%: {own[int(0.95 * len(own))]:.1f} ms", "", "< 30 ms",
                         median(own) < 30))  # fmt: skip
    return found
