"""A member that marks entities by a conditional random field over sparse features of tokens and their neighbours."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import pycrfsuite

from common.files import DataError, atomic_path, existing, read_json, write_json
from common.logs import log
from common.text.entity_lexicon import EntityLexicon
from common.text.labels import LabelScheme, Span

REPORT_SECONDS = 15
MODEL, SETTINGS, CLUSTERS, LEXICON = "crf.model", "crf.json", "clusters.json", "lexicon.json"
# What a feature looks at, relative to its token.
PAIRS = {"-1_0": (-1, 0), "0_1": (0, 1)}
SINGLES = {str(place): (place,) for place in range(-2, 3)}
TOKEN_PLACES = [("w" + name, places) for name, places in {**SINGLES, **PAIRS}.items()]
CLUSTER_PLACES = [("c" + name, places) for name, places in {**SINGLES, **PAIRS, "-1_0_1": (-1, 0, 1)}.items()]
SHAPE_PLACES = [("k" + name, places) for name, places in {**PAIRS, "0": (0,), "-1_0_1": (-1, 0, 1)}.items()]


@dataclass
class SparseCrfSettings:
    """Settings of a SparseCrf.

    c1, c2: L1 and L2 penalty. iterations: of L-BFGS at most. min_frequency: features seen less often are left out.
    clusters: groups of tokens by the company they keep, from word vectors of training and unlabelled text; 0 for none.
    cluster_lines: at most this many lines of text for the word vectors. cluster_epochs: passes over them.
    lexicon: tokens of the longest entity in the lexicon of training entities; 0 for no lexicon.
    characters: adds what a token is made of (kind of its characters, first and last one); useless where tokens are
        arbitrary numbers. seed: of the clusters; the CRF itself has no chance in it.
    """

    c1: float = 0.05
    c2: float = 0.02
    iterations: int = 65
    min_frequency: int = 0
    clusters: int = 200
    cluster_lines: int = 100_000
    cluster_epochs: int = 10
    lexicon: int = 8
    characters: bool = False
    seed: int = 1


class SparseCrf:
    """Tag marginals from crfsuite.

    Rows have tokens (list of str) and, to fit, spans (list of (start, end, type)). scheme: the tags to score.
    It is always trained in BIOES, which tells it more; for BIO the marginals of B and S are added up, as of I and E.

    Source: Lafferty, McCallum and Pereira 2001; crfsuite (Okazaki 2007); word clusters as features as in Turian,
    Ratinov and Bengio 2010, section 3.
    """

    def __init__(self, settings: SparseCrfSettings, scheme: LabelScheme) -> None:
        self.settings, self.scheme = settings, scheme
        self.clusters: dict[str, str] = {}
        self.lexicon = EntityLexicon()
        self.tagger: Any = None

    def fit(
        self, train: pd.DataFrame, held_out: pd.DataFrame | None, unlabelled: Iterable[Sequence[str]], folder: Path
    ) -> dict[str, Any]:
        """Fits on `train`, the clusters on its and the unlabelled text; saves into `folder`. Ignores `held_out`.

        Returns {"iterations", "loss"}: L-BFGS steps made and the penalised loss after them. Raises DataError without
        rows.
        """
        if not len(train):
            raise DataError(
                "there are no training rows", expected="at least one labelled line", action="check data_dir"
            )
        settings, trained_in = self.settings, LabelScheme(self.scheme.types, "BIOES")
        self.clusters = self._fit_clusters(train["tokens"], unlabelled) if settings.clusters else {}
        gold = [[tuple(span) for span in spans] for spans in train["spans"]]
        if settings.lexicon:
            self.lexicon = EntityLexicon.count(train["tokens"], gold, settings.lexicon)
        trainer = _Trainer(settings.iterations)
        trainer.select("lbfgs")
        trainer.set_params(
            {"c1": settings.c1, "c2": settings.c2, "max_iterations": settings.iterations,
             "feature.minfreq": settings.min_frequency, "feature.possible_transitions": True}
        )  # fmt: skip
        for tokens, spans in zip(train["tokens"], gold, strict=True):
            tags = trained_in.encode(spans, len(tokens))
            sequence = pycrfsuite.ItemSequence(self.features(tokens, spans))
            trainer.append(sequence, [trained_in.tags[tag] for tag in tags])
        with atomic_path(folder / MODEL) as draft:
            trainer.train(str(draft))
        write_json(folder / CLUSTERS, self.clusters)
        write_json(folder / LEXICON, self.lexicon.state())
        write_json(folder / SETTINGS, {"settings": asdict(settings), "scheme": asdict(self.scheme)})
        self._open(folder)
        return {"iterations": trainer.iterations, "loss": trainer.loss}

    def scores(self, rows: pd.DataFrame) -> list[np.ndarray]:
        """Marginal probabilities of the tags of `scheme` for each row's tokens; a list of float32 (tokens, tags).

        A tag that no training row has gets 0. Raises RuntimeError before `fit` or `restore`.
        """
        if self.tagger is None:
            raise RuntimeError("SparseCrf.scores was called before fit or restore")
        labels = self.tagger.labels()
        columns = np.zeros((len(labels), len(self.scheme.tags)), np.float32)
        for row, label in enumerate(labels):
            columns[row, self.scheme.tags.index(self._own_tag(label))] = 1.0
        results, last = [], monotonic()
        for done, tokens in enumerate(rows["tokens"]):
            self.tagger.set(pycrfsuite.ItemSequence(self.features(tokens)))
            # crfsuite runs forward-backward once a sequence and keeps it: each of these calls only looks a number up.
            marginals = [self.tagger.marginal(label, place) for place in range(len(tokens)) for label in labels]
            results.append(np.array(marginals, np.float32).reshape(len(tokens), len(labels)) @ columns)
            if monotonic() - last > REPORT_SECONDS:
                last = monotonic()
                log.info(f"  sparse CRF scored {done + 1} of {len(rows)} lines")
        return results

    def restore(self, folder: Path) -> "SparseCrf":
        """Loads what `fit` saved, settings and scheme included; returns itself."""
        state = read_json(folder / SETTINGS)
        self.settings = SparseCrfSettings(**state["settings"])
        self.scheme = LabelScheme(tuple(state["scheme"]["types"]), state["scheme"]["scheme"])
        self.clusters = read_json(folder / CLUSTERS)
        self.lexicon = EntityLexicon(**read_json(folder / LEXICON))
        self._open(folder)
        return self

    @classmethod
    def load(cls, folder: Path) -> "SparseCrf":
        """The CRF that `fit` saved in `folder`."""
        state = read_json(folder / SETTINGS)["scheme"]
        return cls(SparseCrfSettings(), LabelScheme(tuple(state["types"]), state["scheme"])).restore(folder)

    def features(self, tokens: Sequence[str], spans: Sequence[Span] | None = None) -> list[list[str]]:
        """The names of the features of each token of a line. spans: its entities, when it is one that was fitted on."""
        length = len(tokens)
        padded = _padded(tokens)
        columns = [_named(name, padded, place, length) for name, place in TOKEN_PLACES]
        if self.clusters:
            groups = _padded([self.clusters.get(token, "?") for token in tokens])
            columns += [_named(name, groups, place, length) for name, place in CLUSTER_PLACES]
            # A token beside a group: between two tokens, which are rarely seen twice, and two groups, which say little.
            before, after = groups[1 : 1 + length], groups[3 : 3 + length]
            columns.append([f"cw={group}_{token}" for group, token in zip(before, tokens, strict=True)])
            columns.append([f"wc={token}_{group}" for token, group in zip(tokens, after, strict=True)])
        if self.settings.characters:
            shapes = _padded([_shape(token) for token in tokens])
            columns += [_named(name, shapes, place, length) for name, place in SHAPE_PLACES]
            columns += [["first=" + token[:1] for token in tokens], ["last=" + token[-1:] for token in tokens]]
        lines = list(map(list, zip(*columns, strict=True)))
        if self.settings.lexicon:
            for line, known in zip(lines, self.lexicon.features(tokens, spans), strict=True):
                line += known
        if lines:
            lines[0].append("begins")
            lines[-1].append("ends")
        return lines

    def _fit_clusters(self, lines: Iterable[Sequence[str]], unlabelled: Iterable[Sequence[str]]) -> dict[str, str]:
        """Groups of tokens by their word vectors: token -> number of its group. Tokens seen once have none."""
        from gensim.models import Word2Vec
        from sklearn.cluster import MiniBatchKMeans

        settings = self.settings
        # The labelled lines first: they are what the clusters have to tell apart.
        text = [list(line) for line in islice(chain(lines, unlabelled), settings.cluster_lines)]
        # One worker: with more the result depends on thread timing.
        model = Word2Vec(vector_size=100, window=3, min_count=2, sg=1, workers=1, seed=settings.seed)
        model.build_vocab(text)
        if len(model.wv) <= settings.clusters:
            return {}
        log.info(f"  word vectors of {len(model.wv)} tokens from {len(text)} lines")
        model.train(text, total_examples=len(text), epochs=settings.cluster_epochs)
        vectors = model.wv.get_normed_vectors()
        kmeans = MiniBatchKMeans(settings.clusters, random_state=settings.seed, n_init=3, batch_size=2048)
        groups = kmeans.fit_predict(vectors)
        return {token: str(group) for token, group in zip(model.wv.index_to_key, groups, strict=True)}

    def _own_tag(self, label: str) -> str:
        """The tag of `scheme` that a BIOES label stands for."""
        if self.scheme.scheme == "BIO":
            return {"S": "B", "E": "I"}.get(label[0], label[0]) + label[1:]
        return label

    def _open(self, folder: Path) -> None:
        path = existing(folder / MODEL, "a fitted CRF", "run the train stage again")
        self.tagger = pycrfsuite.Tagger()
        self.tagger.open(str(path))


class _Trainer(pycrfsuite.Trainer):
    """crfsuite's trainer, which says now and then how far it is."""

    def __init__(self, limit: int) -> None:
        super().__init__(verbose=False)
        self.limit, self.iterations, self.loss, self.last = limit, 0, 0.0, monotonic()

    def message(self, message: str) -> None:
        if message.startswith("***** Iteration"):
            self.iterations += 1
        elif message.startswith("Loss:"):
            self.loss = float(message.split()[-1])
            if monotonic() - self.last > REPORT_SECONDS:
                self.last = monotonic()
                log.info(f"  sparse CRF iteration {self.iterations} of at most {self.limit}  loss {self.loss:.0f}")


def _padded(values: Sequence[str]) -> list[str]:
    return ["<2", "<1", *values, ">1", ">2"]


def _named(name: str, padded: list[str], places: tuple[int, ...], length: int) -> list[str]:
    """One feature for every token: the values at `places` relative to it, under a name."""
    shifted = (padded[2 + place : 2 + place + length] for place in places)
    return [name + "=" + "_".join(values) for values in zip(*shifted, strict=True)]


def _shape(token: str) -> str:
    """The kinds of a token's characters, a run of one kind written once: "iPhone12" is "aAa0", "北京" is "x"."""
    kinds = ("0" if c.isdigit() else "A" if c.isupper() else "a" if c.isascii() and c.isalpha() else
             "x" if c.isalpha() else "." for c in token)  # fmt: skip
    return "".join(kind for kind, _ in groupby(kinds))
