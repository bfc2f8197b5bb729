"""ChnSentiCorp's files: tab-separated label and text_a under a header."""

from competitions.tasks.tables import read_labels, read_texts, write_table

HEADER = ("index", "prediction")


def read(path, config, labelled):
    """Rows with id, text and, where labelled, label (1 positive, 0 negative)."""
    return read_texts(path, config.files, ("text",), config.classes if labelled else None)


def write_submission(path, rows, predictions):
    """Qianyan's format: tab-separated index and prediction, rows numbered from 0."""
    write_table(path, HEADER, zip(rows["id"], predictions, strict=True), separator="\t")


def read_submission(path):
    """The ids and labels of a file that `write_submission` wrote."""
    ids, labels = zip(*read_labels(path, HEADER, "\t"), strict=True)
    return list(ids), list(labels)
