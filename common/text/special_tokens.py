"""Special tokens: those of a new tokenizer, and where any tokenizer puts its own around one text or a pair."""

from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from common.text.pieces import plain, require_fast
from common.text.ragged import slices, starts_of

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def with_special_tokens(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A new tokenizer with BERT's special tokens, ready for every BERT-like model.

    tokenizer: its vocabulary holds SPECIAL_TOKENS. A single text becomes [CLS] A [SEP], a pair [CLS] A [SEP] B [SEP]
    with token type 1 for the second part.
    """
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def special_ids_of(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Which ids are special tokens, [UNK] included; bool (highest id + 1,)."""
    special = tokenizer.all_special_ids
    flags = np.zeros(max(*tokenizer.get_vocab().values(), *special) + 1, dtype=bool)
    flags[special] = True
    return flags


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens of one tokenizer, for one text (`single`) and for two (`pair`).

    single: ids before and after the text. pair: ids before, between and after the texts.
    pair_types: token types of the three parts of `pair`; text_types: token types of the two texts.
    uses_types: whether the second text has another type than the first, which is when a model reads token_type_ids.
        transformers 5 leaves them out of `model_input_names` of ALBERT and RoFormer, whose models have them.
    """

    single: tuple[np.ndarray, np.ndarray]
    pair: tuple[np.ndarray, np.ndarray, np.ndarray]
    pair_types: tuple[np.ndarray, np.ndarray, np.ndarray]
    text_types: tuple[int, int]

    @property
    def uses_types(self) -> bool:
        return self.text_types[0] != self.text_types[1]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> "SpecialTokens":
        """Reads the special tokens of a tokenizer.

        transformers 5 has no `build_inputs_with_special_tokens` for fast tokenizers, so two probe texts go through the
        post-processor. Raises TypeError for a tokenizer that is not fast, ValueError when no probe text gives a token.
        """
        require_fast(tokenizer)
        with plain(tokenizer) as backend:

            def probe(text: str) -> Encoding:
                return backend.encode(text, add_special_tokens=False)

            text = next((text for text in ("的", "a", "1") if probe(text).ids), None)
            if text is None:
                raise ValueError("the tokenizer turns every text into nothing: check its vocabulary and pre-tokenizer")
            # The post-processor may change its arguments, so each gets an encoding of its own.
            one = backend.post_process(probe(text))
            two = backend.post_process(probe(text), probe(text))
            size = len(probe(text).ids)
        start, stop, _, _ = _bounds(one.special_tokens_mask, size)
        a, b, c, d = _bounds(two.special_tokens_mask, size)
        ids, types = np.array(two.ids, np.int64), np.array(two.type_ids, np.int64)
        single = np.array(one.ids, np.int64)
        return cls(
            single=(single[:start], single[stop:]),
            pair=(ids[:a], ids[b:c], ids[d:]),
            pair_types=(types[:a], types[b:c], types[d:]),
            text_types=(int(types[a]), int(types[c])),
        )

    def around(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Puts the special tokens of a single text around every row.

        ids: (tokens,) of all rows. lengths: (rows,). Returns the longer ids and lengths in the same form.
        """
        before, after = self.single
        longer = lengths + len(before) + len(after)
        starts = starts_of(longer)
        out = np.empty(int(longer.sum()), dtype=np.int64)
        out[slices(starts + len(before), lengths)] = ids
        out[starts[:, None] + np.arange(len(before))] = before
        out[(starts + longer - len(after))[:, None] + np.arange(len(after))] = after
        return out, longer


def _bounds(special: list[int], size: int) -> tuple[int, int, int, int]:
    """Start and stop of the first text, which has `size` of the places that are not special, and of the second."""
    places = np.flatnonzero(np.array(special) == 0).tolist()
    first, second = places[:size], places[size:] or [-1]
    return first[0], first[-1] + 1, second[0], second[-1] + 1
