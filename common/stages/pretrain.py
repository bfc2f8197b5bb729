"""pretrain: an encoder from text files, with its tokenizer, to be used as encoder=OUT/encoder."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import ConfigError, changed_keys, nearest, save_config
from common.files import DataError, atomic_path, read_json, write_json
from common.logs import log
from common.text.corpus_files import corpus_files, lines_of, text_names
from common.text.masking import MaskingConfig
from common.text.sentence_pairs import SENTENCE_PAIRS
from common.training.pretraining import PretrainingConfig

TOKENIZERS = ("character", "anonymised")
# Settings that change how a run goes, but nothing of what comes out of it.
PASSING = ("save_minutes", "save_steps", "workers", "evaluate_steps", "batch_tokens", "accumulation")
RAREST = 5  # times that a word occurs which MacBERT knows similar words of
MOST_NAMED = 20  # text files that have an accuracy of their own


@dataclass
class PretrainConfig:
    """One pretraining.

    corpus: text files, .txt or .txt.xz, or patterns of them; a sentence or paragraph a line, an empty line between
    documents. every_line: each line is a document. output_dir: what comes out: encoder/ and the rest.
    encoder: hub id or folder to go on from, with its vocabulary; empty for a new one by `architecture`.
    rank_mapping: for anonymised text (numbers joined by `_`), go on from `encoder` with its most frequent token for the
    corpus's most frequent number, and so on. ordinary_text: files that say how frequent the tokens of its vocabulary
    are; empty for the order of their ids, which is by frequency in vocabularies that the kit made, not in BERT's.
    architecture: model_type (bert, albert, nezha, ...) and its settings.
    tokenizer: of a new encoder: character (a vocabulary made from the corpus), anonymised (numbers joined by `_`), or
    the hub id or folder of one. vocab_size: at most this many tokens (0: every frequent one). min_frequency: a rarer
    token is [UNK].
    user_dictionary: words for jieba, which whole words come from.
    masking: the objective. vector_epochs: passes of the word vectors that MacBERT's similar words come from.
    sentence_pairs: also tell how two segments are related: order (ALBERT), next (BERT) or structure (StructBERT).
    half: store the encoder's weights in float16.
    training: how it is trained.
    """

    corpus: list[str] = field(default_factory=list)
    every_line: bool = False
    output_dir: str = ""
    encoder: str = ""
    rank_mapping: bool = False
    ordinary_text: list[str] = field(default_factory=list)
    architecture: dict[str, Any] = field(default_factory=lambda: {"model_type": "bert"})
    tokenizer: str = "character"
    vocab_size: int = 8000
    min_frequency: int = 2
    user_dictionary: str = ""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    vector_epochs: int = 1
    sentence_pairs: str = ""
    half: bool = False
    training: PretrainingConfig = field(default_factory=PretrainingConfig)

    def __post_init__(self) -> None:
        if self.rank_mapping and not self.encoder:
            raise ConfigError("rank_mapping goes on from a pretrained encoder: name it with encoder=")
        if self.sentence_pairs not in ("", *SENTENCE_PAIRS):
            raise ConfigError(
                f"sentence_pairs is {self.sentence_pairs!r}{nearest(self.sentence_pairs, SENTENCE_PAIRS)}"
            )
        if self.sentence_pairs and self.training.within_documents:
            raise ConfigError("sentence_pairs cannot keep documents apart: leave training.within_documents out")
        if self.vector_epochs < 1:
            raise ConfigError(f"vector_epochs is {self.vector_epochs}: expected at least 1")
        try:
            self.masking.shares()
        except ValueError as error:
            raise ConfigError(f"masking: {error}") from None


@dataclass(frozen=True)
class Models:
    """What pretraining needs of the models, which `common` does not know.

    tokenizer: loads one by hub id or folder. build: the model to train, for a config and the tokenizer.
    """

    tokenizer: Callable[[str], Any]
    build: Callable[[PretrainConfig, Any], Any]


def pretrain(config: PretrainConfig, models: Models) -> Path:
    """Pretrains an encoder; run again, it goes on where it was cut off, or keeps what is finished.

    Returns output_dir/encoder, which holds config.json, model.safetensors and the tokenizer; it is also there, and
    usable, from the first checkpoint on. Beside it: masked_lm/ (with the head), pretraining.json (steps, tokens,
    accuracy on held-out rows), loss.png, history.json, tensorboard/. Under torchrun all processes call this.
    Raises ConfigError for settings that do not fit, or others than those that output_dir was begun with, and DataError
    for text that cannot be read.
    """
    import numpy as np
    from transformers import set_seed
    from transformers.utils import logging

    from common.members.neural import last_whole_checkpoint
    from common.text.masking import Masker
    from common.training.pretraining import PretrainingTrainer, pretraining_arguments
    from common.training.pretraining_rows import MaskedRows, cut_rows

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder, training = Path(config.output_dir), config.training
    files = corpus_files(config.corpus)
    arguments = pretraining_arguments(training, folder / "checkpoints")
    first = arguments.process_index == 0
    with arguments.main_process_first(desc="text"):
        if _begin(folder, config, files, arguments):
            log.info(f"{folder / 'encoder'} is finished and kept")
            return folder / "encoder"
        tokenizer = _tokenizer(config, folder, files, models)
        if tokenizer.mask_token_id is None:
            raise ConfigError(f"the tokenizer of {config.encoder or config.tokenizer} has no mask token")
        # Before the text is cut into words, which may take an hour: what the model refuses is said now.
        set_seed(training.seed)
        model = models.build(config, tokenizer)
        store, rows = _rows(config, folder, files, tokenizer)
        similar = _similar_words(config, folder, store, tokenizer)
    try:
        masker = Masker(config.masking, tokenizer, similar)
        masked = MaskedRows(rows, masker, training.seed, training.within_documents)
        cut = cut_rows(rows, training.held_out, training.most_held_out)
        if config.sentence_pairs:
            rows.hold_out(np.concatenate(cut.held_out))
        held_out = dict(zip(text_names(files), cut.held_out, strict=True))
        if len(files) > MOST_NAMED:
            held_out = {"all": np.concatenate(cut.held_out)}
        trainer = PretrainingTrainer(model, training, arguments, masked, cut.train, held_out, folder)
    except ValueError as error:
        raise ConfigError(f"pretrain: {error}") from None
    trainer.add_callback(_keeping(lambda: first and _write_encoder(folder, model, tokenizer, config.half)))
    if first:
        if config.sentence_pairs:
            log.info(f"{len(rows.whole):,} of {len(rows):,} rows have two sentences or more, whose relation is told; "
                     "the others are read without")  # fmt: skip
        parameters = sum(value.numel() for value in model.parameters())
        log.info(f"{len(store):,} tokens in {len(rows):,} rows, {sum(map(len, cut.held_out))} of them held out; "
                 f"{len(tokenizer):,} tokens in the vocabulary, {parameters:,} parameters")  # fmt: skip
    arguments.distributed_state.wait_for_everyone()
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
    metrics = trainer.evaluate()
    if first:
        _finish(folder, config, trainer, tokenizer, metrics)
    arguments.distributed_state.wait_for_everyone()
    return folder / "encoder"


def _begin(folder: Path, config: PretrainConfig, files: list[Path], arguments: Any) -> bool:
    """Whether the run is finished. Raises ConfigError when its folder was begun with other settings."""
    from common.members.neural import last_whole_checkpoint

    settings = dataclasses.asdict(config)
    settings["corpus"] = [[file.name, file.stat().st_size] for file in files]
    del settings["output_dir"]
    for key in PASSING:
        del settings["training"][key]
    # However many processes and batches make it up.
    settings["training"]["rows_of_a_step"] = (
        arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    )
    stamp, finished = folder / "settings.json", (folder / "pretraining.json").exists()
    if stamp.exists() and (changes := changed_keys(read_json(stamp), settings)):
        if finished or last_whole_checkpoint(folder / "checkpoints"):
            raise ConfigError(
                f"{folder} was begun with other settings ({'; '.join(changes[:3])}): choose another output_dir, or "
                "delete that folder"
            )
        # Nothing was trained: the settings may have been what stood in its way.
        stamp.unlink()
        shutil.rmtree(folder / "tokenizer", ignore_errors=True)
        (folder / "similar_words.safetensors").unlink(missing_ok=True)
    if arguments.process_index == 0 and not stamp.exists():
        write_json(stamp, settings)
        save_config(folder / "config.yaml", config)
    return finished


def _tokenizer(config: PretrainConfig, folder: Path, files: list[Path], models: Models) -> Any:
    saved = folder / "tokenizer"
    if not saved.exists():
        made = _made_tokenizer(config, files, models)
        with atomic_path(saved) as draft:
            made.save_pretrained(draft)
    return models.tokenizer(str(saved))


def _made_tokenizer(config: PretrainConfig, files: list[Path], models: Models) -> Any:
    from common.text.anonymised import anonymised_tokenizer, frequency_order, is_unused, rank_mapped_tokenizer
    from common.text.vocabulary import character_tokenizer

    name, rarest = config.encoder or config.tokenizer, config.min_frequency
    if name not in TOKENIZERS:
        if not config.encoder and "did you mean" in (hint := nearest(name, TOKENIZERS)) and not Path(name).exists():
            raise ConfigError(f"tokenizer={name} is no folder{hint}")
        try:
            pretrained = models.tokenizer(name)
        except ConfigError as error:
            raise ConfigError(
                str(error) if config.encoder else str(error).replace("encoder=", "tokenizer=", 1)
            ) from None
        if not config.rank_mapping:
            if config.tokenizer == "anonymised" and len(pretrained.tokenize("1_2")) != 2:
                raise ConfigError(f"encoder={config.encoder} reads ordinary text and the text is numbers joined by _: "
                                  f"set rank_mapping=true, or leave encoder out to train a new one")  # fmt: skip
            return pretrained
    try:
        if config.rank_mapping:
            order = None
            if config.ordinary_text:
                order = frequency_order(pretrained, lines_of(corpus_files(config.ordinary_text)))
            elif any(map(is_unused, pretrained.get_vocab())):
                log.info(f"{config.encoder}: its vocabulary is not in order of frequency, which rank_mapping takes it "
                         "for; ordinary_text=FILES would say how frequent its tokens are")  # fmt: skip
            return rank_mapped_tokenizer(lines_of(files), pretrained, order, rarest)
        if name == "anonymised":
            return anonymised_tokenizer(lines_of(files), rarest, size=config.vocab_size or None)
        return character_tokenizer(lines_of(files), rarest, config.vocab_size or None)
    except DataError:
        raise
    except ValueError as error:
        raise ConfigError(f"the vocabulary (vocab_size={config.vocab_size}, min_frequency={rarest}): {error}") from None


def _rows(config: PretrainConfig, folder: Path, files: list[Path], tokenizer: Any) -> tuple[Any, Any]:
    from common.text.packing import PackedRows
    from common.text.segmentation import Segmenter
    from common.text.sentence_pairs import SegmentPairs
    from common.text.token_store import build_token_store
    from common.text.tokenization import WholeWordTokenizer

    length = config.training.max_length
    try:
        words = WholeWordTokenizer(tokenizer, Segmenter(config.user_dictionary or None))
        store = build_token_store(files, words, folder / "tokens", config.every_line)
        if config.sentence_pairs:
            return store, SegmentPairs(store, tokenizer, length, config.sentence_pairs)
        return store, PackedRows(store, tokenizer, length)
    except DataError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"pretrain: {error}") from None


def _similar_words(config: PretrainConfig, folder: Path, store: Any, tokenizer: Any) -> Any:
    if config.masking.objective != "macbert":
        return None
    from common.text.similar_words import SimilarWords
    from common.text.token_store import StoredSentences
    from common.text.word_vectors import train_word_vectors

    path = folder / "similar_words.safetensors"
    if not path.exists():
        log.info("word vectors for similar words")
        sentences = StoredSentences(store, tokenizer)
        try:
            vectors = train_word_vectors(
                sentences, epochs=config.vector_epochs, min_count=RAREST, seed=config.training.seed
            )
        except ValueError:
            raise ConfigError(f"masking.objective=macbert: no word occurs {RAREST} times, so that none has similar "
                              "ones: give more text, or mask words, masking.objective=word") from None  # fmt: skip
        try:
            similar = SimilarWords.of(vectors, tokenizer)
        except ValueError as error:
            raise ConfigError(f"masking.objective=macbert: {error}") from None
        similar.save(path)
    return SimilarWords.load(path)


def _keeping(keep: Callable[[], Any]) -> Any:
    """A callback that does something at every checkpoint."""
    from transformers import TrainerCallback

    class Keeping(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            keep()

    return Keeping()


def _write_encoder(folder: Path, model: Any, tokenizer: Any, half: bool) -> None:
    import torch

    with atomic_path(folder / "encoder") as draft:
        model.save_encoder(draft, torch.float16 if half else None)
        tokenizer.save_pretrained(draft)


def _finish(folder: Path, config: PretrainConfig, trainer: Any, tokenizer: Any, metrics: dict[str, float]) -> None:
    from common.training.pretraining import draw_losses

    arguments = trainer.args
    rows = trainer.state.global_step * arguments.train_batch_size * arguments.gradient_accumulation_steps
    _write_encoder(folder, trainer.model, tokenizer, config.half)
    with atomic_path(folder / "masked_lm") as draft:
        trainer.model.save_pretrained(draft)
    write_json(folder / "history.json", trainer.state.log_history)
    draw_losses(trainer.state.log_history, folder / "loss.png")
    facts = {
        "steps": trainer.state.global_step,
        "tokens": round(rows * arguments.world_size * trainer.row_tokens),
        "parameters": sum(value.numel() for value in trainer.model.encoder.parameters()),
        **{key.removeprefix("eval_"): value for key, value in metrics.items()},
    }
    write_json(folder / "pretraining.json", facts)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    accuracy = facts.get("accuracy")
    held_out = "" if accuracy is None else f", held-out accuracy {accuracy:.4f}"
    log.info(f"{facts['tokens']:,} tokens in {facts['steps']:,} steps{held_out}; use it: encoder={folder / 'encoder'}")
