"""What the benchmarks' command lines share: lists without brackets, and how they end."""

import os
import sys
from collections.abc import Callable, Sequence


def command(words: Sequence[str], about: str, work: Callable[[], int | None]) -> int:
    """Runs `work` with one thread a process, unless --help is among the words.

    about: what --help prints. Returns the exit status: what `work` returns, None for 0; 2 when a person has something
    to mend, 130 after an interruption.
    """
    if {"-h", "--help"} & set(words):
        print(about)
        return 0
    # Before numpy and torch are loaded, which read it once: processes that share cores must not each take all of them.
    os.environ["OMP_NUM_THREADS"] = "1"
    from common.config import ConfigError
    from common.files import DataError

    try:
        return work() or 0
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130


def listed(words: Sequence[str], lists: Sequence[str]) -> list[str]:
    """The words, with brackets around the values of the keys in `lists` that lack them: seeds=1,2 is seeds=[1,2]."""
    found = []
    for word in words:
        key, _, value = word.partition("=")
        found.append(f"{key}=[{value}]" if key in lists and not value.startswith("[") else word)
    return found
