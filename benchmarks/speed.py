"""How fast this kit is next to what a user would take instead; inputs are made up, so that it runs anywhere.

python -m benchmarks.speed [--quick]

  --quick   smaller inputs; fewer rows

Each side of a row runs in one thread, in alternation, and what counts is processor time (on a GPU, wall time), so that
other work on the machine tells on both alike. Ratios are medians. Where bert4torch is on PYTHONPATH its CRF is one of
the peers. Lengths of texts are those of the contests (benchmarks/speed_lengths.py). Writes benchmarks/SPEED.md.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# As `python -m competitions` has them, for both sides.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

from benchmarks.speed_measure import HEAD, Row

RESULTS = Path(__file__).parent / "SPEED.md"


def measure(quick: bool) -> Iterator[Row]:
    """All rows, one after another."""
    from benchmarks.speed_crf import crf_rows, share_rows
    from benchmarks.speed_members import mixes
    from benchmarks.speed_prediction import ensemble_row, latency_rows, prediction_rows
    from benchmarks.speed_process import memory_rows, start_rows
    from benchmarks.speed_text import text_rows
    from benchmarks.speed_training import training_rows

    yield from start_rows(quick)
    yield from crf_rows(quick)
    yield from share_rows(quick)
    yield from text_rows(quick)
    found = mixes(quick)
    for mix in found[: 2 if quick else 3]:
        yield from training_rows(quick, mix)
        yield from prediction_rows(quick, mix)
    yield ensemble_row(quick, found[1])
    yield from latency_rows(quick)
    if not quick:
        yield from memory_rows(quick)


def table_of(rows: list[Row], quick: bool) -> str:
    """The section of SPEED.md."""
    from benchmarks.results import circumstances

    asked = "python -m benchmarks.speed" + (" --quick" if quick else "")
    missed = [row.what for row in rows if row.met is False]
    note = f"{sum(row.met is True for row in rows)} targets met, {len(missed)} missed" + "".join(
        f"\n- missed: {what}" for what in missed
    )
    note += (
        "\n\nWhat stands in the way: in bf16 both sides multiply with the same kernels, so that prediction gains what "
        "padding costs the other side and no more, 1 / (1 - its share); in fp32 on AMD the kit's linear layers are "
        "oneDNN's. Wall times also tell of other work on the machine."
    )
    about = f"`{asked}`, one thread unless a row says otherwise; processor time. {circumstances()}"
    return f"## Speed\n{about}\n\n{HEAD}\n" + "\n".join(row.line() for row in rows) + f"\n\n{note}"


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    if unknown := [word for word in words if word != "--quick"]:
        print(f"error: unknown argument {unknown[0]}: expected --quick or nothing", file=sys.stderr)
        return 2
    name, text = _section("--quick" in words, lambda line: print(line, flush=True))
    from benchmarks.results import replace_section

    replace_section(RESULTS, name, text)
    return 0


def _section(quick: bool, say: Callable[[str], None]) -> tuple[str, str]:
    """The name and the text of a section of SPEED.md."""
    import warnings

    import torch
    from transformers.utils import logging

    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows = []
    for row in measure(quick):
        rows.append(row)
        say(row.line())
    return ("quick" if quick else "full"), table_of(rows, quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
