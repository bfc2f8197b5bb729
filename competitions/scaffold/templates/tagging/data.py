"""How the files look: texts to read by `files` in the config, a submission to write."""

from competitions.tasks.tagged_files import read_tagged, read_written, write_tagged


def read(path, config, labelled):
    """Rows with id, tokens and spans. What a text needs to be cleaned of goes here."""
    return read_tagged(path, config.files, config.types, labelled)


def write_submission(path, rows, predictions, config):
    """The texts with their entities: JSON lines as they were read, CoNLL as a token, a space and its BIO tag, without
    further columns and digit suffixes. Write what the organisers ask for."""
    write_tagged(path, rows, predictions, config.files)


def read_submission(path, config):
    """The rows of a file that `write_submission` wrote."""
    return read_written(path, config.files, config.types)
