"""Scores of extractive reading comprehension, counted as CMRC 2018's own scorer counts them."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

# The scorer's list also has "……", two characters that it compares with one at a time: "…" stays.
PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE_OR_RUN = re.compile(r"[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# Words of letters alone that the Treebank tokenizer takes apart.
_CONTRACTIONS = {"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"}


def plain_answer(text: str) -> str:
    """An answer in lower case, without white space around it and without the scorer's punctuation."""
    return "".join(char for char in text.lower().strip() if char not in PUNCTUATION)


def answer_segments(text: str) -> list[str]:
    """What F1 counts: Chinese characters (U+4E00 to U+9FA5) one by one, everything else in Penn Treebank tokens.

    text: an answer. Its punctuation is dropped first, so that words that it joins become one: "wi-fi" is "wifi".
    Returns the segments in order. nltk's `word_tokenize` cuts sentences by a trained model, which is not at hand: here
    a sentence ends at ".", "!" or "?" before white space, after an abbreviation too.
    Source: cmrc2018_evaluate.py, version 5 (Cui et al. 2019, "A Span-Extraction Dataset for Chinese Machine Reading
    Comprehension").
    """
    segments: list[str] = []
    for part in _CHINESE_OR_RUN.findall(plain_answer(text)):
        segments += [part] if "\u4e00" <= part[0] <= "\u9fa5" else _treebank_tokens(part)
    return segments


def _treebank_tokens(text: str) -> list[str]:
    words = text.split()
    # nltk takes a second to import: numbers and plain words do not need it.
    if all(word.isalnum() for word in words) and _CONTRACTIONS.isdisjoint(words):
        return words
    return [token for sentence in _SENTENCE_END.split(text) for token in _tokenizer().tokenize(sentence)]


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def longest_common_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest run of neighbours that both sequences have (a common substring, not a subsequence)."""
    longest, lengths = 0, [0] * (len(other) + 1)
    for item in one:
        before = 0
        for place, match in enumerate(other, start=1):
            before, lengths[place] = lengths[place], before + 1 if item == match else 0
        longest = max(longest, *lengths)
    return longest


def answer_f1(answers: Sequence[str], prediction: str) -> float:
    """F1 of the longest common run of segments, against the answer for which it is best.

    answers: all that count as right; none for a question without an answer, whose right prediction is "".
    Returns 0 to 1.
    """
    if not answers:
        return float(prediction == "")
    found, best = answer_segments(prediction), 0.0
    for answer in answers:
        wanted = answer_segments(answer)
        if shared := longest_common_run(wanted, found):
            best = max(best, 2 * shared / (len(wanted) + len(found)))
    return best


def answer_exact_match(answers: Sequence[str], prediction: str) -> float:
    """1 if a prediction is one of the answers, by `plain_answer` (white space inside counts), else 0.

    answers: as in `answer_f1`.
    """
    if not answers:
        return float(prediction == "")
    return float(plain_answer(prediction) in {plain_answer(answer) for answer in answers})


def reading_scores(gold: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
    """Mean F1 and exact match over questions, 0 to 1, and as `score` the mean of the two.

    gold: the answers of each question, none where it has no answer. predictions: "" for no answer; None for a question
    that was left out, which scores 0.
    Raises ValueError when the numbers of questions differ.
    """
    if len(gold) != len(predictions):
        raise ValueError(f"{len(gold)} questions but {len(predictions)} predictions")
    pairs = [(answers, found) for answers, found in zip(gold, predictions, strict=True) if found is not None]
    f1 = sum(answer_f1(*pair) for pair in pairs) / max(len(gold), 1)
    exact = sum(answer_exact_match(*pair) for pair in pairs) / max(len(gold), 1)
    return {"score": (f1 + exact) / 2, "f1": f1, "exact_match": exact}
