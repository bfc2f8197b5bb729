"""Tokens a second of training: the kit's FoldTrainer next to transformers' Trainer, the same model and rows."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.speed_measure import Row, clock, in_turns, peak_flops, ratio_row
from benchmarks.speed_members import Mix, flops_a_token, padding_of

Rate = Callable[[Iterator[int]], float]
WARM_UP = 1  # steps of a turn before the clock starts


def counted(trainer: type) -> type:
    """A Trainer that knows how many tokens of text it took a second, from one step's beginning to a later one's."""

    class Counted(trainer):
        marks: tuple = ()
        tokens = 0

        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.marks = (*self.marks, (clock(), self.tokens))
            self.tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

        def rate(self) -> float:
            """Tokens a second, optimizer and batch making included."""
            self.train()
            (begun, before), (ended, after) = self.marks[WARM_UP], self.marks[-1]
            return (after - before) / (ended - begun)

    return Counted


def ours(mix: Mix, table: Any, steps: int, precision: str, folder: str, **settings: Any) -> Rate:
    """Tokens a second of the kit, by the seeds of the order, of which each call takes the next."""
    from common.training.arguments import TrainingConfig, training_arguments
    from common.training.trainer import FoldTrainer

    own = {"batch_size": mix.batch, "learning_rate": 1e-4, "precision": precision, "max_steps": steps + WARM_UP + 1}
    config = TrainingConfig(**(own | settings))

    def rate(seeds: Iterator[int]) -> float:
        seed = next(seeds)
        arguments = training_arguments(config, folder, seed)
        arguments.save_strategy, arguments.load_best_model_at_end = "no", False
        return counted(FoldTrainer)(mix.member.build_model(), config, arguments, table, mix.member.collator(),
                                    lambda model: {"score": 0.0}).rate()  # fmt: skip

    return rate


def theirs(mix: Mix, table: Any, steps: int, precision: str, folder: str) -> Rate:
    """Tokens a second of a plain Trainer: random order, padded to the longest of a batch."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    rows = table.remove_columns("length")

    def rate(seeds: Iterator[int]) -> float:
        seed = next(seeds)
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps + WARM_UP + 1, per_device_train_batch_size=mix.batch,
            learning_rate=1e-4, bf16=precision == "bf16", use_cpu=not torch.cuda.is_available(), report_to=[],
            disable_tqdm=True, save_strategy="no", logging_strategy="no", remove_unused_columns=False, seed=seed,
            dataloader_pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
        trainer = counted(Trainer)(mix.member.build_model(), arguments, mix.member.collator(), rows)
        trainer.remove_callback(PrinterCallback)
        return trainer.rate()

    return rate


def bert4torch(mix: Mix, table: Any, steps: int) -> Rate | None:
    """Tokens a second of bert4torch's trainer, in fp32, the one precision that it has on a CPU; None where it is not
    installed. Random order, padded to the longest of a batch."""
    try:
        from torch4keras.trainer import Trainer  # what bert4torch.trainer gives
    except ImportError:
        return None
    import torch
    from torch.utils.data import DataLoader

    rows, collate = table.remove_columns("length"), mix.member.collator()

    class Counted(Trainer):
        marks: tuple = ()
        tokens = 0

        def train_step(self, train_X: Any, train_y: Any) -> Any:
            self.marks = (*self.marks, (clock(), self.tokens))
            self.tokens += int(train_X["attention_mask"].sum())
            return super().train_step(train_X, train_y)

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = mix.member.build_model()

        def forward(self, batch: dict[str, Any]) -> Any:
            return self.model(**batch).loss

    def rate(seeds: Iterator[int]) -> float:
        order = torch.Generator().manual_seed(next(seeds))
        batches = DataLoader(rows, mix.batch, shuffle=True, generator=order, collate_fn=lambda own: (collate(own), 0))
        module = Loss()
        trainer = Counted(module.cuda() if torch.cuda.is_available() else module)
        trainer.compile(loss=lambda loss, _: loss, optimizer=torch.optim.AdamW(module.parameters(), 1e-4))
        trainer.fit(batches, steps_per_epoch=steps + WARM_UP + 1, epochs=1, verbose=0)
        (begun, before), (ended, after) = trainer.marks[WARM_UP], trainer.marks[-1]
        return (after - before) / (ended - begun)

    return rate


def training_rows(quick: bool, mix: Mix) -> list[Row]:
    """The ratios for one mix: as both come, both in the kit's precision, and by padded tokens; and the padding."""
    from common.training.arguments import precision
    from common.training.batching import LengthGroupedSampler, TokenBatchSampler

    turns, steps = (1, 2) if quick else (5, 2 if mix.batch < 32 else 4)
    table, _ = mix.member.features(mix.rows, labelled=True)
    lengths = np.asarray(table["length"])
    auto = "bf16" if precision("auto")["bf16"] else "fp16" if precision("auto")["fp16"] else "fp32"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        peers = {name: theirs(mix, table, steps, name, folder) for name in dict.fromkeys(("fp32", auto))}
        if other := bert4torch(mix, table, steps):
            peers["bert4torch"] = other
        own = ours(mix, table, steps, "auto", folder)
        budget = ours(mix, table, steps, "auto", folder, batch_tokens=round(mix.batch * lengths.mean()))
        for what, side, peer, wanted in (
            (f"training, {mix.name}: as both come ({auto})", own, "fp32", 2.5),
            (f"training, {mix.name}: as both come ({auto})", own, "bert4torch", 2.5),
            (f"training, {mix.name}: both in {auto}", own, auto, 2.5),
            (f"training, {mix.name}: both in {auto}, batch_tokens", budget, auto, 0.0),
        ):
            skipped = (quick and wanted == 0) or ((quick or auto == "fp32") and "as both" in what)
            if skipped or peer not in peers or (side is budget and mix.name != "DataGrand"):
                continue
            pairs = in_turns(partial(side, iter(range(1, 9))), partial(peers[peer], iter(range(1, 9))), turns)
            first, second = (median(rates) for rates in zip(*pairs, strict=True))
            remark = ""
            if side is own and peer == auto:
                share = first * flops_a_token(mix.member.build_model(), lengths.mean(), True) / _peak(auto)
                remark = f"{share:.0%} of a large matrix product's speed"
            name = "bert4torch's trainer, fp32" if peer == "bert4torch" else f"Trainer, {peer}"
            row = ratio_row(what, f"{name}, {mix.batch} rows in random order", f"{first:,.0f} tokens/s",
                            f"{second:,.0f} tokens/s", [a / b for a, b in pairs], wanted, remark)  # fmt: skip
            rows.append(row)
    order = np.array(list(LengthGroupedSampler(lengths, mix.batch, 1)))
    cut = len(order) // mix.batch * mix.batch
    shares = [
        padding_of(lengths, np.split(order[:cut], cut // mix.batch)),
        padding_of(lengths, [np.array(batch) for batch in TokenBatchSampler(lengths, budget_of(mix, lengths), 1)]),
        padding_of(lengths, np.split(np.random.default_rng(1).permutation(len(lengths))[:cut], cut // mix.batch)),
    ]
    remark = f"with training.batch_tokens: {shares[1]:.1%}"
    if shares[0] >= 0.05:
        remark += f"; the longest row has {lengths.max() / np.median(lengths):.0f} times the median, and pads the "
        remark += f"{mix.batch - 1} beside it; batch_size stays the default, since README's scores were trained with it"
    rows.append(Row(f"padding, {mix.name}", "random order", f"{shares[0]:.1%}", f"{shares[2]:.1%}", "", "< 5%",
                    shares[0] < 0.05, remark))  # fmt: skip
    return rows


def budget_of(mix: Mix, lengths: np.ndarray) -> int:
    """As many padded tokens as a batch of rows has on average."""
    return round(mix.batch * lengths.mean())


def _peak(name: str) -> float:
    import torch

    return peak_flops({"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name])
