"""Which of several processes this one is."""

import os

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


def wait_for_everyone() -> None:
    """Returns when every process that torchrun started has come here; at once without it."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
