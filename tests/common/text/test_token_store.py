"""build_token_store: what is read back is what the tokenizer gives, built once, whole or not at all, in flat memory."""

import copy
import gc
import json
import lzma
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.files import DataError
from common.processes import cores
from common.text import corpus_reading, token_store
from common.text.anonymised import anonymised_tokenizer
from common.text.corpus_reading import read_chunks
from common.text.token_store import StoredSentences, TokenStore, build_token_store
from common.text.tokenization import WholeWordTokenizer
from common.text.vocabulary import character_tokenizer

TEXT = "我来到北京清华大学\n今天天气很好\n\n\n他说：abc 123！\n  \n北京大学"
TOKENIZER = WholeWordTokenizer(character_tokenizer([TEXT, "我来到北京清华大学今天天气很好他说：abc 123！"]))
SEP = TOKENIZER.tokenizer.sep_token_id
# In a store, a special token that a text spells is text.
SPELLING_OUT = WholeWordTokenizer(copy.deepcopy(TOKENIZER.tokenizer))
SPELLING_OUT.tokenizer.split_special_tokens = True


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".xz":
        path.write_bytes(lzma.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


def expected(documents: list[list[str]]):
    """Ids, word begins, line starts and document starts, line by line."""
    ids, begins, lines, starts = [], [], [], []
    for document in documents:
        starts.append(len(ids))
        for line in document:
            lines.append(len(ids))
            encoding = SPELLING_OUT.encode(line)
            ids += encoding.input_ids.tolist()
            begins += (np.diff(encoding.word_ids, prepend=-1) > 0).tolist()
        ids.append(SEP)
        begins.append(True)
    return ids, begins, lines, starts


def found(store: TokenStore):
    ids, begins = store.read(0, len(store))
    return ids.tolist(), begins.tolist(), store.line_starts().tolist(), store.document_starts().tolist()


DOCUMENTS = [["我来到北京清华大学", "今天天气很好"], ["他说：abc 123！"], ["北京大学"]]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz"])
def test_a_file_is_read_back_as_it_is_tokenized(tmp_path, name):
    store = build_token_store([write(tmp_path / name, TEXT)], TOKENIZER, tmp_path / "cache")
    assert found(store) == expected(DOCUMENTS)
    (folder,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["documents.bin", "header.json", "lines.bin", "tokens.bin"]
    assert json.loads((folder / "header.json").read_text())["kind"] == "<u2"


def test_files_follow_each_other_and_are_documents_of_their_own(tmp_path):
    files = [
        write(tmp_path / "a.txt", TEXT),
        write(tmp_path / "b.txt", "清华\n"),
        write(tmp_path / "c.txt.xz", "好\n\n大"),
    ]
    store = build_token_store(files, TOKENIZER, tmp_path / "cache")
    whole = expected([*DOCUMENTS, ["清华"], ["好"], ["大"]])
    assert found(store) == whole
    for start in range(len(store)):
        for stop in (start, start + 1, start + 7, len(store)):
            if start <= stop <= len(store):
                assert store.read(start, stop)[0].tolist() == whole[0][start:stop]
    with pytest.raises(IndexError, match="of a store of"):
        store.read(0, len(store) + 1)


def test_every_line_may_be_a_document(tmp_path):
    store = build_token_store([write(tmp_path / "a.txt", TEXT)], TOKENIZER, tmp_path / "cache", every_line=True)
    assert found(store) == expected([[line] for document in DOCUMENTS for line in document])


LINE = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("北京大学a1 ，\t\u3000\u0301")), max_size=8
)


@example(lines=["[SEP]"], lines_of_chunk=1, every_line=False)
@settings(max_examples=40, deadline=None)
@given(lines=st.lists(LINE, max_size=8), lines_of_chunk=st.integers(1, 3), every_line=st.booleans())
def test_any_text_in_any_chunks(tmp_path_factory, lines, lines_of_chunk, every_line):
    folder = tmp_path_factory.mktemp("text")
    file = write(folder / "a.txt", "\n".join(["好", *lines]))
    documents = [[]]
    for raw in file.read_bytes().decode().split("\n"):  # only \n ends a line
        line = raw.removesuffix("\r").strip()
        if not line or every_line:
            documents.append([])
        documents[-1] += [line] if line else []
    before, corpus_reading.LINES = corpus_reading.LINES, lines_of_chunk
    try:
        store = build_token_store([file], TOKENIZER, folder / "cache", every_line)
    finally:
        corpus_reading.LINES = before
    assert found(store) == expected([document for document in documents if document])


def test_lines_are_read_as_words_as_often_as_wanted(tmp_path, monkeypatch):
    store = build_token_store([write(tmp_path / f"{n}.txt", TEXT) for n in "ab"], TOKENIZER, tmp_path / "cache")
    lines = [
        ["我", "来到", "北京", "清华大学"],
        ["今天天气", "很", "好"],
        ["他", "说", ":", "abc", "123", "!"],
        ["北京大学"],
    ]
    for lines_at_a_time in (1, 3, 100):
        monkeypatch.setattr(token_store, "LINES", lines_at_a_time)
        sentences = StoredSentences(store, TOKENIZER.tokenizer)
        assert list(sentences) == list(sentences) == lines * 2


def test_a_store_goes_to_another_process_by_name(tmp_path):
    store = build_token_store([write(tmp_path / "a.txt", TEXT * 300)], TOKENIZER, tmp_path / "cache")
    make, parts = store.__reduce__()  # what any way of sending an object to another process takes it apart by
    assert len(repr(parts)) < 1000 < len(store)
    assert found(make(*parts)) == found(store)


def test_special_tokens_in_the_text_are_text(tmp_path):
    store = build_token_store([write(tmp_path / "a.txt", "北[SEP]京[MASK]")], TOKENIZER, tmp_path / "cache")
    ids = store.read(0, len(store))[0].tolist()
    assert ids.count(SEP) == 1 and ids[-1] == SEP
    assert TOKENIZER.tokenizer.mask_token_id not in ids
    assert not getattr(TOKENIZER.tokenizer, "split_special_tokens", False)


def test_large_vocabularies_get_wide_tokens(tmp_path):
    lines = ["_".join(map(str, range(first, first + 500))) for first in range(0, 40_000, 500)]
    tokenizer = WholeWordTokenizer(anonymised_tokenizer(lines))
    store = build_token_store([write(tmp_path / "a.txt", "\n".join(lines))], tokenizer, tmp_path / "cache")
    assert store.headers[0]["kind"] == "<u4"
    ids, begins = store.read(0, len(store))
    assert ids[:-1].tolist() == tokenizer.piece_ids(lines)[0].tolist()
    assert begins.all()


def test_two_processes_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_reading, "LINES", 2)
    file = write(tmp_path / "a.txt", "\n".join([TEXT] * 20))
    one = build_token_store([file], TOKENIZER, tmp_path / "one", processes=1)
    two = build_token_store([file], TOKENIZER, tmp_path / "two", processes=2)
    assert found(one) == found(two)


def test_two_processes_only_where_they_pay(tmp_path):
    small, large = tmp_path / "a.txt", tmp_path / "b.txt.xz"
    small.write_bytes(b"a")
    with large.open("wb") as stream:
        os.truncate(stream.fileno(), corpus_reading.PAYS_FROM)
    assert corpus_reading._processes_that_pay([small]) == 1
    assert corpus_reading._processes_that_pay([small, large]) == min(2, cores())


@pytest.fixture
def counted(monkeypatch):
    """Names of the files that were tokenized."""
    read = []

    def counting(file, every_line):
        read.append(file.name)
        return read_chunks(file, every_line)

    monkeypatch.setattr(token_store, "read_chunks", counting)
    return read


def test_nothing_is_tokenized_twice_until_something_changes(tmp_path, counted):
    first, second = write(tmp_path / "a.txt", TEXT), write(tmp_path / "b.txt", "清华")
    cache = tmp_path / "cache"
    build_token_store([first, second], TOKENIZER, cache)
    build_token_store([second], TOKENIZER, cache)
    assert counted == ["a.txt", "b.txt"]
    build_token_store([first], WholeWordTokenizer(character_tokenizer([TEXT], 1)), cache)
    build_token_store([first], TOKENIZER, cache, every_line=True)
    os.utime(second, ns=(1, 1))
    build_token_store([first, second], TOKENIZER, cache)
    assert counted[2:] == ["a.txt", "a.txt", "b.txt"]


def test_an_interrupted_build_leaves_nothing_half_written_and_goes_on(tmp_path, monkeypatch, counted):
    files = [write(tmp_path / "a.txt", TEXT), write(tmp_path / "b.txt", TEXT * 3)]
    cache = tmp_path / "cache"
    encode = corpus_reading._encoded
    monkeypatch.setattr(corpus_reading, "LINES", 2)

    def interrupted(tokenizer, lines):
        if counted[-1] == "b.txt" and lines.texts[0] != "我来到北京清华大学":
            raise KeyboardInterrupt
        return encode(tokenizer, lines)

    monkeypatch.setattr(corpus_reading, "_encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_token_store(files, TOKENIZER, cache)
    assert [path.name.split("-")[0] for path in cache.iterdir()] == ["a"]
    monkeypatch.setattr(corpus_reading, "_encoded", encode)
    whole = build_token_store(files, TOKENIZER, cache)
    assert counted == ["a.txt", "b.txt", "b.txt"]
    assert found(whole) == found(build_token_store(files, TOKENIZER, tmp_path / "new"))


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_reading, "CHARACTERS", 2_000)

    def peak(times: int) -> int:
        file = write(tmp_path / f"{times}.txt", f"{TEXT}\n\n" * times)
        gc.collect()
        tracemalloc.start()
        build_token_store([file], TOKENIZER, tmp_path / "cache", processes=1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # what is loaded once
    assert peak(3_000) < 1.2 * peak(300) + 20_000


def test_chunks_are_read_ahead_no_further_than_needed(monkeypatch):
    class Later:
        def __init__(self, value):
            self.result = lambda: value

    read = []
    encoder = corpus_reading.Encoder(TOKENIZER, [], processes=2)
    monkeypatch.setattr(encoder, "pool", type("Pool", (), {"submit": lambda self, function, value: Later(value)})())
    chunks = (read.append(number) or number for number in range(50))
    for number, out in enumerate(encoder.encode(chunks)):
        assert out == number
        assert len(read) <= number + 6
    assert len(read) == 50


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n\n", r"a\.txt: has no text"),
        ("a.txt", b"\xe5\n", r"a\.txt:1: not UTF-8"),
        ("a.txt.xz", b"no xz at all", r"a\.txt\.xz: not a whole \.xz file"),
        ("a.txt.xz", lzma.compress("北京".encode() * 100)[:-20], r"a\.txt\.xz: not a whole \.xz file"),
    ],
)
def test_bad_files_are_named_and_leave_nothing(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        build_token_store([tmp_path / name], TOKENIZER, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_absent_files_and_broken_stores_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        build_token_store([tmp_path / "a.txt"], TOKENIZER, tmp_path)
    with pytest.raises(DataError, match="no text file"):
        build_token_store([], TOKENIZER, tmp_path)
    build_token_store([write(tmp_path / "a.txt", TEXT)], TOKENIZER, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "tokens.bin").write_bytes(b"12")
    with pytest.raises(DataError, match=r"tokens\.bin: 2 bytes; expected .* tokens; delete"):
        TokenStore([folder])


def test_files_that_differ_in_their_text_alone_are_two_texts(tmp_path):
    files = [write(tmp_path / folder / "a.txt", text) for folder, text in (("x", "北京"), ("y", "清华"))]
    for file in files:
        os.utime(file, ns=(1, 1))
    assert found(build_token_store(files, TOKENIZER, tmp_path / "cache")) == expected([["北京"], ["清华"]])


def test_more_files_than_a_process_may_have_open(tmp_path):
    files = [write(tmp_path / f"{number}.txt", "北京" * (number % 3 + 1)) for number in range(60)]
    script = (
        "import resource, sys; from pathlib import Path; from common.text import token_store;"
        "from tests.common.text.test_token_store import TOKENIZER, found;"
        "token_store.MAPPED = 8; folder = Path(sys.argv[1]);"
        "files = sorted(folder.glob('*.txt'), key=lambda file: int(file.stem));"
        "import os; resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + 30,) * 2);"
        "store = token_store.build_token_store(files, TOKENIZER, folder / 'cache', processes=1);"
        "print(found(store) == found(store), found(store)[0])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    own = expected([["北京" * (number % 3 + 1)] for number in range(len(files))])
    assert said.stdout.strip() == f"True {own[0]}", said.stderr[-600:]


def test_what_a_killed_build_left_goes_with_the_next(tmp_path):
    file = write(tmp_path / "a.txt", "北京")
    build_token_store([file], TOKENIZER, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    draft, other = (tmp_path / "cache" / f".{name}.ab_cd123" for name in (folder.name, "another"))
    for path in (draft, other):
        (path / "x").mkdir(parents=True)
    build_token_store([file], TOKENIZER, tmp_path / "cache")
    assert draft.exists(), "what is built already may be read by others"
    shutil.rmtree(folder)
    build_token_store([file], TOKENIZER, tmp_path / "cache")
    assert not draft.exists() and other.exists() and folder.exists()


def test_starts_between_two_places(tmp_path):
    store = build_token_store([write(tmp_path / f"{n}.txt", TEXT) for n in "abc"], TOKENIZER, tmp_path / "cache")
    for starts in (store.line_starts, store.document_starts):
        every = starts()
        for start in range(len(store) + 1):
            for stop in (start, start + 1, start + 9, len(store)):
                assert starts(start, stop).tolist() == every[(every >= start) & (every < stop)].tolist()
