"""Small public data sets in their own formats, with something in them to learn."""

import json
from pathlib import Path

import numpy as np

NAMES = ["张伟", "李娜", "王芳"]
GOOD, BAD = "好棒喜欢", "差烂讨厌"
PLACES = "东西南北中上下左右前后里外远近高低大小多少"


def text(random: np.random.Generator, length: int = 6) -> str:
    return "".join(random.choice(list(PLACES), length))


def lines(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def tagged(random: np.random.Generator, scheme: str) -> str:
    before, name = text(random, 3), NAMES[random.integers(3)]
    last = "E" if scheme == "BMES" else "I"
    return "\n".join([*(f"{c} O" for c in before), f"{name[0]} B-PER", f"{name[1]} {last}-PER", "。 O"]) + "\n"


def write_all(root: Path, rows: int = 24) -> None:
    """Every data set in its own format, with something in it to learn."""
    random = np.random.default_rng(0)
    for part in ("train", "dev"):
        own = [f"{n % 2}\t{text(random)}{(BAD, GOOD)[n % 2][random.integers(4)]}" for n in range(rows)]
        lines(root / f"classification/chnsenticorp/{part}.tsv", ["label\ttext_a", *own])
        lines(root / f"ner/resume/{part}.char.bmes", [tagged(random, "BMES") for _ in range(rows)])
    lines(root / "ner/people_daily/example.dev", [tagged(random, "BIO") for _ in range(rows)])
    for name in ("lcqmc", "bq_corpus"):
        pairs = [(own := text(random), own[::-1] if n % 2 else text(random), n % 2) for n in range(rows)]
        lines(root / f"matching/{name}/dev.tsv", ["\t".join(map(str, pair)) for pair in pairs])
    labels = ("entailment", "neutral", "contradiction", "-")
    inference = [{"sentence1": text(random), "sentence2": text(random), "label": labels[n % 4]} for n in range(rows)]
    lines(root / "nli/ocnli/train.10k.json", [json.dumps(row) for row in inference])
    for part in ("train", "valid"):
        topic = [(own := text(random), own if n % 2 else text(random), str(n % 2)) for n in range(rows // 2)]
        own = [json.dumps(dict(zip(("source", "target", "labelA"), row, strict=True))) for row in topic]
        lines(root / f"sohu2021/短短匹配A类/{part}.txt", own)
