""".venv/bin/python -m competitions <contest> <stage> [--config FILE] [key=value ...]

Stages:
  prepare    find the data, validate every file, print what to know before a long run
  pretrain   an encoder from the contest's own text, for encoder=     [pretrain.training.epochs=20 ...] (optional)
  search     one member's batch size, learning rate, epochs ... tried by Optuna     [search.space=free search.trials=30]
  train      fit every member on every fold with every seed; what is finished is kept
  ensemble   combine members on out-of-fold scores, write the submission and a report
  check      validate a submission against the test file          [submission=FILE]
  score      the contest's metric of a file or of the submission  gold=FILE [prediction=FILE]
  predict    new text in, predictions out                         run=FOLDER input=FILE output=FILE
  compare    is one run better than another, or is it chance?     run=FOLDER other=FOLDER
check, score, predict and compare take the settings of the finished run that run= or output_dir= names.

Any text: python -m competitions pretrain corpus=FILES output_dir=OUT [--config FILE] [key=value ...] writes OUT/encoder
(keys: competitions/config/pretrain.yaml)
New contest: python -m competitions new NAME --task TASK [--from FILE] writes competitions/NAME, which runs at once
(tasks: classification multilabel matching nli tagging span reading; --from fills in what a training file tells)

Common keys (a contest's config/default.yaml lists all of them):
  data_dir=FOLDER      the official files                 output_dir=FOLDER   the run's folder
  encoder=NAME         a hub id or a local folder         run=NAME            the run's name
  folds=5 seeds=[1,2]  how often to train                 use=[MEMBER,...]    which members
  trials.keep=2        of the seeds, the best on the way  soup=true           one model a seed for new text
  teacher.run=FOLDER   a finished run teaches this one:   teacher.pseudo=hard (or soft) teacher.share=0.5
  only=MEMBER/fold-0   one part of the run                smoke=true          a few dozen lines, in FOLDER-smoke
Tricks, under members.MEMBER.training (common/training/tricks.py lists all of them):
  adversarial.kind=fgm      pgd freelb awp vat sam           averaging.kind=ema        swa
  loss.kind=focal           dice cross_entropy               loss.r_drop=1             mixup contrastive flooding ...
  noise.neftune=5           hype                             layers.mixout=0.1         reinitialise unfreeze
  optimizer.name=lamb       adafactor radam                  optimizer.lookahead=5     seeds.weights=1 seeds.order=2
"""

import ast
import errno
import os
import sys
from pathlib import Path

# Read by torch when it is loaded: large tensors in large pages, which the kernel hands out in a fraction of the time.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Every width of a batch has kernels of its own, with buffers: of oneDNN's 1,024, memory would grow with the steps.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

HERE = Path(__file__).parent
STAGES = ("prepare", "pretrain", "search", "train", "ensemble", "check", "score", "predict", "compare")


def contests() -> dict[str, str]:
    """Every contest with the first line of its contest.py, without importing it."""
    files = sorted(HERE.glob("*/contest.py"))
    return {file.parent.name: file.read_text(encoding="utf-8").splitlines()[0].strip('"') for file in files}


def help_of(command: str) -> str:
    """What there is to know about `new`, `pretrain` or a contest; about everything, where it is none of them."""
    if command == "new":
        return str(ast.get_docstring(ast.parse((HERE / "scaffold" / "new.py").read_text(encoding="utf-8"))))
    listed = "".join(f"\n  {name:22} {about}" for name, about in contests().items())
    text = f"{__doc__}\nContests:{listed}"
    config = HERE / "config/pretrain.yaml" if command == "pretrain" else HERE / command / "config/default.yaml"
    return f"{text}\n\n{config}:\n\n{config.read_text(encoding='utf-8')}" if config.is_file() else text


def main(words: list[str]) -> int:
    """Runs one stage; returns the exit status: 0, or 2 when a person has something to mend."""
    if not words or {"-h", "--help"} & set(words):
        print(help_of(words[0] if words else ""))
        return 0
    try:
        from common.config import ConfigError, nearest
        from common.files import DataError
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is not installed: run `make setup`, then .venv/bin/python -m competitions",
              file=sys.stderr)  # fmt: skip
        return 2
    try:
        contest, *rest = words
        if contest == "pretrain":
            from competitions.pretraining import pretrain_text

            pretrain_text(*_split(rest))
            return 0
        if contest == "new":
            from competitions.scaffold.new import new

            new(rest)
            return 0
        if contest not in contests():
            raise ConfigError(f"unknown contest {contest!r}{nearest(contest, (*contests(), 'pretrain', 'new'))}")
        if not rest or rest[0] not in STAGES:
            raise ConfigError(f"unknown stage {(rest or [''])[0]!r}{nearest((rest or [''])[0], STAGES)}")
        from competitions.launch import launch

        launch(contest, rest[0], *_split(rest[1:]))
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A disk that fills up, a folder that is taken away: nothing that a traceback would explain better.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"error: {error.filename or 'the run'}: {error.strerror}; free space or choose another place, and "
              f"run the same command again: what is finished is kept", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _split(words: list[str]) -> tuple[list[Path], list[str]]:
    """--config files and key=value words."""
    files, values, rest = [], [], iter(words)
    for word in rest:
        if word == "--config":
            files.append(Path(next(rest, "")))
        elif word.startswith("--config="):
            files.append(Path(word.removeprefix("--config=")))
        else:
            values.append(word)
    return files, values


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the output (head, less) has seen enough; Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
