"""The most memory of a fit, in a process of its own: what other fits left behind would blur it."""

import ctypes
import gc
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.ablation_units import AblationUnit

STEPS = 6  # of a fit: the same batches in every row of a task


@dataclass(frozen=True, kw_only=True)
class MemoryUnit(AblationUnit):
    """What a row's first steps need beyond what was there before, in megabytes."""

    @property
    def name(self) -> str:
        return f"{self.row} {self.task} memory"

    def measure(self) -> dict[str, Any]:
        contest, member, train, _ = self.prepared()
        member.training = replace(member.training, max_steps=STEPS)
        context = get_context("fork")  # libraries and data are there already; one thread, so that a fork is safe
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_fit, args=(member, contest.augment(train), sender))
        child.start()
        sender.close()
        try:
            found = receiver.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: the fit of {STEPS} steps failed, see above") from None
        finally:
            child.join()
        return {"row": self.row, "task": self.task, "megabytes": round(found, 1)}


def memory_plan(units: Sequence[AblationUnit]) -> list[MemoryUnit]:
    """A unit for each row of each task, of its first seed and fold."""
    first: dict[tuple[str, str], AblationUnit] = {}
    for unit in units:
        first.setdefault((unit.row, unit.task), unit)
    found = []
    for unit in first.values():
        own = {field.name: getattr(unit, field.name) for field in fields(unit)}
        found.append(MemoryUnit(**own | {"settings": {**unit.settings, "steps": STEPS},
                                         "path": unit.path.with_name("memory.json")}))  # fmt: skip
    return found


def _fit(member: Any, train: Any, sender: Any) -> None:
    from benchmarks import fine_tuning

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as scratch:
        before = start_of_peak()
        fine_tuning.fit(member, train, Path(scratch))
        sender.send((peak_memory() - before) / 1e6)


def start_of_peak() -> float:
    """Gives unused memory back and begins to watch for the most that this process takes; what it has now, in bytes."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return _status("VmRSS")


def peak_memory() -> float:
    """The most memory since `start_of_peak`, in bytes; 0 where the system does not tell."""
    return _status("VmHWM")


def _status(key: str) -> float:
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) * 1024
    return 0.0
