"""python -m competitions new NAME --task TASK [--from FILE]: a contest's folder that runs, from templates.

  NAME         of the folder competitions/NAME: small letters, digits and _
  --task TASK  classification  a text or a pair of texts to one class      multilabel  to any number of them
               matching        two texts: do they match?                   nli         two texts to one of the classes
               tagging         a token and its tag a line (CoNLL)          span        text with start, end and type
               reading         a passage and questions to answers (SQuAD, CMRC)
  --from FILE  a training file: its layout, columns, classes and lengths go into the config, its folder is data_dir,
               and a test file beside it is found. Without it: sample files, and a config to fill in.

Writes config, contest.py, data.py, train.sh, predict.sh, a test and made-up sample text; then
  bash competitions/NAME/train.sh --config competitions/NAME/config/sample.yaml
docs/new_contest.md goes from a file to a submission.
"""

import json
import keyword
import re
from pathlib import Path
from typing import Any

from common.config import ConfigError, nearest
from common.files import atomic_path, existing
from competitions.scaffold.inspection import inspect
from competitions.scaffold.look import Look

HERE = Path(__file__).parent
KIT = HERE.parent
TEMPLATES = HERE / "templates"
USAGE = "usage: python -m competitions new NAME --task TASK [--from FILE]"
TAKEN = ("new", "pretrain")

# What a task's folder starts from: its templates, members, what the config says of it, and its files without --from.
TABLE = {"layout": "csv", "header": True}
TASKS: dict[str, dict[str, Any]] = {
    "classification": {
        "code": "classification", "members": "classification", "use": ["classifier", "tfidf"], "encoder_use": [],
        "files": TABLE | {"columns": {"id": "id", "text": "text", "label": "label"}}, "labels": ["正面", "负面"],
    },
    "multilabel": {
        "code": "multilabel", "members": "classification", "use": ["classifier", "tfidf"], "encoder_use": [],
        "files": TABLE | {"columns": {"id": "id", "text": "text", "label": "label"}, "label_separator": "|"},
        "labels": ["体育", "财经", "科技"],
    },
    "matching": {
        "code": "matching", "members": "matching", "use": ["cross_encoder", "lexical"], "encoder_use": [],
        "files": TABLE | {"columns": {"id": "id", "source": "source", "target": "target", "label": "label"}},
        "labels": ["0", "1"],
    },
    "nli": {
        "code": "nli", "members": "classification", "use": ["classifier", "tfidf"], "encoder_use": [],
        "files": {"layout": "json", "header": True, "skip": ["-"], "columns": {
            "id": "id", "text": "sentence1", "text_b": "sentence2", "label": "label"}},
        "labels": ["entailment", "neutral", "contradiction"],
    },
    "tagging": {
        "code": "tagging", "members": "tagging", "use": ["bilstm_crf", "sparse_crf"], "encoder_use": ["bert_crf"],
        "files": {"layout": "conll", "header": False, "columns": {"token": 1, "tag": -1}}, "labels": ["LOC", "PER"],
    },
    "span": {
        "code": "tagging", "members": "span", "use": ["bilstm_crf", "span_pointers", "sparse_crf"],
        "encoder_use": ["global_pointer"],
        "files": {"layout": "json", "header": True, "columns": {"id": "id", "text": "text", "entities": "entities"},
                  "entity_keys": ["start", "end", "type"], "inclusive": False},
        "labels": ["LOC", "PER"],
    },
    "reading": {
        "code": "reading", "members": "reading", "use": ["reader"], "encoder_use": [],
        "files": {"layout": "json", "header": True, "columns": {}}, "labels": [],
    },
}  # fmt: skip
# What else of `files` there is to say, and in which tasks.
COMMENTS = {
    "skip": "labels whose rows are left out of training",
    "label_separator": "between the labels of a cell; JSON lists need none",
    "entity_keys": "what start, end and type of an entity are called",
    "inclusive": "true: `end` is an entity's last character; false: the one behind it",
    "digit_suffix": "true: every token ends in a digit that is not text, as in Weibo NER",
}
EXTRAS = {"conll": ["digit_suffix"], "json": ["entity_keys", "inclusive"]}
SMALL = {  # members of the sample's config: seconds each
    "classification": "members:\n  classifier: {architecture: {embedding_size: 32, hidden_size: 32}}\n",
    "matching": "members:\n  cross_encoder: {architecture: {embedding_size: 32, hidden_size: 32}}\n"
    "  lexical: {rounds: 5, bags: 1}\n",
    "tagging": "members:\n  bilstm_crf:\n    architecture: {embedding_size: 16, bigram_size: 8, hidden_size: 64}\n"
    "    word_vectors: {epochs: 1}\n    training: {epochs: 4}\n"
    "  sparse_crf: {iterations: 20, clusters: 8, cluster_epochs: 1}\n",
}
SMALL["reading"] = (
    "members:\n  reader:\n    architecture: {embedding_size: 32, hidden_size: 32}\n    max_length: 64\n"
    "    training: {epochs: 12, batch_size: 8, recurrent_learning_rate: 1.0e-2, head_learning_rate: 1.0e-2}\n"
)
SMALL["span"] = SMALL["tagging"].replace("  sparse", "  span_pointers: {training: {epochs: 2}}\n  sparse")


def new(words: list[str]) -> Path:
    """Writes competitions/NAME and says what to do with it; returns the folder.

    Raises ConfigError or DataError, and then nothing is written.
    """
    name, task, source = _arguments(words)
    own = TASKS[task]
    if source is None:
        suffix = {"conll": "txt"}.get(own["files"]["layout"], own["files"]["layout"])
        look = Look(dict(own["files"]), own["labels"], 384 if task == "reading" else 128)
        look.files |= {"train": [f"train.{suffix}"], "test": f"test.{suffix}"}
        data_dir = f"data/raw/{name}"
    else:
        existing(source, "a training file", "check --from")
        look = inspect(source, task)
        look.files |= {"train": [source.name], "test": _test_beside(source)}
        data_dir = str(source.parent.resolve())
    with atomic_path(KIT / name) as draft:
        _write(draft, name, task, look, data_dir)
    _say(name, task, look, source)
    return KIT / name


def _arguments(words: list[str]) -> tuple[str, str, Path | None]:
    values: dict[str, str] = {}
    rest, names = iter(words), []
    for word in rest:
        option, equals, value = word.partition("=")
        if option in ("--task", "--from"):
            values[option] = value if equals else next(rest, "")
        elif word.startswith("-"):
            raise ConfigError(f"unknown option {word}{nearest(option, ('--task', '--from'))}; {USAGE}")
        else:
            names.append(word)
    if len(names) != 1:
        raise ConfigError(f"expected one name, got {' '.join(names) or 'none'}; {USAGE}")
    (name,) = names
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(f"the name {name!r} cannot be a Python package: expected small letters, digits and _, such "
                          f"as weibo_ner")  # fmt: skip
    if name in TAKEN or (KIT / name).exists() or (KIT / f"{name}.py").exists():
        raise ConfigError(f"competitions/{name} is taken: choose another name, or delete that folder first")
    task = values.get("--task", "")
    if task not in TASKS:
        raise ConfigError(f"--task is {task!r}{nearest(task, TASKS)}; {USAGE}")
    if "--from" in values and not values["--from"]:
        raise ConfigError(f"--from names no file; {USAGE}")
    return name, task, Path(values["--from"]) if "--from" in values else None


def _test_beside(source: Path) -> str:
    """The file beside it that has its name but for test, or the one test file with its ending, or none."""
    twin = re.sub("train(ing)?", "test", source.name, flags=re.I)
    if twin != source.name and (source.parent / twin).is_file():
        return twin
    found = [path.name for path in source.parent.glob(f"*test*{source.suffix}") if path.name != source.name]
    return found[0] if len(found) == 1 else ""


def _write(folder: Path, name: str, task: str, look: Look, data_dir: str) -> None:
    from competitions.scaffold.samples import write_sample
    from competitions.tasks.tables import FilesConfig

    own = TASKS[task]
    sources = [*(TEMPLATES / own["code"]).glob("*.py"), *(path for path in TEMPLATES.iterdir() if path.is_file())]
    (folder / "config").mkdir(parents=True)
    for source in sources:
        text = source.read_text(encoding="utf-8").replace("my_contest", name)
        text = text.replace("MyContest", "".join(part.title() for part in name.split("_")))
        text = text.replace("My contest", name.replace("_", " ").capitalize())
        (folder / source.name).write_text(_sorted_imports(text), encoding="utf-8")
    (folder / "config" / "default.yaml").write_text(_config(name, task, look, data_dir), encoding="utf-8")
    ending = Path(look.files["train"][0]).suffix
    sample = {"train": [f"train{ending}"], "test": f"test{ending}"}
    marks = {"SAMPLE_TRAIN": _flow(sample["train"]), "SAMPLE_TEST": sample["test"], "SAMPLE": SMALL[own["members"]]}
    text = _filled((TEMPLATES / "config" / "sample.yaml").read_text(encoding="utf-8"), marks)
    (folder / "config" / "sample.yaml").write_text(text.replace("my_contest", name), encoding="utf-8")
    write_sample(folder / "sample", task, FilesConfig(**(look.files | sample)), look.labels)


def _config(name: str, task: str, look: Look, data_dir: str) -> str:
    """default.yaml: start, members and end of the templates, with what is known filled in."""
    own, files = TASKS[task], look.files
    extras = [key for key in COMMENTS if key in files or key in EXTRAS.get(files["layout"], ())]
    if task == "reading":
        extras = []
    elif own["code"] != "tagging":
        extras = [key for key in extras if key not in ("entity_keys", "inclusive", "digit_suffix")]
    if task == "matching":
        about = "metric: f1                                # of label 1; or accuracy"
    elif task == "reading":
        # Without labels, nothing has said yet whether every question has an answer.
        about = (
            f"max_answer: {look.longest or 40}                            # characters of an answer\n"
            f"unanswerable: {str(look.unanswerable).lower()}                       # true: some have none\n"
            "n_best: null                              # so many answers a test question, into nbest.json\n"
        )
    elif own["code"] == "tagging":
        about = (
            f"types: {_flow(look.labels)}\nscheme: BIO                               # of members; files may differ\n"
        )
    else:
        about = (f"classes: {_flow(look.labels)}\n"
                 "metric: accuracy                          # or macro_f1, micro_f1\n")  # fmt: skip
    if task == "multilabel":
        about = about.replace(
            "accuracy                          # or macro_f1, micro_f1",
            "micro_f1                          # or macro_f1, accuracy (all of a row's)",
        )
    marks = {
        "MEMBER": own["use"][0], "DATA_DIR": json.dumps(data_dir, ensure_ascii=False),
        "TRAIN": _flow(files["train"]), "TEST": json.dumps(files["test"], ensure_ascii=False),
        "LAYOUT": files["layout"], "HEADER": str(files["header"]).lower(), "COLUMNS": _flow(files["columns"]),
        "FILES": "".join(f"  {key}: {_flow(files.get(key, _default(key)))}  # {COMMENTS[key]}\n" for key in extras),
        "TASK": about.rstrip("\n"), "USE": _flow(own["use"]), "ENCODER_USE": _flow(own["encoder_use"]),
        "MAX_LENGTH": str(look.max_length), "SHARED": "3" if task in ("matching", "nli") else "0",
    }  # fmt: skip
    parts = [(TEMPLATES / "config" / f"{part}.yaml").read_text(encoding="utf-8")
             for part in ("start", own["members"], "end")]  # fmt: skip
    return _filled("".join(parts), marks).replace("my_contest", name)


def _default(key: str) -> Any:
    from competitions.tasks.tables import FilesConfig

    return getattr(FilesConfig(), key)


def _sorted_imports(text: str) -> str:
    """The kit's own imports in the order that the name of the contest asks for."""
    return re.sub("(?:^from competitions.*\n)+", lambda own: "".join(sorted(own[0].splitlines(True))), text, flags=re.M)


def _filled(text: str, marks: dict[str, str]) -> str:
    for mark, value in marks.items():
        text = text.replace(f"@{mark}@", value)
    return text


def _flow(value: Any) -> str:
    """A value as YAML on one line: JSON is YAML, and needs no quotes around plain words and numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value) and value.lower() not in (
        "true", "false", "null", "yes", "no", "on", "off", "y", "n")  # fmt: skip
    return value if plain else json.dumps(value, ensure_ascii=False)


def _say(name: str, task: str, look: Look, source: Path | None) -> None:
    print(f"competitions/{name}: a contest for {task}, which runs:\n")
    if source is not None:
        files = look.files
        print(
            f"  {source}: {files['layout']}{', with a header' if files['header'] and files['layout'] != 'json' else ''}"
        )
        about = f"{len(look.labels)} labels: {', '.join(look.labels[:12])}{' ...' if len(look.labels) > 12 else ''}"
        if task == "reading":
            about = f"answers up to {look.longest} characters{', or none' if look.unanswerable else ''}"
        print(f"  columns {_flow(files['columns'])}; {about}; max_length {look.max_length}")
        if files.get("digit_suffix"):
            print("  the digit behind each token is taken off")
        if look.example:
            print(f"  it reads, for example: {look.example}")
        print(f"  test file: {files['test'] or 'none found beside it: name it in files.test of config/default.yaml'}\n")
    print(
        f"  bash competitions/{name}/train.sh --config competitions/{name}/config/sample.yaml   # the sample, a minute"
    )
    print(f"  bash competitions/{name}/train.sh{' data_dir=FOLDER' if source is None else ''}   # your files, by "
          f"competitions/{name}/config/default.yaml")  # fmt: skip
