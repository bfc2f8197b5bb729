"""What happened, in order: to the console and to the run's log.txt."""

import logging
import sys
from pathlib import Path

from common.files import DataError

log = logging.getLogger("common")  # parent of every module's own logger here


def start_log(folder: Path | None = None) -> None:
    """Sends messages to the console, and to `folder`/log.txt with the time when a folder is given."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    console = _Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be written ({error.strerror or error})", folder, expected="a writable folder",
                            action="choose another output_dir") from None  # fmt: skip
        file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(file)


def spoken(seconds: float) -> str:
    """A duration for people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Console(logging.Handler):
    """Standard output, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()
