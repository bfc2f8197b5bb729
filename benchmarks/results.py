"""benchmarks/RESULTS.md: one section a benchmark, each replaced as a whole by the run that measured it."""

import os
import platform
from datetime import date
from importlib import metadata
from pathlib import Path

from common.files import DataError, write_text

HEADING = "# What was measured\n\nEvery section is written by the command that it names.\n"
PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn")


def replace_section(path: Path, name: str, text: str) -> None:
    """Puts `text` between the markers of section `name`; the rest of the file stays as it is.

    path: the results; made, or given a new section at its end, where there is none. Written atomically.
    Raises DataError when one of the two markers is missing.
    """
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before = path.read_text(encoding="utf-8") if path.exists() else HEADING
    section = f"{begin}\n{text.strip()}\n{end}"
    if (begin in before) != (end in before) or before.find(begin) > before.find(end):
        raise DataError(f"has only one of the markers of {name}, or both in the wrong order", path,
                        expected=f"{begin} and then {end}", action="mend or delete them")  # fmt: skip
    if begin not in before:
        write_text(path, f"{before.rstrip()}\n\n{section}\n")
        return
    head, _, rest = before.partition(begin)
    write_text(path, head + section + rest.partition(end)[2])


def circumstances() -> str:
    """Date, versions and machine, in one line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"{date.today()}; Python {platform.python_version()}, {versions}; {os.cpu_count()} cores of {_processor()}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
