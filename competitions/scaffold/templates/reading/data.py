"""How the files look: SQuAD's JSON to read, answers by question id to write."""

from competitions.tasks.reading_files import read_answers, read_squad, write_answers


def read(path, labelled):
    """Rows with id, question, passage and, where labelled, answers and start. Texts are cleaned here,
    and then `start` has to be found again."""
    return read_squad(path, labelled)


def write_submission(path, rows, predictions):
    """One JSON object of answers by question id. Write what the organisers ask for."""
    write_answers(path, rows, predictions)


def read_submission(path):
    """The ids and answers of a file that `write_submission` wrote."""
    return read_answers(path)
