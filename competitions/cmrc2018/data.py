"""CMRC 2018's files: SQuAD's JSON to read, answers by question id to write."""

from competitions.tasks.reading_files import read_answers, read_squad, write_answers


def read(path, labelled):
    """Rows with id, question, passage and, where labelled, answers and start. An answer that does
    not stand where the file says is looked for in the passage."""
    return read_squad(path, labelled)


def write_submission(path, rows, predictions):
    """One JSON object of answers by question id. Its scorer (cmrc2018_evaluate.py) reads this."""
    write_answers(path, rows, predictions)


def read_submission(path):
    """The ids and answers of a file that `write_submission` wrote."""
    return read_answers(path)
