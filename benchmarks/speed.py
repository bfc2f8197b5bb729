"""How fast this kit is next to what a user would take instead; inputs are made up, so that it runs anywhere.

python -m benchmarks.speed [--quick | only=GROUP,... | --profile | --packing | --scores datasets=FOLDER]

  --quick    smaller inputs and fewer rows: under two minutes
  only=      measures some groups again and puts their rows in the place of those that the table has: start, crf,
             share, text, training, prediction, pretraining, ensemble, latency, memory
  --profile  where the time of a training step and of a prediction goes, before and after
  --packing  whether several texts in one row would pay
  --scores   whether what is fast changes scores, on real data; datasets=: the folder that benchmarks.encoder reads.
             With onnx, onnxscript and onnxruntime (not in requirements.txt), graphs too

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
GROUPS = ("start", "crf", "share", "text", "training", "prediction", "pretraining", "ensemble", "latency", "memory")
FLAGS = ("--quick", "--profile", "--packing", "--scores")


def measure(quick: bool, only: list[str]) -> Iterator[Row]:
    """The rows of all groups, or of some, one after another."""
    from benchmarks.speed_crf import crf_rows, share_rows
    from benchmarks.speed_members import mixes
    from benchmarks.speed_prediction import ensemble_row, latency_rows, prediction_rows
    from benchmarks.speed_pretraining import pretraining_rows
    from benchmarks.speed_process import memory_rows, start_rows
    from benchmarks.speed_text import text_rows
    from benchmarks.speed_training import training_rows

    wanted = set(only or GROUPS) - ({"memory"} if quick else set())
    simple = {"start": start_rows, "crf": crf_rows, "share": share_rows, "text": text_rows}
    for name, rows in simple.items():
        if name in wanted:
            yield from rows(quick)
    found = mixes(quick) if wanted & {"training", "prediction", "ensemble"} else []
    for mix in found[: 2 if quick else 3]:
        yield from training_rows(quick, mix) if "training" in wanted else ()
        yield from prediction_rows(quick, mix) if "prediction" in wanted else ()
    yield from pretraining_rows(quick) if "pretraining" in wanted else ()
    if "ensemble" in wanted:
        yield ensemble_row(quick, found[1])
    yield from latency_rows(quick) if "latency" in wanted else ()
    yield from memory_rows(quick) if "memory" in wanted else ()


def in_place(rows: list[Row], text: str) -> list[Row]:
    """The rows of a table in Markdown, those that were measured again in the place of their old selves."""
    again = {(row.what, row.peer): row for row in rows}
    old = [Row.read(line) for line in text.splitlines() if line.startswith("| ") and not HEAD.startswith(line)]
    kept = [again.pop((row.what, row.peer), row) for row in old]
    return [*kept, *again.values()]


def table_of(rows: list[Row], quick: bool, only: list[str] = ()) -> str:
    """The section of SPEED.md. only: the groups that were measured again after the others."""
    from benchmarks.results import circumstances

    asked = "python -m benchmarks.speed" + (" --quick" if quick else "")
    missed = [row.what for row in rows if row.met is False]
    note = f"{sum(row.met is True for row in rows)} targets met, {len(missed)} missed" + "".join(
        f"\n- missed: {what}" for what in missed
    )
    note += (
        "\n\nWhat stands in the way is in the rows. Where both sides multiply with the same kernels, prediction gains "
        "what padding costs the other side and no more. Wall times also tell of other work on the machine."
    )
    if only:
        note += (
            f"\n\nMeasured again after the others, by themselves: `python -m benchmarks.speed only={','.join(only)}`."
        )
    about = f"`{asked}`, one thread unless a row says otherwise; processor time. {circumstances()}"
    return f"## Speed\n{about}\n\n{HEAD}\n" + "\n".join(row.line() for row in rows) + f"\n\n{note}"


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    values = dict(word.split("=", 1) for word in words if "=" in word)
    flags = [word for word in words if "=" not in word]
    only = [name for name in values.pop("only", "").split(",") if name]
    data = values.pop("datasets", "")
    if values or len(flags) > 1 or not set(flags) <= set(FLAGS) or not set(only) <= set(GROUPS) or (flags and only):
        expected = f"expected nothing, one of {', '.join(FLAGS)}, or only= with some of {', '.join(GROUPS)}"
        print(f"error: arguments {' '.join(words)}: {expected}", file=sys.stderr)
        return 2
    if ("--scores" in flags) != bool(data):
        print("error: --scores and datasets=FOLDER belong together", file=sys.stderr)
        return 2
    name, text = _section(flags[0] if flags else "", only, data, lambda line: print(line, flush=True))
    from benchmarks.results import replace_section

    replace_section(RESULTS, name, text)
    return 0


def _section(flag: str, only: list[str], data: str, say: Callable[[str], None]) -> tuple[str, str]:
    """The name and the text of a section of SPEED.md."""
    import warnings

    import torch
    from transformers.utils import logging

    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    if flag == "--profile":
        from benchmarks import speed_profile

        return "profile", speed_profile.section()
    if flag == "--packing":
        from benchmarks import speed_packing

        return "packing", speed_packing.section()
    if flag == "--scores":
        from benchmarks import speed_scores

        return "scores", speed_scores.section(Path(data), say)
    rows = []
    for row in measure(flag == "--quick", only):
        rows.append(row)
        say(row.line())
    if only:
        text = (
            RESULTS.read_text(encoding="utf-8").partition("<!-- full: begin -->")[2].partition("<!-- full: end -->")[0]
        )
        rows = in_place(rows, text)
    return ("quick" if flag else "full"), table_of(rows, bool(flag), only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
