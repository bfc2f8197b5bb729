"""Typed configuration: dataclasses filled from YAML and `key=value` words; an unknown key names the nearest one."""

import dataclasses
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.files import existing, write_text

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that a person has to mend: names the key, what was expected and what to do."""


def read_config(files: list[Path], words: list[str]) -> DictConfig:
    """Settings from YAML files, later ones over earlier ones, then `key=value` words over all.

    words: e.g. ["folds=3", "members.bilstm_crf.training.epochs=2"].
    Returns the merged settings with interpolations (`${encoder}`) in place. Raises ConfigError for unreadable ones.
    """
    try:
        layers = [OmegaConf.load(existing(file, "a YAML config", "check --config")) for file in files]
        for file, layer in zip(files, layers, strict=True):
            if not isinstance(layer, DictConfig):
                raise ConfigError(f"config {file} holds a list: expected `key: value` lines, such as folds: 5")
        for word in words:
            if "=" not in word or word.startswith("="):
                raise ConfigError(f"cannot read the argument {word!r}: expected key=value, such as folds=5")
        # `encoder=` means an empty text; as YAML it would be nothing at all.
        words = [f'{word}""' if word.endswith("=") else word for word in words]
        return OmegaConf.merge(*layers, OmegaConf.from_dotlist(words))
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {_first_line(error)}") from None
    except OSError as error:
        raise ConfigError(f"config: {error}") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise ConfigError(f"config is not valid YAML: {' '.join(str(error).split())}") from None
        raise


def resolved(settings: DictConfig) -> dict[str, Any]:
    """Plain Python settings with every interpolation filled in. Raises ConfigError where one points nowhere."""
    try:
        return OmegaConf.to_container(settings, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {_first_line(error)}") from None


def typed(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """An instance of the dataclass `cls` with `values` over its defaults, checked and converted by field type.

    where: the key that `values` stands under, for messages, e.g. "members.lexical".
    Raises ConfigError for a key that the class does not have (naming the nearest one) or a value of a wrong type.
    """
    _known_keys(cls, values, where)
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))
    except OmegaConfBaseException as error:
        key = ".".join(filter(None, [where, getattr(error, "full_key", None)]))
        raise ConfigError(f"config key {key!r}: {_first_line(error)}") from None


def _known_keys(cls: type, values: dict[str, Any], where: str) -> None:
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in values.items():
        full = f"{where}.{key}" if where else str(key)
        if key not in fields:
            raise ConfigError(f"unknown config key {full!r}{_hint(str(key), fields, values, where)}")
        # The class of `group: Group` and of `group: Group | None`.
        nested = next(filter(dataclasses.is_dataclass, get_args(fields[key]) or (fields[key],)), None)
        if nested and isinstance(value, dict):
            _known_keys(nested, value, full)


def nearest(word: str, known: Any) -> str:
    """A hint for a misspelt name: the closest known one, or all of them when none is close."""
    known = [str(item) for item in known]
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {match[0]!r}?" if match else f": known are {', '.join(known) or 'none'}"


def save_config(path: Path, values: Any) -> None:
    """Writes settings (a dict or a dataclass) as YAML, complete and atomically."""
    values = dataclasses.asdict(values) if dataclasses.is_dataclass(values) else values
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(values)))


def changed_keys(before: dict[str, Any], after: dict[str, Any], where: str = "") -> list[str]:
    """What differs between two nested settings, as "key: before -> after" lines."""
    lines = []
    for key in sorted({*before, *after}, key=str):
        full = f"{where}.{key}" if where else str(key)
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed_keys(old, new, full)
        elif old != new:
            lines.append(f"{full}: {old} -> {new}")
    return lines


def _hint(word: str, fields: dict[str, Any], values: dict[str, Any], where: str) -> str:
    """As `nearest`, or where a setting of nearly that name stands: `batch_size` is one of a member's training."""
    if not difflib.get_close_matches(word, fields, n=1, cutoff=0.7):
        groups = {"members": values.get("members"), **values}  # members' settings are asked for most: the first
        below = dict(reversed(list(_below({name: groups[name] for name in groups if name in fields}, where))))
        if match := difflib.get_close_matches(word, below, n=1, cutoff=0.8):
            return f": did you mean {below[match[0]]!r}?"
    return nearest(word, fields)


def _below(values: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Name and path of every key inside the groups of `values`, which stand under `where`."""
    for group, inner in values.items():
        if isinstance(inner, dict):
            path = f"{where}.{group}" if where else str(group)
            yield from ((str(name), f"{path}.{name}") for name in inner)
            yield from _below(inner, path)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
