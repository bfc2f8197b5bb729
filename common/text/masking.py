"""Masked language modelling: which tokens are masked and what stands in their place, drawn anew at every call."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from common.text.masking_units import ONE_TO_FIVE, ONE_TO_FOUR, Units, draw_units, geometric_shares, units_of
from common.text.ragged import slices
from common.text.similar_words import SimilarWords
from common.text.special_tokens import special_ids_of

OBJECTIVES = ("token", "word", "ngram", "span", "macbert")


@dataclass
class MaskingConfig:
    """A masking objective.

    objective: what is masked as one piece, and at what level the replacement is drawn:
        token: a token; drawn by token (BERT).
        word: a whole word; drawn by token (BERT-wwm).
        ngram: 1 to 5 whole words by ngram_shares; drawn by token.
        span: a span of whole words, its length from a clipped geometric distribution; drawn by span (SpanBERT).
        macbert: 1 to 4 whole words by ngram_shares; drawn by word, with a similar word in place of [MASK] (MacBERT).
    rate: share of the tokens that are masked, special tokens and padding not counted.
    mask_share, random_share: of what is masked, how much becomes [MASK] (or a similar word) and how much something
        random; the rest stays as it is and is predicted all the same.
    whole_words: false makes every token a word of its own, as for anonymised text.
    ngram_shares: of 1-grams, 2-grams, ... among all n-grams, for ngram and macbert; empty for 0.15, 0.2, 0.3, 0.2, 0.15
        and 0.4, 0.3, 0.2, 0.1. [0, 0.5, 0.5] is the mixture of 2- and 3-grams.
    span_probability, longest_span: of the geometric distribution, in words.
    """

    objective: str = "word"
    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    whole_words: bool = True
    ngram_shares: list[float] = field(default_factory=list)
    span_probability: float = 0.2
    longest_span: int = 10

    def shares(self) -> tuple[float, ...]:
        """Shares of 1-grams, 2-grams, ... that the objective masks. Raises ValueError for settings out of range."""
        self.check()
        if self.objective == "span":
            return geometric_shares(self.span_probability, self.longest_span)
        own = tuple(self.ngram_shares)
        return {"ngram": own or ONE_TO_FIVE, "macbert": own or ONE_TO_FOUR}.get(self.objective, (1.0,))

    def check(self) -> None:
        """Raises ValueError for an unknown objective or a share out of range."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective={self.objective!r} is no masking objective: known are {', '.join(OBJECTIVES)}")
        if not 0 < self.rate < 1:
            raise ValueError(f"rate={self.rate} is no share of tokens: expected more than 0 and less than 1, say 0.15")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"mask_share={self.mask_share} and random_share={self.random_share}: expected shares that sum to at "
                "most 1, say 0.8 and 0.1"
            )
        shares = self.ngram_shares
        if shares and (min(shares) < 0 or abs(sum(shares) - 1) > 1e-6):
            raise ValueError(f"ngram_shares={list(shares)}: expected shares of 1-grams, 2-grams, ... that sum to 1")


class Masked(NamedTuple):
    """A masked batch.

    input_ids: int64 (rows, length). positions: int64 (n,), what is to be predicted, as places in the flattened batch,
    ascending. labels: int64 (n,), the tokens that stood there.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


class Masker:
    """Masks batches by one objective.

    config: the objective. tokenizer: its special tokens are never masked and never put in; it has a mask token.
    similar: the words that MacBERT's objective puts in; needed for it alone.

    Every token is masked with probability `rate` exactly, whatever the row and the length of its word; a row's number
    of units (tokens, words, n-grams, spans) is that share of them, rounded up or down at random. [UNK] counts as
    special: there is nothing to learn from predicting it.
    Raises ValueError for settings out of range, a tokenizer without a mask token, or macbert without similar words.
    Sources: Devlin et al. 2019, BERT, section 3.1; Cui et al. 2021, Pre-Training with Whole Word Masking for Chinese
    BERT, sections 3.1 and 4; Joshi et al. 2020, SpanBERT, section 3.1; Cui et al. 2020, Revisiting Pre-Trained Models
    for Chinese NLP (MacBERT), section 4; Liu et al. 2019, RoBERTa, section 4.1 (masks drawn at every pass).
    """

    def __init__(
        self, config: MaskingConfig, tokenizer: PreTrainedTokenizerFast, similar: SimilarWords | None = None
    ) -> None:
        self.config, self.similar = config, similar
        self.shares = config.shares()
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token: set tokenizer.mask_token to one of its vocabulary")
        if config.objective == "macbert" and similar is None:
            raise ValueError("objective=macbert puts similar words in: give the Masker its SimilarWords")
        self.mask_id = int(tokenizer.mask_token_id)
        self.special = special_ids_of(tokenizer)
        ids = np.unique(np.fromiter(tokenizer.get_vocab().values(), np.int64))
        self.ordinary = ids[~self.special[ids]]

    def __call__(self, input_ids: np.ndarray, word_ids: np.ndarray, random: np.random.Generator) -> Masked:
        """Masks one batch.

        input_ids: int (rows, length). word_ids: int (rows, length), equal for neighbouring tokens of one word, -1 for
        special tokens and padding. random: what all is drawn from; the same state gives the same masks.
        Returns Masked; the given arrays stay as they are. Raises ValueError when the two shapes differ.
        """
        if input_ids.shape != word_ids.shape or input_ids.ndim != 2:
            raise ValueError(f"input_ids {input_ids.shape} and word_ids {word_ids.shape}: expected one (rows, length)")
        word_ids = np.where(self.special[input_ids], -1, word_ids)
        units = units_of(word_ids, self.shares, random, self.config.whole_words and self.config.objective != "token")
        drawn = np.flatnonzero(draw_units(units, self.config.rate, random))
        chosen = slices(units.begins[drawn], units.sizes[drawn])
        positions = units.tokens[chosen]
        out = np.array(input_ids, dtype=np.int64).ravel()
        labels = out[positions]
        if self.config.objective == "macbert":
            out[positions] = self._corrected(units, chosen, labels, random)
        else:
            whole = self.config.objective == "span"
            out[positions] = self._replaced(labels, units.sizes[drawn] if whole else None, random)
        return Masked(out.reshape(input_ids.shape), positions, labels)

    def _replaced(self, labels: np.ndarray, sizes: np.ndarray | None, random: np.random.Generator) -> np.ndarray:
        """[MASK], a random token or the token itself, drawn for each token, or once for each span of `sizes`."""
        fate = random.random(len(labels) if sizes is None else len(sizes))
        fate = fate if sizes is None else np.repeat(fate, sizes)
        anything = self._anything(len(labels), random)
        kept = np.where(fate < self.config.mask_share + self.config.random_share, anything, labels)
        return np.where(fate < self.config.mask_share, self.mask_id, kept)

    def _corrected(
        self, units: Units, chosen: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """A similar word, a random word or the word itself, drawn for each word; a word without a similar one becomes
        a random word."""
        begins = np.flatnonzero(np.isin(chosen, units.words, assume_unique=True))
        widths = np.diff(begins, append=len(chosen))
        fate = random.random(len(begins))
        out = labels.copy()
        changed = np.flatnonzero(fate < self.config.mask_share + self.config.random_share)
        for width in np.unique(widths[changed]).tolist():
            words = changed[widths[changed] == width]
            places = begins[words][:, None] + np.arange(width)
            wanted = fate[words] < self.config.mask_share
            pieces, found = self.similar.like(labels[places], random)
            anything = self.similar.any_words(len(words), width, random)
            if anything is None:
                anything = self._anything(len(words) * width, random).reshape(len(words), width)
            out[places] = np.where((wanted & found)[:, None], pieces, anything)
        return out

    def _anything(self, count: int, random: np.random.Generator) -> np.ndarray:
        return self.ordinary[random.integers(len(self.ordinary), size=count)]
