"""Questions over long passages: windows that a model can read, and answers back as characters of the passage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.text.ragged import split
from common.text.tokenization import Encoding, WholeWordTokenizer
from common.text.windows import merge_windows, windows

Answer = tuple[int, int, float]


@dataclass(frozen=True, eq=False)
class ReadingWindows:
    """Question and passage pairs as windows of one length at most.

    columns: of each window input_ids, attention_mask, passage_mask (1 for the passage's tokens) and, where the
        tokenizer has two types, token_type_ids; int64 (tokens,) each.
    owners: int64 (windows, 4): its row, the passage's first token, last token + 1, and where in the window that first
        token stands.
    passages: the passage of each row as tokens.
    """

    columns: dict[str, list[np.ndarray]]
    owners: np.ndarray
    passages: list[Encoding]

    def labels(self, answers: Sequence[tuple[int, int] | None]) -> dict[str, np.ndarray]:
        """Where in each window the answer stands.

        answers: of each row (start, end) in characters of the passage, `end` exclusive; None where there is none.
        Returns start_labels and end_labels, int64 (windows,): the answer's first and last token in the window, 0 where
        the window does not hold all of it. Raises ValueError for an answer outside its passage.
        """
        spans = [
            None if answer is None else passage.tokens_of_span(*answer)[:2]
            for answer, passage in zip(answers, self.passages, strict=True)
        ]
        labels = np.zeros((len(self.owners), 2), dtype=np.int64)
        for window, (row, start, stop, place) in enumerate(self.owners.tolist()):
            span = spans[row]
            if span is not None and start <= span[0] and span[1] < stop:
                labels[window] = span[0] - start + place, span[1] - start + place
        return {"start_labels": labels[:, 0], "end_labels": labels[:, 1]}

    def merge_answers(
        self, found: Sequence[tuple[Sequence[Answer], float]], n: int = 20
    ) -> list[tuple[list[Answer], float]]:
        """The best answers of each row over all of its windows.

        found: of each window its answers (first token, last token, score), in tokens of the window, and its null score.
        Returns of each row its n best answers (start, end, score) in characters of the passage, best first, each once
        with its highest score; and the null score, the lowest of its windows' (one that holds the answer says so).
        Source: Devlin et al. 2019 (BERT), section 4.3; google-research/bert, run_squad.py, for several windows.
        """
        best: list[dict[tuple[int, int], float]] = [{} for _ in self.passages]
        null = np.full(len(self.passages), np.inf)
        for (row, start, _, place), (answers, without) in zip(self.owners.tolist(), found, strict=True):
            null[row] = min(null[row], without)
            for first, last, score in answers:
                span = self.passages[row].span_of_tokens(first - place + start, last - place + start)
                best[row][span] = max(score, best[row].get(span, -np.inf))
        ranked = [sorted(((*span, score) for span, score in own.items()), key=lambda answer: -answer[2])[:n]
                  for own in best]  # fmt: skip
        return list(zip(ranked, null.tolist(), strict=True))

    def character_scores(self, logits: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Start and end probabilities of each character, whatever the tokenizer: what readers can be blended by.

        logits: of each window (tokens, 2), as `Reader` gives them.
        Returns of each row (1 + characters, 2): first the probability that there is no answer, then of each character
        that the answer starts and that it ends there; each column sums to 1.
        A token's logits are those of the window that sees most around it, the null logits the lowest of the windows.
        """
        places: list[list[int]] = [[] for _ in self.passages]
        for window, row in enumerate(self.owners[:, 0].tolist()):
            places[row].append(window)
        scores = []
        for passage, own in zip(self.passages, places, strict=True):
            spans = [tuple(self.owners[window, 1:3].tolist()) for window in own]
            starts = self.owners[own, 3].tolist()
            parts = [
                np.asarray(logits[window], dtype=np.float64)[place : place + stop - start]
                for window, place, (start, stop) in zip(own, starts, spans, strict=True)
            ]
            null = min((np.asarray(logits[window][0], dtype=np.float64) for window in own), key=lambda x: x.sum())
            merged = np.concatenate([null[None], merge_windows(parts, spans, len(passage)).reshape(-1, 2)])
            chances = np.exp(merged - merged.max(axis=0))
            chances /= chances.sum(axis=0)
            values = np.zeros((1 + passage.length, 2))
            values[0] = chances[0]
            np.add.at(values[1:, 0], passage.offset_mapping[:, 0], chances[1:, 0])
            np.add.at(values[1:, 1], np.maximum(passage.offset_mapping[:, 1] - 1, 0), chances[1:, 1])
            scores.append(values)
        return scores


def reading_windows(
    tokenizer: WholeWordTokenizer,
    questions: Sequence[str],
    passages: Sequence[str],
    max_length: int,
    overlap: int = 128,
    max_question: int = 64,
) -> ReadingWindows:
    """Question and passage in one sequence; a passage that is too long becomes windows, the question before each.

    max_length: tokens of a window, special tokens included. overlap: tokens that two windows of a passage share, half
    of a window's passage at most (BERT's stride is the rest). max_question: tokens of a question; more are cut.
    Returns ReadingWindows. Raises ValueError when a question leaves no room for its passage.
    """
    known = {text: place for place, text in enumerate(dict.fromkeys(passages))}
    encodings = tokenizer.encode_many(list(known))
    rows = [encodings[known[text]] for text in passages]
    special = tokenizer.special_tokens
    before, between, after = special.pair
    asked = [ids[:max_question] for ids in split(*tokenizer.piece_ids(questions))]
    names = ["input_ids", "attention_mask", "passage_mask", *(["token_type_ids"] if special.uses_types else [])]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    owners: list[tuple[int, int, int, int]] = []
    for row, (question, passage) in enumerate(zip(asked, rows, strict=True)):
        head = np.concatenate([before, question, between])
        room = max_length - len(head) - len(after)
        if room < 1:
            raise ValueError(f"max_length={max_length} leaves no room for a passage beside a question of "
                             f"{len(question)} tokens: give a larger max_length or a smaller max_question")  # fmt: skip
        types = np.concatenate([special.pair_types[0], np.full(len(question), special.text_types[0]),
                                special.pair_types[1]])  # fmt: skip
        # An empty passage is asked all the same: its one window holds no token of it.
        for start, stop in windows(len(passage), room, min(overlap, room // 2)) or [(0, 0)]:
            size = stop - start
            columns["input_ids"].append(np.concatenate([head, passage.input_ids[start:stop], after]))
            columns["attention_mask"].append(np.ones(len(head) + size + len(after), dtype=np.int64))
            columns["passage_mask"].append(np.repeat([0, 1, 0], [len(head), size, len(after)]))
            if special.uses_types:
                tail = [np.full(size, special.text_types[1]), special.pair_types[2]]
                columns["token_type_ids"].append(np.concatenate([types, *tail]))
            owners.append((row, start, stop, len(head)))
    return ReadingWindows(columns, np.array(owners, dtype=np.int64).reshape(-1, 4), rows)


def best_spans(values: np.ndarray, max_length: int, n: int = 20) -> tuple[list[Answer], float]:
    """The n best answers by probabilities of characters, and the log-probability of there being none.

    values: (1 + characters, 2), as `character_scores` gives them, or a blend of such. max_length: characters of an
    answer. Returns answers (start, end, log-probability), best first, `end` exclusive, and the null score.
    """
    logs = np.log(np.maximum(values, 1e-12))
    starts, ends = logs[1:].T
    cells = []
    for size in range(1, min(max_length, len(starts)) + 1):
        scores = starts[: len(starts) - size + 1] + ends[size - 1 :]
        top = np.argsort(-scores, kind="stable")[:n]
        cells += [(start, start + size, score) for start, score in zip(top.tolist(), scores[top].tolist(), strict=True)]
    return sorted(cells, key=lambda answer: -answer[2])[:n], float(logs[0].sum())
