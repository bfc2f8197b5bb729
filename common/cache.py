"""What was computed once, kept on disk by its content, so that the next run that needs the same finds it made.

An entry is a folder named by a fingerprint of everything that decides what is in it. It appears whole or not at all,
one process makes it while others that need it wait, and whoever finds one broken makes it anew. The cache can be
deleted at any time; what has not been used for longest goes by itself when it grows beyond its limit. Nothing fails for
want of it: where it cannot be written, everything is computed as it would be without.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from common.logs import log

Value = TypeVar("Value")
HERE = Path(__file__).parent
LIBRARIES = ("tokenizers", "transformers", "jieba", "rjieba", "gensim", "datasets", "numpy")
RECORD = "entry.json"  # the sizes of an entry's files


class DiskCache:
    """Entries in a folder. gigabytes: of all of them together, beyond which the oldest go; 0: nothing is kept."""

    def __init__(self, folder: Path | str, gigabytes: float = 10.0) -> None:
        self.folder, self.limit, self.hits, self.misses = Path(folder), int(gigabytes * 1e9), 0, 0

    def get(self, kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], Value]) -> Value | None:
        """What `read` makes of an entry, which `make` makes first where it is not there.

        kind: a word that the entry's name begins with. key: a fingerprint, see `fingerprint`. make: writes files into a
        new folder. read: reads them; what it returns may stay mapped to them, they stay while it does.
        Returns None where the cache is off or cannot be used: then the caller does without. What `make` and `read`
        raise other than OSError is passed on.
        """
        if not self.limit:
            return None
        entry = self.folder / f"{kind}-{key}"
        try:
            with self._claimed(entry):
                if _whole(entry):
                    self.hits += 1
                    os.utime(entry)
                else:
                    self.misses += 1
                    self._make(entry, make)
                value = read(entry)
            self._shrink(entry)
        except OSError as error:
            log.info(f"  the cache in {self.folder} is not used: {error.strerror or error}")
            return None
        return value

    def _make(self, entry: Path, make: Callable[[Path], None]) -> None:
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder))
        try:
            make(draft)
            sizes = {str(file.relative_to(draft)): file.stat().st_size for file in _files(draft)}
            (draft / RECORD).write_text(json.dumps(sizes), encoding="utf-8")
            shutil.rmtree(entry, ignore_errors=True)  # a broken one
            os.replace(draft, entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _claimed(self, entry: Path, wait: bool = True) -> Iterator[None]:
        """Holds an entry's lock, which ends with the process, however that ends. Raises OSError where others hold it
        and `wait` is off."""
        import fcntl

        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / entry.name).open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def _shrink(self, newest: Path) -> None:
        """Removes what was not used for longest until the rest fits; an entry in use by a process stays readable."""
        entries = [path for path in self.folder.glob("[!.]*") if (path / RECORD).exists()]
        sizes = {path: sum(file.stat().st_size for file in _files(path)) for path in entries}
        for path in sorted(entries, key=lambda path: path.stat().st_mtime):
            if sum(sizes.values()) <= self.limit or path == newest:
                continue
            try:
                with self._claimed(path, wait=False):
                    shutil.rmtree(path)
                    del sizes[path]
            except OSError:
                continue  # another process makes, reads or removes it


_current: DiskCache | None = None


def use(cache: DiskCache | None) -> None:
    """Sets the cache of this process; None, as at its start, is none."""
    global _current
    _current = cache


def current() -> DiskCache | None:
    """The cache of this process."""
    return _current


def kept(
    kind: str, key: Callable[[], str], make: Callable[[Path], None], read: Callable[[Path], Value]
) -> Value | None:
    """`DiskCache.get` of this process's cache; None without one, and then not even the key is computed."""
    return None if _current is None or not _current.limit else _current.get(kind, key(), make, read)


def fingerprint(*parts: Any) -> str:
    """A fingerprint of values whose repr says all of them: texts, numbers, tuples, lists, dicts, dataclasses."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()[:32]


def content_of(rows: pd.DataFrame, leave_out: Iterable[str] = ("id",)) -> str:
    """A fingerprint of a table's values, their order included. leave_out: columns that do not count."""
    return of_values(chain([name], _each(rows[name])) for name in rows if name not in set(leave_out))


def _each(column: pd.Series) -> Iterable[Any]:
    """A column's values as Python has them, without a list of all."""
    for begin in range(0, len(column), 1000):
        yield from column.iloc[begin : begin + 1000].tolist()


def of_values(lists: Iterable[Iterable[Any]]) -> str:
    """A fingerprint of many values without holding more than a few of them as text at once."""
    digest = hashlib.sha256()
    for values in lists:
        chunk: list[Any] = []
        for value in values:
            chunk.append(value)
            if len(chunk) == 1000:
                digest.update(repr(chunk).encode("utf-8", "surrogatepass"))
                chunk = []
        digest.update(repr(chunk).encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()[:32]


def of_texts(texts: Any) -> Iterable[Any]:
    """What stands for further texts in a fingerprint: what they say of themselves (`content`), or they themselves."""
    content = getattr(texts, "content", None)
    return [content()] if content else texts


@cache
def code_version(*folders: str) -> str:
    """A fingerprint of the kit's own source in these folders, and of the libraries that turn text into numbers.

    folders: as seen from the kit's folder. Whoever changes a tokenizer's code never meets what its old version made.
    """
    files = sorted(file for folder in folders for file in (HERE.parent / folder).glob("**/*.py"))
    versions = []
    for name in LIBRARIES:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            versions.append((name, None))
    return fingerprint(versions, [(file.name, file.read_bytes()) for file in files])


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _whole(entry: Path) -> bool:
    """Whether every file of an entry has the size that it was written with."""
    try:
        sizes = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        return all((entry / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
