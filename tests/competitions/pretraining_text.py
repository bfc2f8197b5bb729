"""Tiny Chinese text in which the next character can be learnt, and settings that pretrain on it in a second."""

import random
from pathlib import Path

from common.files import write_lines

WORDS = ("今天", "天气", "很好", "北京", "大学", "我们", "喜欢", "学习", "中国", "历史", "的", "和", "在", "去")
TINY = (
    "architecture.hidden_size=16", "architecture.num_hidden_layers=2", "architecture.num_attention_heads=2",
    "architecture.intermediate_size=24", "training.max_length=16", "training.batch_tokens=64", "training.steps=6",
    "training.precision=fp32", "training.held_out=0.1", "training.save_minutes=0", "min_frequency=1",
)  # fmt: skip


def write_text(path: Path, lines: int = 120, seed: int = 0) -> Path:
    """Lines of 3 to 9 words, an empty one after every fourth."""
    draw, out = random.Random(seed), []
    for number in range(lines):
        out.append("".join(draw.choices(WORDS, k=draw.randint(3, 9))) + "。")
        out += [""] if number % 4 == 3 else []
    write_lines(path, out)
    return path


def write_anonymised(path: Path, lines: int = 120, seed: int = 0) -> Path:
    """Lines of 6 to 20 numbers, low ones more often."""
    draw = random.Random(seed)
    write_lines(path, ("_".join(str(int(draw.paretovariate(0.8))) for _ in range(draw.randint(6, 20)))
                       for _ in range(lines)))  # fmt: skip
    return path
