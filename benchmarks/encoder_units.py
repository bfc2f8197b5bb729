"""Units of the encoder benchmark: one fit is a task, a start, a seed and a fold."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import tasks
from benchmarks.units import Unit
from common.run import table_digest

STARTS = ("baseline", "random", "pretrained")
# Guesses for the first estimate of time.
TOKENS_A_SECOND, BASELINE_SECONDS, OVERHEAD_SECONDS = 8000.0, 12.0, 3.0


@dataclass(frozen=True, kw_only=True)
class EncoderUnit(Unit):
    """start: of STARTS. seed: 0 for baselines, which have no chance in them. encoder: hub id or folder.

    data: folder of the data sets. rows: of each set, 0 for all.
    """

    task: str
    start: str
    seed: int
    fold: int
    encoder: str
    data: str
    rows: int

    @property
    def name(self) -> str:
        return f"{self.task} {self.start}" + (f" seed {self.seed}" if self.seed else "") + f" fold {self.fold}"

    def estimated_seconds(self) -> float:
        """From the tokens that it trains on."""
        if self.start == "baseline":
            return BASELINE_SECONDS
        train, _ = tasks.load(self.task, self.data, self.rows).split(self.fold)
        recipe = tasks.TASKS[self.task].recipe
        lengths = (
            train["tokens"].str.len() if "tokens" in train else train["source"].str.len() + train["target"].str.len()
        )
        return OVERHEAD_SECONDS + recipe.epochs * (lengths + 3).clip(upper=recipe.max_length).sum() / TOKENS_A_SECOND

    def measure(self) -> dict[str, Any]:
        task, data = tasks.TASKS[self.task], tasks.load(self.task, self.data, self.rows)
        train, held_out = data.split(self.fold)
        with tempfile.TemporaryDirectory() as scratch:
            if self.start == "baseline":
                from benchmarks import baselines

                predictions = baselines.predict(task, data.names, train, held_out, Path(scratch))
            else:
                from benchmarks import fine_tuning

                pretrained = self.start == "pretrained"
                found = fine_tuning.predict(
                    task, data.names, train, held_out, Path(scratch), self.encoder, pretrained, self.seed
                )
                predictions = {"encoder": found}
        facts = {"task": self.task, "start": self.start, "seed": self.seed, "fold": self.fold}
        return {**facts, "gold": tasks.gold(held_out), "predictions": predictions}


def plan(
    names: Sequence[str], starts: Sequence[str], seeds: Sequence[int], encoder: str, data: str, rows: int, folder: Path
) -> list[EncoderUnit]:
    """All units, start by start in the order of STARTS. Arguments as in EncoderUnit; folder: where their files are."""
    units = []
    identity = {start: identity_of(encoder, start) for start in STARTS if start in starts}
    for start, own in identity.items():
        # A new encoder is measured anew; what an older one scored stays beside it.
        place = f"{start}-{own['weights'][:12]}" if start == "pretrained" else start
        for name in names:
            loaded = tasks.load(name, data, rows)
            settings = {"data": table_digest(loaded.rows.assign(fold=loaded.fold)), **own}
            if start != "baseline":
                settings["recipe"] = asdict(tasks.TASKS[name].recipe)
            # As a file gives them back: it has no tuples, and only texts as keys.
            settings = json.loads(json.dumps(settings))
            for seed in seeds if start != "baseline" else (0,):
                for fold in loaded.folds:
                    path = folder / "units" / name / place / f"seed-{seed}-fold-{fold}.json"
                    units.append(EncoderUnit(
                        task=name, start=start, seed=seed, fold=fold, encoder=encoder, data=data, rows=rows,
                        settings=settings, path=path,
                    ))  # fmt: skip
    return units


def identity_of(encoder: str, start: str) -> dict[str, Any]:
    """What of an encoder decides results: nothing, architecture and vocabulary, or its weights too."""
    if start == "baseline":
        return {}
    from benchmarks.fine_tuning import StartText, dropout_of
    from models.encoders import load_encoder, load_encoder_config

    config = load_encoder_config(encoder, **dropout_of(encoder)).to_dict()
    said = ("transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path", "classifier_dropout")
    tokenizer = StartText(encoder, start == "pretrained").tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    own = {
        "architecture": {key: value for key, value in sorted(config.items()) if key not in said},
        "tokenizer": sha256(tokenizer.to_str().encode()).hexdigest(),
    }
    if start == "pretrained":
        digest = sha256()
        for name, value in sorted(load_encoder(encoder).state_dict().items()):
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes())
        own["weights"] = digest.hexdigest()
    return own
