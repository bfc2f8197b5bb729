"""Text files of any size as chunks of token ids, by one process or several, in order and with flat memory."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import read_lines
from common.processes import cores, pool_of
from common.text.tokenization import WholeWordTokenizer

CHARACTERS = 400_000  # of a chunk: enough for arrays to pay, little enough to be nothing in memory
LINES = 8_000
PAYS_FROM = 20_000_000  # bytes of text: one process takes 10 s, two take 5 s and another 4 s to start
XZ_RATIO = 3  # how much text comes out of a byte of xz, roughly


class Lines(NamedTuple):
    """Lines of a file that are not empty, and which of them begin a document."""

    texts: list[str]
    begins_document: list[bool]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Neighbouring lines of one file as tokens.

    ids: int64 (tokens,). word_begins: bool (tokens,). lengths: int64 (lines,), tokens of each line.
    begins_document: bool (lines,).
    """

    ids: np.ndarray
    word_begins: np.ndarray
    lengths: np.ndarray
    begins_document: np.ndarray


def read_chunks(path: Path | str, every_line: bool = False) -> Iterator[Lines]:
    """Lines of a text file, .txt or .xz, some at a time, without white space at either end.

    every_line: each line is a document; otherwise an empty line ends one.
    Raises DataError when the file is absent, broken or not UTF-8.
    """
    texts, begins, size, new = [], [], 0, True
    for _, line in read_lines(path):
        text = line.strip()
        if not text:
            new = True
            continue
        texts.append(text)
        begins.append(new or every_line)
        new = False
        size += len(text)
        if size >= CHARACTERS or len(texts) >= LINES:
            yield Lines(texts, begins)
            texts, begins, size = [], [], 0
    if texts:
        yield Lines(texts, begins)


class Encoder:
    """Turns lines into tokens, in this process or in others; use it as a context manager.

    tokenizer: gives tokens and whole words. files: what is to be read, for choosing the number of processes.
    processes: None for two where the files are large enough, else one.
    """

    def __init__(self, tokenizer: WholeWordTokenizer, files: list[Path], processes: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.processes = processes or _processes_that_pay(files)
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Encoder":
        # A text that spells a special token must not end a document. Other processes get a copy that splits already.
        self.before = getattr(self.tokenizer.tokenizer, "split_special_tokens", False)
        self.tokenizer.tokenizer.split_special_tokens = True
        if self.processes > 1:
            self.pool = pool_of(self.processes, _start, self.tokenizer)
        return self

    def __exit__(self, *_) -> None:
        self.tokenizer.tokenizer.split_special_tokens = self.before
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def encode(self, chunks: Iterator[Lines]) -> Iterator[Chunk]:
        """The tokens of each chunk, in order; only as many chunks are read ahead as keep the processes busy."""
        if self.pool is None:
            yield from (_encoded(self.tokenizer, lines) for lines in chunks)
            return
        ahead: deque[Future[Chunk]] = deque()
        for lines in chunks:
            ahead.append(self.pool.submit(_encoded_elsewhere, lines))
            if len(ahead) > 2 * self.processes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _encoded(tokenizer: WholeWordTokenizer, lines: Lines) -> Chunk:
    return Chunk(*tokenizer.encode_flat(lines.texts), np.array(lines.begins_document, dtype=bool))


_own_tokenizer: WholeWordTokenizer | None = None


def _start(tokenizer: WholeWordTokenizer) -> None:
    global _own_tokenizer
    # Rust would start a thread for every core in every process.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _own_tokenizer = tokenizer


def _encoded_elsewhere(lines: Lines) -> Chunk:
    return _encoded(_own_tokenizer, lines)


def _processes_that_pay(files: list[Path]) -> int:
    size = sum(file.stat().st_size * (XZ_RATIO if file.suffix == ".xz" else 1) for file in files)
    return min(2, cores()) if size >= PAYS_FROM else 1
