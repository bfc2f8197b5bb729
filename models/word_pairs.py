"""Discontinuous entities: which word follows which in an entity, and where entities end, as relations of word pairs."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from common.text.labels import LabelScheme
from models.heads import HeadConfig
from models.taggers import WordHead

NONE, NEXT, FIRST_TYPE = 0, 1, 2
MOST_PATHS = 1000  # of one tail and head: a grid of noise has more ways through it than anybody would read


class WordPairConfig(HeadConfig):
    """Settings of `WordPairTagger`.

    types: entity types. pair_size: features of a pair. distance_size: features of the distance between its words.
    convolutions: dilations of the convolutions over the grid of pairs; empty for none. recurrent_size, layer_norm: as
    in `TaggerConfig`. Others: see `HeadConfig`.
    """

    model_type = "word_pairs"

    types: list[str] | tuple[str, ...] = ("a",)
    pair_size: int = 64
    distance_size: int = 16
    convolutions: list[int] | tuple[int, ...] = (1, 2, 3)
    recurrent_size: int = 0
    layer_norm: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        self.types = list(LabelScheme(tuple(self.types)).types)
        self.convolutions = list(self.convolutions)
        if min([self.pair_size, self.distance_size, *self.convolutions]) < 1:
            raise ValueError("pair_size, distance_size and every dilation must be at least 1")
        if self.recurrent_size % 2:
            raise ValueError(f"recurrent_size holds two directions and must be even, got {self.recurrent_size}")


@dataclass
class WordPairOutput(ModelOutput):
    """loss: scalar, with labels. logits (batch, words, words, 2 + types): above the diagonal [word, later word], if
    the later one is the next of an entity (class 1); on and below it [tail, head], the type of an entity that they end
    and begin (classes from 2); class 0 for neither."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class WordPairTagger(WordHead):
    """Words -> grid of pairs -> dilated convolutions -> next-neighbouring-word and tail-head-word relations.

    A small form of W2NER: pairs by sums of two projections and a distance embedding in place of conditional layer norms
    and three embeddings, and no biaffine beside the convolutions.
    Source: Li et al. 2022, "Unified Named Entity Recognition as Word-Word Relation Classification", section 3.
    """

    config_class = WordPairConfig

    def add_layers(self, config: WordPairConfig) -> None:
        """Create the words' layers, the pairs' projections, the convolutions and the classifier."""
        size = self.add_word_layers(config)
        self.first, self.second = nn.Linear(size, config.pair_size), nn.Linear(size, config.pair_size)
        # Signed powers of two: 20 classes of distance, as in the source.
        self.distance = nn.Embedding(20, config.distance_size)
        self.mix = nn.Linear(config.pair_size + config.distance_size, config.pair_size)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(config.pair_size, config.pair_size, 3, padding=dilation, dilation=dilation)
            for dilation in config.convolutions
        )
        self.classifier = nn.Linear(config.pair_size * (1 + len(config.convolutions)), FIRST_TYPE + len(config.types))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        word_positions: Tensor | None = None,
        pair_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> WordPairOutput:
        """Logits of every pair of words, and the loss where there are labels.

        input_ids, attention_mask, token_type_ids (batch, length); word_positions (batch, words), -1 for padding;
        pair_labels (batch, pairs, 3): word, word and class of each pair that is in a relation, as `word_pairs` gives
        them, -1 for padding.
        Returns `WordPairOutput`; the loss is the mean cross entropy of a row's pairs, averaged over rows with words.
        Raises ValueError without word_positions.
        """
        words = self.words(input_ids, attention_mask, token_type_ids, word_positions, inputs_embeds)
        inside = word_positions >= 0
        valid = inside[:, :, None] & inside[:, None, :]
        samples = torch.stack([self._grid(each, valid) for each in self.dropout(words)]).float()
        loss = None
        if pair_labels is not None:
            loss = self._loss(samples, pair_labels, valid)
        return WordPairOutput(loss=loss, logits=samples.mean(0))

    def _grid(self, words: Tensor, valid: Tensor) -> Tensor:
        """words (batch, words, features), valid (batch, words, words). Returns (batch, words, words, classes)."""
        places = torch.arange(words.shape[1], device=words.device)
        distances = self.distance(_distance_classes(places[:, None] - places)).expand(words.shape[0], -1, -1, -1)
        pairs = self.first(words)[:, :, None] + self.second(words)[:, None]
        pairs = F.gelu(self.mix(torch.cat([pairs, distances.to(pairs.dtype)], dim=-1)))
        # A convolution reads its neighbours: those outside the row must look like the padding around the grid.
        layers = [pairs.permute(0, 3, 1, 2) * valid[:, None]]
        for convolution in self.convolutions:
            layers.append(F.gelu(convolution(layers[-1])) * valid[:, None])
        return self.classifier(torch.cat(layers, dim=1).permute(0, 2, 3, 1))

    def _loss(self, samples: Tensor, pair_labels: Tensor, valid: Tensor) -> Tensor:
        """samples (samples, batch, words, words, classes), pair_labels (batch, pairs, 3), valid as `_grid` takes it."""
        targets = torch.zeros_like(valid, dtype=torch.long)
        rows, places = (pair_labels[..., 0] >= 0).nonzero().unbind(1)
        one, two, kind = pair_labels[rows, places].unbind(1)
        targets[rows, one, two] = kind
        losses = F.cross_entropy(samples.flatten(0, -2), targets.expand(samples.shape[:-1]).flatten(), reduction="none")
        losses = (losses.view(samples.shape[:-1]) * valid).sum((-1, -2)) / valid.sum((-1, -2)).clamp(min=1)
        return losses.sum() / (len(samples) * valid.any(-1).any(-1).sum().clamp(min=1))

    def _probabilities(self, **batch: Tensor) -> Tensor:
        """Class probabilities of every pair, (batch, words, words, 2 + types), zero at padding; at least float32."""
        inside = batch["word_positions"] >= 0
        return self(**batch).logits.softmax(-1) * (inside[:, :, None] & inside[:, None, :])[..., None]


def _distance_classes(distances: Tensor) -> Tensor:
    """Signed distances in classes by powers of two: 0, +-1, +-2 to 3, ... +-256 and more."""
    size = (distances.abs()[..., None] >= 2 ** torch.arange(9, device=distances.device)).sum(-1)
    return torch.where(distances < 0, size + 10, size)


def word_pairs(entities: list[tuple[list[int], int]]) -> list[tuple[int, int, int]]:
    """What the grid holds for entities.

    entities: the words of each, ascending, and its type index. Returns (word, word, class), each once; of two types for
    one tail and head the grid can hold but one, the last.
    """
    pairs: dict[tuple[int, int], int] = {}
    for words, kind in entities:
        pairs |= {pair: NEXT for pair in pairwise(words)}
        pairs[words[-1], words[0]] = FIRST_TYPE + kind
    return [(*pair, kind) for pair, kind in pairs.items()]


def decode_word_pairs(probabilities: Tensor) -> list[list[tuple[tuple[int, ...], int]]]:
    """Entities of a grid: every way along next words from a head to its tail.

    probabilities (batch, words, words, 2 + types), as `probabilities` gives them, zero at padding.
    Returns for each row its entities (words, type index) in order. Of the ways between one head and tail at most 1,000
    are followed.
    Source: Li et al. 2022, section 3.5.
    """
    best = probabilities.argmax(-1) * (probabilities.sum(-1) > 0)
    words = best.shape[1]
    later = torch.ones(words, words, dtype=torch.bool, device=best.device).triu(1)
    found: list[list[tuple[tuple[int, ...], int]]] = []
    for row in best:
        follows: dict[int, list[int]] = {}
        for word, after in ((row == NEXT) & later).nonzero().tolist():
            follows.setdefault(word, []).append(after)
        entities: list[tuple[tuple[int, ...], int]] = []
        for tail, head in ((row >= FIRST_TYPE) & ~later).nonzero().tolist():
            kind = int(row[tail, head]) - FIRST_TYPE
            entities += [(path, kind) for path in _paths(follows, head, tail)]
        found.append(sorted(entities))
    return found


def _paths(follows: dict[int, list[int]], head: int, tail: int) -> list[tuple[int, ...]]:
    """Ways from head to tail along next words."""
    finished, going = [], [(head,)]
    while going and len(finished) < MOST_PATHS:
        path = going.pop()
        if path[-1] == tail:
            finished.append(path)
        else:
            going += [(*path, after) for after in follows.get(path[-1], ()) if after <= tail]
    return finished
