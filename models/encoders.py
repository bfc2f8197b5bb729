"""Encoders by hub id, folder or configuration, without silent surprises in their weights."""

import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
)

import models.nezha  # registers the model type "nezha"
import models.recurrent  # noqa: F401  registers the model type "recurrent"
from common.config import nearest

KIT = Path(__file__).parents[1]
# Of several hundred kinds of models those that encode Chinese text, for a hint.
COMMON_KINDS = ("recurrent", "bert", "roberta", "albert", "electra", "ernie", "deberta-v2", "roformer", "nezha")

# Weights of a checkpoint that a base model has no place for, and does not need: what stands on top of the encoder
# (poolers, language model and discriminator heads, classifiers of a fine-tuned checkpoint), and constant position
# numbers that older releases saved.
_HARMLESS_UNEXPECTED = re.compile(
    r"(^|\.)(pooler(\.|$)"
    r"|cls\.(predictions|seq_relationship)\.|lm_head\.|lm_predictions\.|mask_predictions\.|predictions\."
    r"|generator_predictions\.|generator_lm_head\.|discriminator_predictions\.|sop_classifier\."
    r"|classifier\.|qa_outputs\.|embeddings\.(position_ids|token_type_ids)$|embed_positions\.weight$)"
)
# No head of this kit reads a pooler, where a model insists on having one; position numbers and sinusoids are computed,
# not learned.
_HARMLESS_MISSING = re.compile(r"(^|\.)(pooler\.|embeddings\.(position_ids|token_type_ids)$|embed_positions\.weight$)")

# NEZHA's first PyTorch checkpoints (2020, 2021) are older than its own name in transformers.
_OLDER_NAMES = {"nezha": {r"^bert\.": "nezha."}}


def located(name_or_folder: str | Path) -> str:
    """A hub id or folder as it is; a folder of the kit itself, such as models/pretrained, is found from anywhere."""
    own = KIT / name_or_folder
    return str(own if not Path(name_or_folder).exists() and own.is_dir() else name_or_folder)


def load_encoder(name_or_folder: str | Path, **config_overrides: Any) -> PreTrainedModel:
    """Load a pretrained base model, without pooler where its family allows that.

    name_or_folder: hub id or local folder of any BERT-like checkpoint (BERT, RoBERTa-wwm, MacBERT, ERNIE, ELECTRA,
    ALBERT, DeBERTa, RoFormer, NEZHA, this kit's "recurrent", ...). config_overrides: fields of its configuration, e.g.
    `num_hidden_layers=6`; `dtype`, float32 unless given, whatever the checkpoint was stored in.
    Returns the model in evaluation mode.
    Raises FileNotFoundError if nothing can be found under that name, and ValueError for a configuration that names no
    model type, an override that the configuration does not have, and any missing, unexpected or mismatched weight.
    """
    name = located(name_or_folder)
    dtype = config_overrides.pop("dtype", torch.float32)
    config = load_encoder_config(name, **config_overrides)
    try:
        with no_loading_report():
            encoder, information = AutoModel.from_pretrained(
                name,
                config=config,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                key_mapping=_OLDER_NAMES.get(config.model_type),
                **_without_pooler(config),
            )
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: no weights found ({_first_line(error)}). Expected model.safetensors next to config.json"
        ) from error
    _check_weights(name, config, information)
    return encoder.eval()


def load_encoder_config(name_or_folder: str | Path, **config_overrides: Any) -> PretrainedConfig:
    """The configuration of an encoder, of which nothing but config.json is read. Arguments and errors: `load_encoder`.

    `encoder_from_config` makes a model of the same architecture with random weights of it.
    """
    config = _load_config(located(name_or_folder))
    for field, value in config_overrides.items():
        if not hasattr(config, field):
            raise ValueError(f"the configuration of {name_or_folder} ({config.model_type}) has no field {field!r}")
        setattr(config, field, value)
    return config


# Of new token types, in standard deviations of the word embeddings. A mark that starts at nothing, as a copy of its
# type, stays too faint beside pretrained words to be learned in fine-tuning.
MARK_SCALE = 0.4


@torch.no_grad()
def widen_token_types(encoder: PreTrainedModel, count: int, scale: float = MARK_SCALE) -> bool:
    """Gives a pretrained encoder room for `count` token types, so that tokens can be marked by more than their segment.

    Type t starts as type t modulo those that it had, plus a random vector for each of its marks (t divided by those) of
    `scale` standard deviations of the word embeddings; 0 where the encoder cannot learn what the marks mean.
    Returns whether the encoder has token types at all; without, it stays as it is.
    """
    found = [(module, module.token_type_embeddings) for module in encoder.modules()
             if isinstance(getattr(module, "token_type_embeddings", None), nn.Embedding)]  # fmt: skip
    deviation = scale * encoder.get_input_embeddings().weight.std()
    for module, old in found:
        types = len(old.weight)
        if types < count:
            module.token_type_embeddings = nn.Embedding(count, old.embedding_dim).to(old.weight)
            number = torch.arange(count)
            marks = torch.randn(-(-count // types), old.embedding_dim) * deviation
            marks[0] = 0  # the types that there were stay as they are
            values = old.weight.data[number % types] + marks[number // types].to(old.weight)
            module.token_type_embeddings.weight.data = values
            module.token_type_embeddings._is_hf_initialized = True
            encoder.config.type_vocab_size = count
    return bool(found)


# Where families keep the layers between their states and the scores of the vocabulary.
_HEAD_NAMES = {
    "dense": re.compile(r"(transform|lm_head|predictions)\.dense\.(weight|bias)$"),
    "norm": re.compile(r"(transform|lm_head|predictions)\.(?:LayerNorm|layer_norm)\.(weight|bias)$"),
    "": re.compile(r"(predictions|lm_head)\.(bias)$"),
}


def masked_lm_head(name_or_folder: str | Path) -> dict[str, Tensor]:
    """The masked language model head of a checkpoint that `load_encoder` takes.

    Returns dense.weight, dense.bias, norm.weight, norm.bias and bias (of the vocabulary), whatever their names in the
    checkpoint; of these only what the checkpoint has, so nothing for one without a head.
    """
    name = located(name_or_folder)
    config = _load_config(name)
    if AutoModelForMaskedLM._model_mapping.get(type(config), None) is None:
        return {}
    with no_loading_report():
        model, information = AutoModelForMaskedLM.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True,
            key_mapping=_OLDER_NAMES.get(config.model_type),
        )  # fmt: skip
    absent = {*information["missing_keys"], *(key for key, *_ in information["mismatched_keys"])}
    found = {}
    for key, value in model.state_dict().items():
        if key in absent or key.startswith(f"{model.base_model_prefix}."):
            continue
        for part, pattern in _HEAD_NAMES.items():
            if match := pattern.search(key):
                found[f"{part}.{match[2]}".lstrip(".")] = value
    return found


def encoder_from_config(config: PretrainedConfig | dict) -> PreTrainedModel:
    """A randomly initialised base model, without pooler where its family allows that.

    config: a configuration, or its dict with `model_type`, e.g. {"model_type": "recurrent", "vocab_size": 8000}.
    Returns the model. Raises ValueError for a dict without a known model type.
    """
    if isinstance(config, dict):
        settings = dict(config)
        if "model_type" not in settings:
            raise ValueError('an encoder made from settings needs a model_type, e.g. "bert" or "recurrent"')
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    return AutoModel.from_config(config, **_without_pooler(config))


def check_architecture(settings: dict, spare: dict | None = None) -> dict:
    """Raises ValueError for a setting that encoders of this kind do not have: transformers would take it and go on.

    settings: of a new encoder, `model_type` among them. spare: settings that nobody asked for, such as defaults of
    another kind: where this kind does not have them they are left out. Returns the settings without those.
    """
    kind = settings.get("model_type")
    if not kind:
        raise ValueError('an encoder made from settings needs a model_type, e.g. "bert" or "recurrent"')
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"there is no model_type {kind!r}{nearest(kind, COMMON_KINDS)}")
    config = AutoConfig.for_model(kind)
    known, own = {*config.to_dict(), *config.attribute_map, "model_type"}, dict(settings)
    for key, value in settings.items():
        if key in known or hasattr(config, key):
            continue
        if not spare or key not in spare or spare[key] != value:
            raise ValueError(f"{kind} has no setting {key!r}{nearest(key, known)}")
        del own[key]
    return own


@contextmanager
def no_loading_report() -> Iterator[None]:
    """Keep transformers from printing a table of weights that do not fit: the caller says which are an error."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def longest_input(source: str | Path | dict) -> int:
    """How many tokens an encoder takes, special tokens included; a very large number where nothing limits it.

    source: hub id or folder, or the settings of a new encoder. RoBERTa's position table begins after its padding id, so
    that it takes fewer tokens than it has rows. Raises as `load_encoder`.
    """
    if isinstance(source, dict):
        settings = dict(source)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    else:
        config = _load_config(located(source))
    rows = getattr(config, "max_position_embeddings", None)
    # NEZHA says there how long the rows of its pretraining were, and has no table of places.
    if not rows or rows < 0 or config.model_type == "nezha":
        return 1_000_000
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text")
    return rows - (config.pad_token_id or 0) - 1 if shifted else rows


def _without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    model_class = AutoModel._model_mapping.get(type(config), None)
    if isinstance(model_class, (list, tuple)):
        model_class = model_class[0]
    if model_class is None:
        raise ValueError(
            f"model type {config.model_type!r} has no base model in transformers {transformers.__version__}"
        )
    takes = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if takes else {}


def _load_config(name: str) -> PretrainedConfig:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{name} has no config.json: expected a folder with config.json, model.safetensors and tokenizer files"
        )
    # A folder beside others, such as models/pretrained, is not asked for on the hub.
    beside = len(folder.parts) == 2 and folder.parent.is_dir()
    looks_local = folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or beside
    if not folder.exists() and looks_local and "/" in name:
        raise FileNotFoundError(f"encoder folder {name} does not exist: give an existing folder or a hub id")
    try:
        settings, _ = PretrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"encoder {name} is neither a local folder nor reachable on the Hugging Face hub ({_first_line(error)}). "
            "Offline, download it on another machine (`hf download NAME --local-dir FOLDER`) and give encoder=FOLDER"
        ) from error
    if settings.get("model_type"):
        return AutoConfig.from_pretrained(name)
    # Old releases name only the class that was saved: RoBERTa-wwm says BertForMaskedLM there, and BERT is what it is.
    for architecture in settings.get("architectures") or []:
        if config_class := getattr(getattr(transformers, architecture, None), "config_class", None):
            return config_class.from_dict(settings)
    raise ValueError(
        f'config.json of {name} has no model_type: add one, e.g. "model_type": "bert" (for RoBERTa-wwm and MacBERT too)'
    )


def _check_weights(name: str, config: PretrainedConfig, information: dict) -> None:
    """Refuse an encoder of which a part would start at random, or lost a part that it was trained with."""
    missing = sorted(key for key in information["missing_keys"] if not _HARMLESS_MISSING.search(key))
    unexpected = sorted(key for key in information["unexpected_keys"] if not _HARMLESS_UNEXPECTED.search(key))
    mismatched = sorted(
        f"{key} {tuple(ours)} for {tuple(theirs)}" for key, theirs, ours in information["mismatched_keys"]
    )
    if not (missing or unexpected or mismatched):
        return
    complaints = [
        f"{kind} {_some(keys)}"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
        if keys
    ]
    advice = "take a complete checkpoint, or correct config.json"
    families = {key.split(".")[0] for key in unexpected} & {"bert", "roberta", "ernie", "electra", "albert", "deberta"}
    if families and config.model_type not in families:
        advice = f'its weights are named like {families.pop()}\'s: correct "model_type" in config.json'
    raise ValueError(f"{name} does not fit model type {config.model_type}: weights {'; '.join(complaints)}. {advice}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
