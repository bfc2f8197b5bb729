"""Reading text so that every error names file and line, and writing so that nothing is ever half-written."""

import json
import lzma
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from itertools import chain
from pathlib import Path
from typing import IO, Any

# What files begin with that are no text, for a hint.
_PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZ": "bzip2", b"(\xb5": "zstd", b"\xfd7": "xz, under another name"}


class DataError(ValueError):
    """Input that a person has to mend. The message says what is wrong, where, what was expected and what to do.

    problem: what is wrong, in a few words. path, line: where (line counts from 1). expected, action: phrases.
    """

    def __init__(self, problem: str, path: Path | str | None = None, line: int | None = None, *, expected: str = "",
                 action: str = "") -> None:  # fmt: skip
        where = "" if path is None else f"{path}:{line}: " if line else f"{path}: "
        parts = [f"{where}{problem}", expected and f"expected {expected}", action]
        super().__init__("; ".join(part for part in parts if part))


def existing(path: Path | str, what: str, action: str) -> Path:
    """`path` when it exists.

    what: the thing that should be there ("the training file"). action: what to do when it is not.
    Raises DataError when nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file or folder", path, expected=what, action=action)
    return path


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 text file with their numbers, without line ends; a name that ends in .xz is unpacked on the way.

    Yields (line number from 1, text); a byte-order mark is dropped, only \\n and \\r\\n end a line.
    Raises DataError when the file is absent, a line is not UTF-8 or an .xz file is broken.
    """
    path = existing(path, "a readable UTF-8 text file", "check the path")
    if path.is_dir():
        raise DataError("is a folder", path, expected="a UTF-8 text file", action="name a file inside it")
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as stream:
        for number, raw in enumerate(_raw_lines(stream, path), start=1):
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield number, raw.decode("utf-8").rstrip("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                if number == 1 and (kind := _PACKED.get(raw[:2])):
                    raise DataError(f"is packed ({kind})", path, expected="UTF-8 text, plain or as .xz",
                                    action="unpack it first") from None  # fmt: skip
                encoding = "UTF-16" if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "GB18030"
                raise DataError(
                    f"not UTF-8 (byte {error.start + 1} of the line is 0x{raw[error.start]:02x})",
                    path, number, expected="UTF-8 text",
                    action=f"convert it first: iconv -f {encoding} -t UTF-8 {path.name} > utf8_{path.name}",
                ) from None  # fmt: skip


def _raw_lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from stream
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"not a whole .xz file ({error})", path, expected="what `xz -t` accepts",
                        action="fetch or pack it again") from None  # fmt: skip


def read_json_lines(path: Path | str, required: Iterable[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file, or of one JSON array, with their line numbers; blank lines are skipped.

    required: keys that every object must have. Yields (line number from 1, object).
    Raises DataError for a line that is no JSON object or lacks a key.
    """
    required = tuple(required)
    for number, item in _json_items(path):
        if not isinstance(item, dict):
            raise DataError(f"a JSON {type(item).__name__}", path, number, expected="a JSON object",
                            action="fix the line")  # fmt: skip
        for key in required:
            if key not in item:
                raise DataError(
                    f"no key {key!r} (keys: {', '.join(map(repr, item)) or 'none'})", path, number,
                    expected=f"the keys {', '.join(required)}", action="check that this is the right file",
                )  # fmt: skip
        yield number, item


def _json_items(path: Path | str) -> Iterator[tuple[int, Any]]:
    lines = ((number, text) for number, text in read_lines(path) if text.strip())
    first = next(lines, None)
    if first is not None and first[1].lstrip()[0] == "[":
        yield from _array_items(path)
        return
    for number, text in chain([first] if first else [], lines):
        try:
            yield number, json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"not JSON ({error.msg} at column {error.colno})", path, number,
                expected="one JSON object a line", action="fix or delete the line",
            ) from None  # fmt: skip


def _array_items(path: Path | str) -> Iterator[tuple[int, Any]]:
    """The items of a file that is one JSON array, with the lines that they begin on."""
    text = "\n".join(line for _, line in read_lines(path))
    read, blank = json.JSONDecoder().raw_decode, re.compile(r"\s*")
    line, counted, place = 1, 0, text.index("[") + 1
    while True:
        place = blank.match(text, place).end()
        line, counted = line + text.count("\n", counted, place), place
        if text[place : place + 1] == "]":
            return
        try:
            item, place = read(text, place)
        except json.JSONDecodeError as error:
            raise DataError(f"not JSON ({error.msg})", path, error.lineno, expected="an array of JSON objects",
                            action="fix the file") from None  # fmt: skip
        yield line, item
        place = blank.match(text, place).end()
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            raise DataError("not JSON (no comma behind an item of the array)", path, line,
                            expected="an array of JSON objects", action="fix the file")  # fmt: skip


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    path: the file or folder to write. Yields a path to write to: create either a file or a folder there.
    Raises DataError when the folder cannot be written to or the disk is full; what was at `path` before stays.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own on the same file system: the last step is then one rename.
        workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from None
    draft = workplace / path.name
    try:
        yield draft
        if path.is_dir() and draft.is_dir():
            _swap_folders(draft, path, workplace / f"{path.name}.replaced")
        else:
            os.replace(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def remove_drafts(path: Path | str) -> None:
    """Deletes what `atomic_path` of this path left behind in processes that were killed.

    Only for who knows that no process is writing it now.
    """
    path = Path(path)
    for draft in path.parent.glob(f".{escape(path.name)}.????????"):
        shutil.rmtree(draft, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raises DataError unless files can be made in `folder`, which is made where it is not there."""
    with atomic_path(folder / ".writable") as draft:
        draft.touch()
    (folder / ".writable").unlink()


def _swap_folders(new: Path, path: Path, aside: Path) -> None:
    """Puts folder `new` in the place of folder `path`, which goes to `aside`, or back when the last step fails."""
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(aside, path)
        raise


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot be written ({error.strerror or error})", path, expected="a writable folder with free space",
        action="free space or choose another place; what was there before is unchanged",
    )  # fmt: skip


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 file atomically."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_lines(path: Path | str, lines: Iterable[str]) -> None:
    """Writes one line each (a final newline included), atomically, without holding them all."""
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def write_json(path: Path | str, value: Any) -> None:
    """Writes readable JSON atomically; Chinese stays Chinese."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path | str) -> Any:
    """A whole JSON file. Raises DataError when it is absent or broken."""
    try:
        return json.loads(existing(path, "a JSON file", "check the path").read_text(encoding="utf-8"))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"not JSON ({error})", path, action="delete it and run the stage again") from None
