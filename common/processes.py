"""Which of several processes this one is, how many cores it may use, and a pool of others."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

CHILD = "KIT_CHILD"  # set in the environment of a process that the train stage starts for one unit


def rank() -> int:
    """This process's number under torchrun, 0 without it."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_child() -> bool:
    """Whether the train stage of another process started this one for a single unit."""
    return CHILD in os.environ


def cores() -> int:
    """How many CPU cores this process may use; where the system does not say, as on macOS, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_for_everyone() -> None:
    """Returns when every process that torchrun started has come here; at once without it."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def pool_of(processes: int, begin: Callable[..., None], *arguments: Any) -> "ProcessPoolExecutor":
    """New processes that end when this one does, however that ends: those of a plain pool outlive a killed parent.

    begin: called with `arguments` in each of them first.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forked processes would share the threads that torch and tokenizers have already started.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, _begin, (begin, *arguments))


def _begin(begin: Callable[..., None], *arguments: Any) -> None:
    from multiprocessing import parent_process
    from threading import Thread

    def follow() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
    begin(*arguments)
