"""How the files look: rows to read by `files` in the config, a submission to write."""

from competitions.tasks.tables import labels_of, read_labels, read_texts, write_table


def read(path, config, labelled):
    """Rows with id, text and, where labelled, label, a list. What a text needs to be cleaned of goes here."""
    return read_texts(path, config.files, ("text",), config.classes if labelled else None, several=True)


def write_submission(path, rows, predictions, config):
    """A line `id,label` for every row, labels with label_separator between. Write what the organisers ask for."""
    cells = [config.files.label_separator.join(own) for own in predictions]
    write_table(path, ("id", "label"), zip(rows["id"], cells, strict=True))


def read_submission(path, config):
    """The ids and lists of labels of a file that `write_submission` wrote."""
    ids, cells = zip(*read_labels(path), strict=True)
    return list(ids), [labels_of(cell, config.files) for cell in cells]
