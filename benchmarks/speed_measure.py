"""How the speed benchmark times: two sides in turns, in processor time, and whole commands from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Row:
    """One line of the table.

    what, peer: what is measured, and next to what. ours, theirs: both sides' figures, as text. ratio: the other side's
    time over ours, or whatever `wanted` speaks of, with its range. met: whether it is reached; None: nothing is wanted.
    remark: what stands in the way, or the share of a known limit.
    """

    what: str
    peer: str
    ours: str
    theirs: str
    ratio: str
    wanted: str = ""
    met: bool | None = None
    remark: str = ""

    def line(self) -> str:
        """The row in Markdown."""
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        cells = (self.what, self.peer, self.ours, self.theirs, self.ratio, self.wanted, met, self.remark)
        return "| " + " | ".join(cells) + " |"

    @classmethod
    def read(cls, line: str) -> "Row":
        """A row that `line` has written."""
        *cells, met, remark = (cell.strip() for cell in line.strip().strip("|").split("|"))
        return cls(*cells, {"yes": True, "**no**": False}.get(met), remark)


HEAD = (
    "| what | next to | ours | theirs | ratio (range) | wanted | met | remark |\n|---|---|---:|---:|---:|---|---|---|"
)


def clock() -> float:
    """Seconds: of this process on a CPU, where others may be at work too; of the wall with a GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def timed(function: Callable[[], Any], clock: Callable[[], float] = clock) -> float:
    """Seconds that a call takes."""
    begun = clock()
    function()
    return clock() - begun


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], turns: int) -> list[tuple[float, float]]:
    """What both sides give, called in alternation, after a call of each that warms up."""
    ours(), theirs()
    pairs = []
    for turn in range(turns):
        if turn % 2:
            own = ours()
            pairs.append((own, theirs()))
        else:
            other = theirs()
            pairs.append((ours(), other))
    return pairs


def compare(
    what: str, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any], turns: int, wanted: float = 0.0,
    remark: str = "", scale: float = 1.0, clock: Callable[[], float] = clock,
) -> Row:  # fmt: skip
    """A row of two functions' times. wanted: the ratio to reach. scale: how much more work theirs stands for."""
    pairs = in_turns(lambda: timed(ours, clock), lambda: scale * timed(theirs, clock), turns)
    own, other = (median(side) for side in zip(*pairs, strict=True))
    ratios = [second / first for first, second in pairs]
    return ratio_row(what, peer, milliseconds(own), milliseconds(other), ratios, wanted, remark)


def ratio_row(
    what: str, peer: str, ours: str, theirs: str, ratios: list[float], wanted: float = 0.0, remark: str = ""
) -> Row:
    """A row of ratios that were measured. wanted: the least that their median should be, 0 for none."""
    middle = median(ratios)
    return Row(what, peer, ours, theirs, f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
               f"≥ {wanted:g}" if wanted else "", middle >= wanted if wanted else None, remark)  # fmt: skip


def milliseconds(seconds: float) -> str:
    """A time as people read it."""
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1000 * seconds:,.1f} ms"


def command(words: list[str], **environment: str) -> tuple[float, str]:
    """Runs python with these arguments from the kit's folder. Returns wall seconds and what it printed. Raises
    RuntimeError when it fails."""
    own = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
    begun = time.time()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=own, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.time() - begun, done.stdout


def peak_flops(dtype: Any, size: int = 2048, turns: int = 5) -> float:
    """Floating point operations a second of the fastest large matrix product here: no layer can do better."""
    import torch

    from common.training.fast_linear import wanted

    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    products = [lambda: first @ second]
    if dtype == torch.float32 and wanted():
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(first, second, None, "none", [], ""))
    times = [timed(product) for product in products for _ in range(turns + 1)]
    return 2 * size**3 / min(times)


def memory_now() -> float:
    """The most memory that this process had so far, in MB.

    Not what getrusage says: that begins with what the process had that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
