"""The text files of a pretraining: found by name or pattern, read, and written from a contest's texts."""

import filecmp
import shutil
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path

from common.files import DataError, atomic_path, read_lines


def corpus_files(patterns: list[str]) -> list[Path]:
    """The files that names and patterns stand for, each once, in order. Raises DataError when one stands for none."""
    if not patterns:
        raise DataError("no text to pretrain on", expected="corpus=FILE, [FILE,FILE] or 'FOLDER/*.txt.xz'")
    files: dict[Path, Path] = {}
    for pattern in patterns:
        found = [pattern] if Path(pattern).exists() else sorted(glob(pattern, recursive=True))
        if not found:
            raise DataError("no such file", pattern, expected="text files (.txt, .txt.xz)", action="check corpus=")
        for name in found:
            files.setdefault(Path(name).resolve(), Path(name))
    return list(files.values())


def lines_of(files: list[Path]) -> Iterator[str]:
    """Every line of some files."""
    return (text for file in files for _, text in read_lines(file))


def text_names(files: list[Path]) -> list[str]:
    """What the texts are called in the metrics: their file names, numbered where two are the same."""
    names = [file.name.split(".")[0] for file in files]
    return [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]


def write_corpus(path: Path, texts: Iterable[str]) -> None:
    """Writes texts as documents of one file, each different text once, an empty line between two.

    A file that is the same already keeps its time, by which its tokens are found again.
    """
    seen: set[int] = set()
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
        for text in texts:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines and (key := hash(tuple(lines))) not in seen:
                seen.add(key)
                stream.write("\n".join(lines) + "\n\n")
        stream.close()
        if path.exists() and filecmp.cmp(draft, path, shallow=False):
            shutil.copystat(path, draft)
