"""C3's files: [[[paragraph, ...], [{"question", "choice", "answer"}, ...], "passage's id"], ...]."""

import json

import pandas as pd

from common.files import DataError, read_json, read_json_lines, write_lines

FORM = '[[[paragraph, ...], [{"question", "choice": [...], "answer"}, ...], id], ...]'


def read(path, labelled):
    """Rows with id (CLUE's of the question; without one, its number in the file), passage, question, choices and,
    labelled, label. Of two candidates that read the same and are right, the first counts."""
    rows = []
    try:
        items = [("\n".join(paragraphs), own) for paragraphs, own, _ in read_json(path)]
        for passage, own in ((passage, own) for passage, several in items for own in several):
            choices = [str(choice) for choice in own["choice"]]
            name = str(own.get("id", len(rows)))
            if not choices or (labelled and own["answer"] not in choices):
                problem = f"question {name} ({own['question']}) has no right candidate"
                action = "fix or delete the question"
                raise DataError(problem, path, expected=f"the answer among {choices}", action=action)
            rows.append((name, passage, own["question"], choices, choices.index(own["answer"]) if labelled else -1))
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"is not in C3's form ({type(error).__name__}: {error}, after {len(rows)} questions)", path,
                        expected=FORM, action="convert it first, or read it in data.py") from None  # fmt: skip
    table = pd.DataFrame(rows, columns=["id", "passage", "question", "choices", "label"])
    return table if labelled else table.drop(columns="label")


def write_submission(path, rows, predictions):
    """CLUE's format: {"id": number, "label": the candidate's place, 0 for the first} a line."""
    pairs = zip(rows["id"], predictions, strict=True)
    write_lines(path, (json.dumps({"id": int(name) if name.isdigit() else name, "label": own}) for name, own in pairs))


def read_submission(path):
    """The ids and places of a file that `write_submission` wrote."""
    items = [item for _, item in read_json_lines(path, ("id", "label"))]
    return [str(item["id"]) for item in items], [int(item["label"]) for item in items]
