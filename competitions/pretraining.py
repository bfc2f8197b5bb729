"""The pretrain stage, for any text and for a contest's own: settings, models and text put together."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

from common.config import ConfigError, read_config, resolved, typed
from common.contest import Contest
from common.logs import log, start_log
from common.processes import rank
from common.stages.pretrain import Models, PretrainConfig, pretrain
from common.text.corpus_files import write_corpus
from common.text.sentence_pairs import SENTENCE_PAIRS

DEFAULT = Path(__file__).parent / "config" / "pretrain.yaml"


def pretrain_text(files: list[Path], words: list[str]) -> Path:
    """Pretrains on text files: `python -m competitions pretrain corpus=FILES output_dir=OUT [key=value ...]`.

    files: YAML configs over config/pretrain.yaml. words: key=value settings over those. Returns the encoder's folder.
    """
    values = resolved(read_config([DEFAULT, *files], [_quoted(word) for word in words]))
    for key in ("corpus", "ordinary_text"):
        values[key] = _listed(values[key])
    config = typed(PretrainConfig, values)
    if not config.output_dir:
        raise ConfigError("output_dir is empty: say where the encoder goes, output_dir=outputs/pretrained")
    if rank() == 0:
        start_log(Path(config.output_dir))
    return pretrain(config, Models(_load_tokenizer, build_model))


def pretrain_contest(contest: Contest) -> Path:
    """Pretrains on all text of a contest, labels left out, with the settings under `pretrain` of its config.

    The text is that of labelled rows of every fold and of the test rows, as competitors have it; a score measured on
    held-out rows is one for text that the encoder has seen without labels. It goes on from the contest's `encoder`,
    unless `pretrain` names another or the architecture of a new one. Returns the encoder's folder.
    """
    run, asked = Path(contest.config.output_dir) / "pretrain", contest.config.pretrain
    own = {"tokenizer": contest.pretraining_tokenizer, "output_dir": str(run), "vocab_size": 0}
    if "architecture" not in asked:
        own["encoder"] = contest.config.encoder
    values = _merged(_merged(resolved(read_config([DEFAULT], [])), own), asked)
    if contest.config.smoke:
        values["training"] |= {"steps": 4, "batch_tokens": 64, "max_length": 32}
    values["corpus"] = _listed(values["corpus"])
    if not values["corpus"]:
        text = run / "corpus.txt"
        if rank() == 0:
            texts = contest.pretraining_texts()
            write_corpus(text, islice(texts, contest.config.max_rows) if contest.config.smoke else texts)
        _wait_for(text)
        values["corpus"] = [str(text)]
    values["ordinary_text"] = _listed(values["ordinary_text"])
    return pretrain(typed(PretrainConfig, values, "pretrain"), Models(_load_tokenizer, build_model))


def build_model(config: PretrainConfig, tokenizer: Any) -> Any:
    """The encoder to pretrain, loaded or new, with its head. Raises ConfigError when it cannot be made."""
    import torch

    from models.encoders import check_architecture, encoder_from_config, load_encoder, longest_input
    from models.pretraining import MaskedLM, set_dropout, use_plain_attention

    length = config.training.max_length
    try:
        if config.encoder:
            encoder, longest = load_encoder(config.encoder), longest_input(config.encoder)
        else:
            # Those of the default's kind stand there still where another was asked for.
            spare = resolved(read_config([DEFAULT], []))["architecture"]
            architecture = check_architecture(config.architecture, spare)
            settings = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
            # A place that is never trained would look like one that is.
            table = {"max_position_embeddings": length} if architecture["model_type"] != "roberta" else {}
            settings = table | architecture | settings
            longest, encoder = longest_input(settings), encoder_from_config(settings)
    except (OSError, ValueError, TypeError, KeyError) as error:
        where = f"encoder={config.encoder}" if config.encoder else "architecture"
        raise ConfigError(f"{where}: {error}") from None
    if length > longest:
        raise ConfigError(f"training.max_length={length}: the encoder takes at most {longest} tokens")
    if len(tokenizer) > encoder.get_input_embeddings().weight.shape[0]:
        raise ConfigError(f"the vocabulary has {len(tokenizer)} tokens, more than the encoder has embeddings")
    if not torch.cuda.is_available():
        use_plain_attention(encoder)
    classes = len(SENTENCE_PAIRS[config.sentence_pairs]) if config.sentence_pairs else 0
    model = MaskedLM.from_encoder(encoder, sentence_classes=classes)
    if length > 3 and not model.reads_both_sides():
        raise ConfigError(f"{encoder.config.model_type} does not read text on both sides of a token as encoders do: "
                          "choose another, say bert or nezha")  # fmt: skip
    if config.training.within_documents and not model.keeps_documents_apart():
        kind = encoder.config.model_type
        raise ConfigError(f"training.within_documents: {kind} cannot keep the documents of a row apart")
    if config.encoder and not model.load_head(config.encoder):
        log.info(f"{config.encoder} has no head for masked tokens: a new one is trained, which costs it at first")
    set_dropout(model, config.training.dropout)
    return model


def _load_tokenizer(name: str) -> Any:
    from competitions.tasks.text_settings import load_tokenizer

    return load_tokenizer(name)


def _quoted(word: str) -> str:
    """A name or pattern of files as text: YAML would read a leading * as something else."""
    key, _, value = word.partition("=")
    named = key in ("corpus", "ordinary_text") and value and not value.startswith("[")
    return f"{key}={json.dumps(value, ensure_ascii=False)}" if named else word


def _listed(names: Any) -> Any:
    """One name as a list of it."""
    return ([names] if names else []) if isinstance(names, str) else names


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, `above` over `below`."""
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def _wait_for(path: Path) -> None:
    """Under torchrun the first process writes the text while the others wait."""
    import time

    while rank() and not path.exists():
        time.sleep(1)
