"""A corpus as token ids on disk, mapped into memory: tokenized and cut into words once, read at any place at no cost.

Each text file becomes a folder of its own, named after the file (its name, size, time and both ends) and the settings,
so that a build that was cut off goes on with the file it was at, and files are shared between corpora:

    tokens.bin     little-endian uint16 (uint32 above 32,768 ids), id * 2, + 1 where a whole word begins
    lines.bin      little-endian int64, the first token of each line
    documents.bin  little-endian int64, the first token of each document; each document ends with a separator token
    header.json    counts and settings
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.files import DataError, atomic_path, existing, read_json, remove_drafts, write_json
from common.text.corpus_reading import LINES, Chunk, Encoder, read_chunks
from common.text.ragged import starts_of
from common.text.tokenization import WholeWordTokenizer

VERSION = 1
WIDE = 1 << 15  # ids from here on need 32 bits, as one bit says where words begin
MAPPED = 256  # files mapped at once: each takes one of the files that a process may have open, 1,024 as a rule
ENDS = 1 << 16  # bytes at either end of a text file that its tokens' folder is named after


class TokenStore:
    """The tokens of one or more text files, in order, as one long row that is never held in memory.

    folders: what `build_token_store` made of each file.

    part_starts: list of int, where each file's tokens begin, and at last how many tokens there are.
    separator: the id of the token that ends every document.
    Raises DataError for a folder that is absent, incomplete, or made with another separator than the first.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.headers = [_header(folder) for folder in folders]
        for folder, head in zip(folders, self.headers, strict=True):
            for name in ("tokens", "lines", "documents"):
                _check_size(folder, name, head)
        self._folders, self._mapped = list(folders), lru_cache(MAPPED)(self._map)
        self.part_starts = [0, *np.cumsum([head["tokens"] for head in self.headers]).tolist()]
        self.separator = self.headers[0]["separator"]
        if any(head["separator"] != self.separator for head in self.headers):
            raise DataError("separators differ", folders[0], action="build all files with one tokenizer")

    def __len__(self) -> int:
        return self.part_starts[-1]

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens `start` to `stop`, end exclusive.

        Returns ids int64 (tokens,) and word begins bool (tokens,). Raises IndexError for places outside the store.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of a store of {len(self)}")
        part = max(bisect_right(self.part_starts, start) - 1, 0)
        pieces = []
        while start < stop:
            first, last = self.part_starts[part], min(stop, self.part_starts[part + 1])
            pieces.append(np.array(self._mapped(part, "tokens")[start - first : last - first]))  # lets go of the map
            start, part = last, part + 1
        values = (pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint16), *pieces])).astype(np.int64)
        return values >> 1, (values & 1).astype(bool)

    def line_starts(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The first token of each line that begins at `start` or later and before `stop`; int64 (lines,)."""
        return self._places("lines", start, stop)

    def document_starts(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The same of documents; int64 (documents,). A document ends with the separator."""
        return self._places("documents", start, stop)

    def document_around(self, place: int) -> tuple[int, int]:
        """First token of the document that a token belongs to, and of the next one."""
        part = max(bisect_right(self.part_starts, place) - 1, 0)
        starts, first = self._mapped(part, "documents"), self.part_starts[part]
        number = int(np.searchsorted(starts, place - first, side="right"))
        stop = int(starts[number]) + first if number < len(starts) else self.part_starts[part + 1]
        return int(starts[number - 1]) + first, stop

    def __reduce__(self) -> tuple:
        # A memory map would be sent to another process as all its content; its name is enough.
        return TokenStore, (self._folders,)

    def _places(self, name: str, start: int, stop: int | None) -> np.ndarray:
        stop = len(self) if stop is None else stop
        part, found = max(bisect_right(self.part_starts, start) - 1, 0), [np.zeros(0, np.int64)]
        while part < len(self._folders) and (first := self.part_starts[part]) < stop:
            places = self._mapped(part, name)
            low, high = np.searchsorted(places, (start - first, stop - first))
            found.append(places[low:high] + first)
            part += 1
        return found[1] if len(found) == 2 else np.concatenate(found)

    def _map(self, part: int, name: str) -> np.ndarray:
        return np.memmap(Path(self._folders[part]) / f"{name}.bin", _kind(name, self.headers[part]), mode="r")


class StoredSentences:
    """The lines of a store as lists of words, as often as wanted, for word vectors of the corpus itself.

    store: the corpus; its words were found when it was built. tokenizer: what it was built with.

    A word is its sub-tokens joined, so case and width are as the tokenizer leaves them, and what it does not know is
    [UNK].
    """

    def __init__(self, store: TokenStore, tokenizer: PreTrainedTokenizerFast) -> None:
        self.store = store
        names = {number: token.removeprefix("##") for token, number in tokenizer.get_vocab().items()}
        self.names = np.array([names.get(number, "") for number in range(max(names) + 1)], dtype=object)

    def __iter__(self) -> Iterator[list[str]]:
        starts = np.append(self.store.line_starts(), len(self.store))
        for first in range(0, len(starts) - 1, LINES):
            block = starts[first : first + LINES + 1]
            ids, begins = self.store.read(int(block[0]), int(block[-1]))
            kept = ids != self.store.separator
            names, begins = self.names[ids[kept]].tolist(), np.flatnonzero(begins[kept])
            line_starts = (np.cumsum(kept) - kept)[block[:-1] - block[0]]
            stops = [*begins[1:].tolist(), len(names)]
            words = ["".join(names[start:stop]) for start, stop in zip(begins.tolist(), stops, strict=True)]
            lines = np.append(np.searchsorted(begins, line_starts), len(words)).tolist()
            yield from (words[start:stop] for start, stop in pairwise(lines))


def build_token_store(
    files: Sequence[Path | str], tokenizer: WholeWordTokenizer, cache: Path | str, every_line: bool = False,
    processes: int | None = None,
) -> TokenStore:  # fmt: skip
    """Tokenizes text files, each once and for all, and opens them as one store.

    files: UTF-8 text, .txt or .txt.xz, one sentence or paragraph a line, an empty line between two documents; a file
        also begins a document. Special tokens written in a text are text.
    tokenizer: gives tokens and whole words. cache: the folder that holds what is built, and finds it again when name,
        size, time and both ends of the file, tokenizer and settings are the same.
    every_line: each line is a document, as where lines come from different texts.
    processes: that tokenize; None takes two when there is enough text for them to pay. More need the call to stand
        under `if __name__ == "__main__":` in a script, as with every process that Python spawns.
    Nothing half-written is left when it is interrupted, and what was finished is kept. Memory does not grow with the
    files.
    Raises DataError for a file that is absent, not UTF-8, or has no text.
    """
    files = [existing(file, "a text file", "check the path") for file in files]
    if not files:
        raise DataError("no text file", expected="at least one .txt or .txt.xz file", action="check corpus=")
    separator = tokenizer.tokenizer.sep_token_id
    if separator is None:
        raise ValueError("the tokenizer has no separator token: set tokenizer.sep_token")
    settings = _settings(tokenizer, every_line)
    folders = [Path(cache) / _name(file, settings) for file in files]
    missing = [
        pair for pair in dict(zip(folders, files, strict=True)).items() if not (pair[0] / "header.json").exists()
    ]
    with ExitStack() as stack:
        encoder = stack.enter_context(Encoder(tokenizer, [file for _, file in missing], processes)) if missing else None
        for folder, file in missing:
            remove_drafts(folder)  # of a build that was killed
            with atomic_path(folder) as draft:
                chunks = encoder.encode(read_chunks(file, every_line))
                if not _write(draft, chunks, int(separator), len(tokenizer.tokenizer), settings):
                    raise DataError("has no text", file, expected="lines of text", action="leave the file out")
    return TokenStore(folders)


def _write(folder: Path, chunks: Iterator[Chunk], separator: int, vocabulary: int, settings: dict) -> int:
    """Writes one file's tokens chunk by chunk. Returns how many lines there were."""
    folder.mkdir()
    kind = "<u2" if vocabulary <= WIDE else "<u4"
    counts = {"tokens": 0, "lines": 0, "documents": 0}
    ending = np.array([separator * 2 + 1])
    with ExitStack() as stack:
        tokens, lines, documents = (stack.enter_context((folder / f"{name}.bin").open("wb")) for name in counts)
        for chunk in chunks:
            begins_document = chunk.begins_document
            starts = starts_of(chunk.lengths)
            values = chunk.ids * 2 + chunk.word_begins
            # A separator before every document but the file's first ends the one before it.
            before = starts[begins_document]
            if not counts["documents"]:
                before = before[1:]
            shift = np.searchsorted(before, starts, side="right")
            places = starts + shift + counts["tokens"]
            np.insert(values, before, ending).astype(kind).tofile(tokens)
            places.astype("<i8").tofile(lines)
            places[begins_document].astype("<i8").tofile(documents)
            counts["tokens"] += len(values) + len(before)
            counts["lines"] += len(places)
            counts["documents"] += int(begins_document.sum())
        ending.astype(kind).tofile(tokens)
        counts["tokens"] += 1
    write_json(folder / "header.json", {"kind": kind, "separator": separator} | counts | settings)
    return counts["lines"]


def _settings(tokenizer: WholeWordTokenizer, every_line: bool) -> dict:
    """What the tokens of a text depend on."""
    backend = tokenizer.tokenizer.backend_tokenizer
    try:
        text = backend.to_str()
    except (
        Exception
    ):  # a pre-tokenizer in Python (RoFormer's) cannot be written out; tokenizers raises Exception itself
        text = json.dumps([type(tokenizer.tokenizer).__name__, sorted(backend.get_vocab().items())])
    dictionary = tokenizer.segmenter.user_dictionary
    return {
        "version": VERSION,
        "tokenizer": hashlib.sha256(text.encode()).hexdigest(),
        "words": type(tokenizer).__name__,
        "user_dictionary": "" if dictionary is None else hashlib.sha256(dictionary.read_bytes()).hexdigest(),
        "every_line": every_line,
    }


def _name(file: Path, settings: dict) -> str:
    status, ends = file.stat(), hashlib.sha256()
    with file.open("rb") as stream:
        ends.update(stream.read(ENDS))
        # Files of one name, size and time need not be one text: archives may set all times alike.
        stream.seek(max(0, status.st_size - ENDS))
        ends.update(stream.read(ENDS))
    described = json.dumps([file.name, status.st_size, status.st_mtime_ns, ends.hexdigest(), settings])
    return f"{file.name.split('.')[0]}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"


def _header(folder: Path) -> dict:
    header = read_json(Path(folder) / "header.json")
    if header.get("version") != VERSION:
        raise DataError("made by another version of the kit", folder, action="delete the folder and build it again")
    return header


def _kind(name: str, header: dict) -> np.dtype:
    return np.dtype(header["kind"] if name == "tokens" else "<i8")


def _check_size(folder: Path, name: str, header: dict) -> None:
    path, kind = Path(folder) / f"{name}.bin", _kind(name, header)
    size = existing(path, "a part of a token store", "delete the folder and build it again").stat().st_size
    if size != header[name] * kind.itemsize:
        raise DataError(
            f"{size:,} bytes", path, expected=f"{header[name]:,} {name}", action="delete the folder and build it again"
        )
