"""Whether what makes the kit fast changes scores: small fits on real data, each way with several seeds."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pandas as pd

from benchmarks.speed_measure import HEAD, Row

SEEDS = (1, 2, 3)
LINES, HELD_OUT = 2000, 1500  # of DataGrand
WAYS = {
    "random order, torch's dropout": {"group_by_length": False},
    "random order, fast dropout": {"group_by_length": False},
    "length groups, fast dropout": {},
    "batch_tokens, fast dropout": {"batch_tokens": 1700},
}
CLOSE = 0.002
PAIRS = ("lcqmc", "matching/lcqmc", "cross_encoder")
# Name, contest, folder of its files, member, settings, rows to fit on.
HEADS = [
    ("cross-encoder, LCQMC", *PAIRS, [], 3000),
    ("bi-encoder, LCQMC", *PAIRS, ["kind=bi_encoder"], 3000),
    ("classifier, ChnSentiCorp", "chnsenticorp", "classification/chnsenticorp", "classifier", [], 1500),
    ("CRF tagger, CLUENER", "cluener", "ner/cluener", "bilstm_crf", ["dropout=0.1"], 2500),
    ("span pointers, CLUENER", "cluener", "ner/cluener", "span_pointers", ["dropout=0.1"], 2500),
    ("GlobalPointer, CLUENER", "cluener", "ner/cluener", "global_pointer", [], 2500),
]


def section(data: Path, say: Callable[[str], None]) -> str:
    """The section of SPEED.md. data: the folder of data sets that benchmarks.encoder reads."""
    rows = []
    for row in [*training_ways(data, say), *served_heads(data, say)]:
        rows.append(row.line())
        say(rows[-1])
    note = (
        f"\n\nA fit of DataGrand is {LINES:,} lines, 4 epochs of bilstm_crf without word vectors, scored on "
        f"{HELD_OUT:,} others; ± is the standard deviation over seeds {', '.join(map(str, SEEDS))}. Other "
        f"heads are fitted on models/pretrained for two epochs; times are of scoring their held-out rows."
    )
    return f"## Scores\n`python -m benchmarks.speed --scores datasets=FOLDER`\n\n{HEAD}\n" + "\n".join(rows) + note


def training_ways(data: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """DataGrand's own tagger, with its batches and dropout masks drawn each way."""
    from competitions.launch import configured

    scores: dict[str, list[float]] = {}
    for name, settings in WAYS.items():
        words = [f"members.bilstm_crf.training.{key}={value}" for key, value in settings.items()]
        contest = configured("datagrand_extraction", [], [
            f"data_dir={data / 'datagrand2019'}", "members.bilstm_crf.word_vectors.epochs=0",
            "members.bilstm_crf.training.epochs=4", *words,
        ])  # fmt: skip
        rows = contest.read_train().sample(frac=1, random_state=1).reset_index(drop=True)
        train, held_out = rows[:LINES], rows[LINES : LINES + HELD_OUT].reset_index(drop=True)
        for seed in SEEDS:
            kept = patch("common.training.trainer.use_fast_dropout", lambda model: 0)
            with kept if "torch" in name else nullcontext(), tempfile.TemporaryDirectory() as folder:
                member = contest.build_member("bilstm_crf", seed)
                member.fit(train, held_out, (), Path(folder))
                scores.setdefault(name, []).append(judged(contest, member, held_out))
                if name.startswith("length groups"):
                    member.training.predict_precision = "bf16"
                    scores.setdefault("the same models, predict_precision=bf16", []).append(
                        judged(contest, member, held_out)
                    )
            say(f"{name}, seed {seed}: {scores[name][-1]:.4f}")
    first = next(iter(scores))
    for name, own in scores.items():
        base = scores["length groups, fast dropout"] if "same models" in name else scores[first]
        gap = mean(own) - mean(base)
        noise = max(stdev(own), stdev(scores[first]))
        yield Row(f"DataGrand F1: {name}", "length groups" if "same models" in name else first,
                  f"{mean(own):.4f} ± {stdev(own):.4f}", f"{mean(base):.4f} ± {stdev(base):.4f}", f"{gap:+.4f}",
                  "within noise", gap >= -2 * noise / len(SEEDS) ** 0.5)  # fmt: skip


def judged(contest: Any, member: Any, rows: pd.DataFrame) -> float:
    """The contest's metric of a member's scores."""
    from common.ensembling.scores import Scores

    return contest.judge(rows, Scores.of(rows["id"].tolist(), member.scores(rows)))["score"]


def served_heads(data: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """Heads in int8, in bf16 and as ONNX graphs: their scores and their times next to the head's own."""
    from models.export import quantized

    for name, contest, member, held_out in fitted(data):
        head = member.model
        batches = [batch for _, batch in member.prepared(held_out)]
        before, slow = judged(contest, member, held_out), seconds(member, batches)
        makers = {"int8": lambda head=head: quantized(head), "ONNX": lambda head=head, b=batches[0]: onnx_of(head, b),
                  "bf16": lambda head=head: head}  # fmt: skip
        for kind, make in makers.items():
            member.training.predict_precision = "bf16" if kind == "bf16" else None
            try:
                member.model = make()
                after, fast = judged(contest, member, held_out), seconds(member, batches)
            except Exception as error:  # an exporter and a runtime with errors of their own: the row says which
                said = str(error).replace("|", "/").splitlines()[0][:160]
                yield Row(f"{name}, {kind}", "fp32", "", f"{before:.4f}", "", f"≥ -{CLOSE}", False, said)
                continue
            finally:
                member.training.predict_precision = None
            yield Row(f"{name}, {kind}: score", "fp32", f"{after:.4f}", f"{before:.4f}", f"{after - before:+.4f}",
                      f"≥ -{CLOSE}", round(before - after, 6) <= CLOSE, f"{slow / fast:.2f} times as fast")  # fmt: skip
        member.model = head


def fitted(data: Path) -> Iterator[tuple[str, Any, Any, pd.DataFrame]]:
    """A head of each kind with its contest and rows that it has not seen."""
    from competitions.launch import configured

    for name, contest_name, folder, unit, words, count in HEADS:
        words = [f"members.{unit}.{word}" for word in words]
        contest = configured(contest_name, [], [f"data_dir={data / folder}", f"use=[{unit}]",
                             f"members.{unit}.encoder=models/pretrained", f"members.{unit}.training.epochs=2",
                             *words])  # fmt: skip
        rows = contest.read_train().sample(frac=1, random_state=1).reset_index(drop=True)
        train, held_out = rows[:count], rows[count : count + 1000].reset_index(drop=True)
        member = contest.build_member(unit, 1)
        with tempfile.TemporaryDirectory() as place:
            member.fit(train, held_out, (), Path(place))
        yield name, contest, member, held_out


def seconds(member: Any, batches: list[dict[str, Any]]) -> float:
    """Processor seconds of scoring batches that are ready."""
    import torch

    from common.training.fast_linear import fast_linears

    half = member.training.predict_precision == "bf16"
    begun = time.process_time()
    with torch.inference_mode(), fast_linears(member.model), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for batch in batches:
            member.forward(member.model, batch)
    return time.process_time() - begun


def onnx_of(head: Any, batch: dict[str, Any]) -> Any:
    """The head with its logits computed by ONNX Runtime. Raises ImportError without it."""
    import onnxruntime
    import torch

    from models.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(head, folder, batch)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options)
    served = copy.deepcopy(head)
    served.forward = lambda **tensors: SimpleNamespace(
        logits=torch.from_numpy(session.run(None, {name: value.numpy() for name, value in tensors.items()})[0])
    )
    return served
