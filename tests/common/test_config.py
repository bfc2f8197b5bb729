"""Settings: later layers win, mistakes are named with the nearest right name."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import OmegaConf

from common.config import ConfigError, changed_keys, nearest, read_config, resolved, save_config, typed
from common.files import DataError
from common.training.arguments import TrainingConfig


@dataclass
class Inner:
    rate: float = 0.5
    names: list[str] = field(default_factory=list)


@dataclass
class Outer:
    folds: int = 5
    smoke: bool = False
    encoder: str = ""
    inner: Inner = field(default_factory=Inner)
    members: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def written(tmp_path, text: str, name: str = "a.yaml"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_later_files_and_words_win_key_by_key(tmp_path):
    first = written(tmp_path, "folds: 3\ninner: {rate: 0.1, names: [a, b]}\n")
    second = written(tmp_path, "inner: {rate: 0.2}\n", "b.yaml")
    settings = read_config([first, second], ["inner.names=[c]", "members.x.kind=tagger"])
    assert resolved(settings) == {
        "folds": 3, "inner": {"rate": 0.2, "names": ["c"]}, "members": {"x": {"kind": "tagger"}},
    }  # fmt: skip


def test_words_are_typed_as_yaml():
    assert resolved(read_config([], ["a=3", "b=0.5", "c=true", "d=x=y", "e=[1,2]"])) == {
        "a": 3, "b": 0.5, "c": True, "d": "x=y", "e": [1, 2],
    }  # fmt: skip


def test_interpolations_see_the_last_word(tmp_path):
    path = written(tmp_path, "encoder: small\nmembers: {tagger: {encoder: '${encoder}'}}\n")
    assert resolved(read_config([path], ["encoder=large"]))["members"] == {"tagger": {"encoder": "large"}}


def test_an_interpolation_that_points_nowhere_is_named(tmp_path):
    with pytest.raises(ConfigError, match="encodr"):
        resolved(read_config([written(tmp_path, "a: ${encodr}\n")], []))


@pytest.mark.parametrize("word", ["folds", "=3"])
def test_words_without_a_key_or_a_value_are_refused(word):
    with pytest.raises(ConfigError, match=f"cannot read the argument '{word}': expected key=value"):
        read_config([], [word])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n"])
def test_files_that_are_no_settings_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="config"):
        read_config([written(tmp_path, text)], ["folds=3"])


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.yaml: no such file.*check --config"):
        read_config([tmp_path / "no.yaml"], [])


def test_an_empty_file_changes_nothing(tmp_path):
    assert resolved(read_config([written(tmp_path, "# nothing\n")], ["folds=3"])) == {"folds": 3}


def test_values_become_the_types_of_the_class():
    settings = typed(Outer, {"folds": "3", "inner": {"rate": 1}, "smoke": "true", "members": {"x": None}})
    assert settings == Outer(folds=3, smoke=True, inner=Inner(rate=1.0), members={"x": None})
    assert isinstance(settings.inner, Inner) and isinstance(settings.inner.rate, float)
    assert isinstance(settings.members, dict) and isinstance(settings.inner.names, list)


@pytest.mark.parametrize(
    ("values", "where", "message"),
    [
        ({"fold": 3}, "", "unknown config key 'fold': did you mean 'folds'?"),
        (
            {"bach_size": 3, "members": {name: {"training": {"batch_size": 2}} for name in "ab"}},
            "",
            "unknown config key 'bach_size': did you mean 'members.a.training.batch_size'?",
        ),
        ({"encode": 3, "members": {"a": {"encode": 2}}}, "", "unknown config key 'encode': did you mean 'encoder'?"),
        (
            {"inner": {"epochs": 1}, "epochs": 3, "members": {"a": {"epochs": 2}}},
            "",
            "unknown config key 'inner.epochs': known are rate, names",
        ),
        (
            {"training": {}, "epoch": 3, "members": {"a": {"epochs": 2}}},
            "",
            "unknown config key 'epoch': did you mean 'members.a.epochs'?",
        ),
        ({"lr": 3, "members": {"a": {"l2": 2}}}, "", "unknown config key 'lr': known are folds"),
        ({"inner": {"ratio": 3}}, "", "unknown config key 'inner.ratio': did you mean 'rate'?"),
        (
            {"training": {"epoch": 3}},
            "members.a",
            "unknown config key 'members.a.training.epoch': did you mean 'epochs'?",
        ),
        ({"xyzzy": 3}, "", "known are folds, smoke, encoder, inner, members, training"),
    ],
)
def test_an_unknown_key_names_the_nearest(values, where, message):
    with pytest.raises(ConfigError) as error:
        typed(Outer, values, where)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"folds": "many"}, "folds"),
        ({"inner": {"rate": "fast"}}, "inner.rate"),
        ({"inner": {"names": 3}}, "inner.names"),
    ],
)
def test_a_wrong_type_names_its_key(values, key):
    with pytest.raises(ConfigError, match=f"config key 'members.a.{key}'"):
        typed(Outer, values, "members.a")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "linaer"}, "training.schedule is 'linaer': did you mean 'linear'?"),
        ({"precision": "int4"}, "training.precision is 'int4'"),
        ({"keep": "frist"}, "training.keep is 'frist'"),
        ({"epochs": 0}, "training.epochs is 0"),
        ({"accumulation": -1}, "training.accumulation is -1: expected a number above 0"),
    ],
)
def test_impossible_training_settings_are_refused(values, message):
    with pytest.raises(ConfigError) as error:
        typed(Outer, {"training": values})
    assert message in str(error.value)


def test_what_is_saved_is_complete_and_reads_back(tmp_path):
    settings = Outer(folds=3, encoder="名", members={"x": {"kind": "tagger"}})
    save_config(tmp_path / "run" / "config.yaml", settings)
    values = OmegaConf.to_container(OmegaConf.load(tmp_path / "run" / "config.yaml"))
    assert values["training"]["batch_size"] == TrainingConfig().batch_size
    assert typed(Outer, values) == settings


def test_changed_keys_are_named_with_both_values():
    before = {"a": 1, "b": {"c": [1], "d": 2, "e": 5}, "f": 3}
    after = {"a": 1, "b": {"c": [2], "d": 2}, "f": {"g": 3}, "h": None, "i": 4}
    assert changed_keys(before, before) == []
    assert changed_keys(before, after) == ["b.c: [1] -> [2]", "b.e: 5 -> None", "f: 3 -> {'g': 3}", "i: None -> 4"]


def test_nearest_lists_all_when_none_is_close():
    assert nearest("bilstm", ["bilstm_crf", "lexical"]) == ": did you mean 'bilstm_crf'?"
    assert nearest("zzz", ["a", "b"]) == ": known are a, b"
    assert nearest("zzz", []) == ": known are none"
