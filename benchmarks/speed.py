"""How fast this kit is next to what a user would take instead; inputs are made up, so that it runs anywhere.

python -m benchmarks.speed [--quick]

  --quick   smaller inputs, under two minutes on one free core; the same table

Both sides of a row run in alternation in one thread, and what counts is processor time (on a GPU, wall time), so that
other work on the machine tells on both alike. Ratios are medians over pairs. Writes benchmarks/SPEED.md.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "SPEED.md"
TAGS = 13
BERT = {"model_type": "bert", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 1024}  # fmt: skip


@dataclass
class Row:
    """One line of the table: milliseconds of both sides, the median and the range of their ratio."""

    what: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    target: str


def compare(what: str, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any], turns: int, target: str) -> Row:
    """Times two functions in alternation, after a turn of each that warms up."""
    import torch

    gpu = torch.cuda.is_available()

    def timed(function: Callable[[], Any]) -> float:
        clock = time.perf_counter if gpu else time.process_time
        begun = clock()
        function()
        if gpu:
            torch.cuda.synchronize()
        return 1000 * (clock() - begun)

    timed(ours), timed(theirs)
    pairs = []
    for turn in range(turns):
        one, two = (ours, theirs) if turn % 2 else (theirs, ours)
        first, second = timed(one), timed(two)
        pairs.append((first, second) if one is ours else (second, first))
    ratios = [other / own for own, other in pairs]
    return Row(what, peer, median(own for own, _ in pairs), median(other for _, other in pairs), median(ratios),
               min(ratios), max(ratios), target)  # fmt: skip


def crf_rows(turns: int) -> list[Row]:
    """The CRF against torchcrf, on what a tagger hands over."""
    import torch
    import torchcrf

    from models.crf import CRF

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for length in (128, 512):
        emissions, tags = torch.randn(32, length, TAGS), torch.randint(TAGS, (32, length))
        mask = torch.arange(length) < torch.linspace(length // 2, length, 32).long()[:, None]
        emissions, tags, mask = (tensor.to(device) for tensor in (emissions, tags, mask))
        crfs = [kind(TAGS, batch_first=True).to(device) for kind in (CRF, torchcrf.CRF)]

        def train(crf: Any, emissions=emissions, tags=tags, mask=mask) -> None:
            crf(emissions.detach().requires_grad_(), tags, mask).backward()

        def decode(crf: Any, emissions=emissions, mask=mask) -> None:
            crf.decode(emissions, mask)

        for name, run in (("loss and gradients", train), ("decode", decode)):
            pair = [lambda crf=crf, run=run: run(crf) for crf in crfs]
            rows.append(compare(f"CRF {name} (32, {length}, {TAGS})", "torchcrf", *pair, turns, "5"))
    return rows


def crf_share(size: int, turns: int) -> Row:
    """A tagger's whole step next to its CRF's part of it."""
    import torch

    from models.crf import CRF
    from models.encoders import encoder_from_config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = encoder_from_config({**BERT, "vocab_size": 8000}).to(device).train()
    crf = CRF(TAGS, batch_first=True).to(device)
    ids = torch.randint(8000, (size, 128), device=device)
    emissions = torch.randn(size, 128, TAGS, device=device)
    tags = torch.randint(TAGS, (size, 128), device=device)
    return compare(
        f"CRF's loss and gradients ({size}, 128, {TAGS})", "a step of a 4-layer, 256-wide encoder",
        lambda: crf(emissions.detach().requires_grad_(), tags).backward(),
        lambda: encoder(ids).last_hidden_state.square().mean().backward(), turns, "10",
    )  # fmt: skip


def made_up_texts(count: int, typical: int, spread: float) -> list[str]:
    """Texts of common characters whose lengths are log-normal, as those of both contests are."""
    own = random.Random(count)
    characters = [chr(0x4E00 + place) for place in range(2500)]
    return [
        "".join(own.choices(characters, k=min(400, max(3, round(typical * own.lognormvariate(0, spread))))))
        for _ in range(count)
    ]


def text_row(count: int, turns: int) -> Row:
    """Whole words' pieces: the kit's tokenizer on all lines at once, and jieba with BertTokenizer line by line."""
    import jieba
    from transformers import BertTokenizer

    from common.text.segmentation import Segmenter
    from common.text.tokenization import WholeWordTokenizer
    from common.text.vocabulary import character_tokenizer

    lines = made_up_texts(count, 30, 0.6)
    tokenizer = character_tokenizer(lines, 1)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
        vocabulary.write_text("\n".join(words) + "\n", encoding="utf-8")
        peer = BertTokenizer(str(vocabulary))
    jieba.setLogLevel(60)
    encode, segment = WholeWordTokenizer(tokenizer), Segmenter()
    return compare(
        f"words and tokens of {count:,} lines", "jieba and BertTokenizer, a line at a time",
        lambda: encode.encode_words_many(list(segment.cut_many(lines))),
        lambda: [peer(jieba.lcut(line), is_split_into_words=True) for line in lines], turns, "8",
    )  # fmt: skip


def matcher(length: int, texts: list[str], seed: int = 1) -> tuple[Any, Any]:
    """A cross-encoder member with new weights, and rows of pairs of neighbouring texts."""
    import pandas as pd
    import torch

    from common.text.vocabulary import character_tokenizer
    from competitions.tasks.matching_members import CrossEncoderSettings, MatcherMember

    settings = CrossEncoderSettings(architecture=BERT, max_length=length, task_handling="none")
    member = MatcherMember(settings, 1, seed, lambda *_: {})
    member.text.tokenizer = character_tokenizer(texts, 1)
    torch.manual_seed(seed)
    member.model = member.build_model().to("cuda" if torch.cuda.is_available() else "cpu").eval()
    rows = pd.DataFrame({"id": [str(number) for number in range(len(texts) // 2)], "source": texts[::2],
                         "target": texts[1::2], "task": 0, "label": 0})  # fmt: skip
    return member, rows


def training_row(what: str, typical: int, spread: float, steps: int, turns: int) -> tuple[Row, str]:
    """Tokens of text trained in a second: batches of so many tokens against 32 rows in random order."""
    import numpy as np
    import torch

    from common.training.batching import TokenBatchSampler
    from common.training.prepared_text import rows_of

    member, rows = matcher(512, made_up_texts(1600, typical, spread))
    table, _ = member.features(rows, labelled=True)
    lengths, collate = np.asarray(table["length"]), member.collator()
    model, features = member.model.train(), table.remove_columns("length")
    optimizer = torch.optim.AdamW(model.parameters())
    shuffled = np.random.default_rng(0).permutation(len(rows)).reshape(-1, 32)
    budget = round(32 * lengths.mean())
    grouped = [np.array(batch) for batch in TokenBatchSampler(lengths, budget, seed=0)]

    def train(batches: list) -> Callable[[], None]:
        def run() -> None:
            for places in batches:
                batch = collate(rows_of(features, places))
                model(**{name: value.to(model.device) for name, value in batch.items()}).loss.backward()
                optimizer.step()
                optimizer.zero_grad()

        return run

    # As many tokens of text on each side, of the same mix of lengths.
    wanted, mine = sum(lengths[batch].sum() for batch in shuffled[:steps]), []
    while sum(lengths[batch].sum() for batch in mine) < wanted:
        mine.append(grouped[len(mine)])
    scale = wanted / sum(lengths[batch].sum() for batch in mine)
    padding = [1 - sum(lengths[b].sum() for b in some) / sum(len(b) * lengths[b].max() for b in some)
               for some in (grouped, list(shuffled))]  # fmt: skip
    row = compare(f"training on {what}", "32 rows in random order, padded to the longest",
                  train(mine), train(list(shuffled[:steps])), turns, "2.5")  # fmt: skip
    row.ours, row.ratio, row.low, row.high = (
        row.ours * scale,
        *(each / scale for each in (row.ratio, row.low, row.high)),
    )
    return row, f"{what}: padding is {padding[0]:.1%} of computed tokens, in random order {padding[1]:.1%}"


def prediction_row(rows: int, turns: int) -> Row:
    """Five models' scores, reading the text once, against the five models' own time."""
    import torch

    from common.training.prepared_text import SharedText

    members, table = [], None
    for seed in range(5):
        member, table = matcher(512, made_up_texts(2 * rows, 20, 0.6), seed)
        members.append(member)
    text = members[0]._prepare(table)
    batches = [{name: value.to(members[0].model.device) for name, value in batch.items()} for _, batch in text]

    def ensemble() -> None:
        shared = SharedText()
        for member in members:
            member.share_text(shared)
            member.scores(table)

    @torch.inference_mode()
    def models_alone() -> None:
        for member in members:
            for batch in batches:
                member.forward(member.model, batch)

    return compare(f"five folds' scores of {rows} pairs", "the five models' forward passes alone", ensemble,
                   models_alone, turns, "0.77")  # fmt: skip


def latency_rows(turns: int) -> list[Row]:
    """One pair, and the same in int8."""
    import torch

    from models.export import quantized

    member, rows = matcher(512, made_up_texts(2, 40, 0.0))
    if torch.cuda.is_available():
        return []
    batch = next(iter(member._prepare(rows)))[1]
    small = quantized(member.model)
    return [compare("one pair of 80 characters, int8", "the same head in fp32",
                    lambda: small.probabilities(**batch), lambda: member.model.probabilities(**batch),
                    4 * turns, "1")]  # fmt: skip


def measure(quick: bool, say: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """Runs everything. Returns the rows and remarks."""
    import torch

    torch.set_num_threads(1)
    rows, remarks, turns = [], [], 5 if quick else 9

    def add(*some: Row) -> None:
        rows.extend(some)
        for row in some:
            say(f"{row.what}  {row.ours:.1f} ms, {row.peer} {row.theirs:.1f} ms: {row.ratio:.2f}")

    add(*crf_rows(turns))
    share = crf_share(8 if quick else 32, turns)
    add(share)
    add(text_row(500 if quick else 20_000, turns))
    for what, typical, spread in (("pairs of short texts", 12, 0.6), ("lines with a long tail", 14, 1.0)):
        row, remark = training_row(what, typical, spread, 1 if quick else 10, turns)
        add(row)
        remarks.append(remark)
    add(prediction_row(16 if quick else 1000, turns))
    add(*latency_rows(turns))
    remarks.append(f"a CRF's part is {100 / share.ratio:.1f}% of the encoder's step")
    return rows, remarks


def table_of(rows: list[Row], remarks: list[str], quick: bool) -> str:
    """The section of SPEED.md."""
    from benchmarks.results import circumstances

    lines = ["| what | next to | ms | its ms | ratio (range) | wanted |", "|---|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row.what} | {row.peer} | {row.ours:.1f} | {row.theirs:.1f} | {row.ratio:.2f} ({row.low:.2f} to "
        f"{row.high:.2f}) | {row.target} |"
        for row in rows
    ]
    command = "python -m benchmarks.speed" + (" --quick" if quick else "")
    head = f"`{command}`, one thread, processor time on a CPU; a ratio is the other side's time over ours.\n"
    notes = "\n".join(f"- {remark}" for remark in remarks)
    return f"## Speed\n{head}\n" + "\n".join(lines) + f"\n\n{notes}\n\n{circumstances()}"


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    if unknown := [word for word in words if word != "--quick"]:
        print(f"error: unknown argument {unknown[0]}: expected --quick or nothing", file=sys.stderr)
        return 2
    import warnings

    from benchmarks.results import replace_section

    warnings.filterwarnings("ignore")
    quick = "--quick" in words
    text = table_of(*measure(quick, print), quick)
    print(f"\n{text}")
    replace_section(RESULTS, "quick" if quick else "full", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
