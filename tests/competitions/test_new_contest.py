"""The READMEs' own example of a new contest goes from its files to a checked submission."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.competitions.conftest import ROOT, single_threaded

SUBJECTS = "猫狗马牛羊鸡鸭鱼虎兔"


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for room in ("common", "models", "competitions"):
        shutil.copytree(ROOT / room, kit / room, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    own = kit / "competitions" / "my_contest"
    shutil.copytree(kit / "competitions" / "sohu_matching" / "config", own / "config")
    (own / "contest.py").write_text(example("README.md"), encoding="utf-8")
    default = own / "config" / "default.yaml"
    lines = default.read_text(encoding="utf-8").splitlines()
    default.write_text("\n".join(line for line in lines if not line.startswith("augmentation:")), encoding="utf-8")
    for script in ("train.sh", "predict.sh"):
        text = (kit / "competitions" / "sohu_matching" / script).read_text(encoding="utf-8")
        (own / script).write_text(text.replace("sohu_matching", "my_contest"), encoding="utf-8")
    pairs = enumerate((one, other, int(one == other)) for one in SUBJECTS for other in SUBJECTS)
    write_csv(kit / "raw" / "train.csv", "id,source,target,label", [
        f"{place},{place}号{one}在吃饭,吃饭的是{place}号{other},{label}"
        for place, (one, other, label) in pairs
    ])  # fmt: skip
    write_csv(kit / "raw" / "test.csv", "id,source,target", ["x,猫在家里吃饭,家里有猫在吃饭", "y,狗在睡觉,猫不睡觉"])

    words = ["data_dir=raw", "use=[lexical]", "folds=2", "members.lexical.rounds=3", "members.lexical.bags=1"]
    run(kit, "bash", "competitions/my_contest/train.sh", *words)
    written = (kit / "outputs/my_contest/default/submission.csv").read_text().splitlines()
    assert written[0] == "id,label" and [line.split(",")[0] for line in written[1:]] == ["x", "y"]
    run(kit, "bash", "competitions/my_contest/predict.sh", "run=default", "input=raw/test.csv", "output=again.csv")
    assert (kit / "again.csv").read_text().splitlines() == written


def test_both_readmes_show_the_same_code() -> None:
    assert code(example("README.md")) == code(example("README.zh-CN.md"))


def example(readme: str) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)
    return found


def code(text: str) -> str:
    """The code but for what it says of itself."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


def write_csv(path: Path, header: str, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def run(kit: Path, *command: str) -> None:
    environment = single_threaded() | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
