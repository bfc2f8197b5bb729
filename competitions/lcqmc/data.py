"""Files of LCQMC, BQ, PAWS-X and OPPO: tab-separated text, text and label (1 same meaning, 0 not), no header."""

from competitions.tasks.tables import read_labels, read_texts, write_table

HEADER = ("index", "prediction")


def read(path, config, labelled):
    """Rows with id, source, target, task (0) and, where labelled, label."""
    rows = read_texts(path, config.files, ("source", "target"), ("0", "1") if labelled else None).assign(task=0)
    return rows.astype({"label": int}) if labelled else rows


def write_submission(path, rows, predictions):
    """Qianyan's format: tab-separated index and prediction, rows numbered from 0."""
    write_table(path, HEADER, zip(rows["id"], predictions, strict=True), separator="\t")


def read_submission(path):
    """The ids and labels of a file that `write_submission` wrote."""
    ids, labels = zip(*read_labels(path, HEADER, "\t"), strict=True)
    return list(ids), [int(label) for label in labels]
