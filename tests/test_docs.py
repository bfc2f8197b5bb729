"""docs/new_contest.md: every command runs, in order, in a copy of the kit; both languages show the same commands."""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.files import write_lines
from tests.competitions.conftest import ROOT, single_threaded

PAGES = [ROOT / "docs" / name for name in ("new_contest.md", "new_contest.zh-CN.md")]
# Trained on two cores in seconds: what the page's plain commands would train for minutes.
FAST = ["folds=2", "workers=1"]


# The sample and its test: tests/competitions/test_scaffold.py runs them for every task.
ELSEWHERE = ("sample.yaml", "pytest")


def commands(page: Path) -> list[str]:
    """The indented lines, which are shell commands, but for those of a file's text."""
    return re.findall(
        "^    (.+)$", re.sub("^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M
    )


def file_of(page: Path, language: str) -> str:
    """The text of a file that the page shows, without its comments."""
    text = re.search(f"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)[1]
    return re.sub(" +#.*", "", text)


def downloads(folder: Path) -> None:
    draw = random.Random(1)
    words = {"1": ["干净", "安静", "热情", "舒服"], "0": ["吵闹", "太脏", "冷淡", "难受"]}
    texts = [(label, f"第{n}间房{draw.choice(words[label])}，住了{draw.randint(2, 9)}天")
             for n, label in enumerate("01" * 45)]  # fmt: skip
    lines = [f"{label}\t{text}" for label, text in texts]
    write_lines(folder / "train.tsv", ["label\ttext_a", *lines[:70]])
    write_lines(folder / "gold.tsv", ["label\ttext_a", *lines[70:]])
    write_lines(folder / "test.tsv", ["text_a", *(text for _, text in texts[70:])])
    places = ["北湖", "南山", "东桥", "西岭"]
    sentences = [[*(f"{char}0 O" for char in f"第{n}次去"), *(f"{char}{place} {tag}-LOC.NAM" for place, (char, tag) in
                  enumerate(zip(draw.choice(places), "BI", strict=True))), "玩0 O", ""] for n in range(60)]  # fmt: skip
    write_lines(folder / "entities.conll", [line for sentence in sentences for line in sentence])


def test_both_languages_show_the_same_commands_and_the_same_table_of_heads() -> None:
    english, chinese = PAGES
    assert commands(english) == commands(chinese) and len(commands(english)) >= 9
    tested = [re.findall(r"\w+/[\w/]+\.py", page.read_text(encoding="utf-8").partition("## Heads")[2]
              or page.read_text(encoding="utf-8").partition("## 任务头")[2]) for page in PAGES]  # fmt: skip
    assert [file_of(english, kind) == file_of(chinese, kind) for kind in ("python", "yaml")] == [True, True]
    assert tested[0] == tested[1] and all((ROOT / "tests" / path).exists() for path in tested[0])


@pytest.mark.parametrize("about", ["hotel_reviews", "social_entities", "two_tasks"])
def test_every_command_of_the_page_runs(about: str, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for room in ("common", "models", "competitions"):
        shutil.copytree(ROOT / room, kit / room, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    shutil.copy(ROOT / "pyproject.toml", kit)
    downloads(kit / "downloads")
    if about == "two_tasks":
        own = kit / "competitions" / about
        write_lines(own / "contest.py", [file_of(PAGES[0], "python")])
        write_lines(own / "config" / "default.yaml", [file_of(PAGES[0], "yaml")])
    for command in commands(PAGES[0]):
        if about not in command or any(word in command for word in ELSEWHERE):
            continue
        words = command.replace(".venv/bin/python", sys.executable).split()
        if "train.sh" in command or words[-1] in ("train", "ensemble"):
            words += FAST
        found = subprocess.run(words, cwd=kit, env=single_threaded() | {"PYTHON": sys.executable},
                               capture_output=True, text=True)  # fmt: skip
        assert found.returncode == 0, f"{command}\n{found.stdout}{found.stderr}"
    if about == "hotel_reviews":
        written = (kit / "outputs/hotel_reviews/default/submission.csv").read_text(encoding="utf-8")
        assert written == (kit / "more.csv").read_text(encoding="utf-8") and len(written.splitlines()) == 21
    if about == "two_tasks":
        assert {path.name for path in (kit / "outputs/two_tasks/default/submission").iterdir()} == {"review.csv"}
