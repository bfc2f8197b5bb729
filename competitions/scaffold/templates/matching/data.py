"""How the files look: rows to read by `files` in the config, a submission to write."""

from competitions.tasks.tables import read_labels, read_texts, write_table


def read(path, config, labelled):
    """Rows with id, source, target, task (0) and, where labelled, label. What texts need to be cleaned of goes here."""
    rows = read_texts(path, config.files, ("source", "target"), ("0", "1") if labelled else None).assign(task=0)
    return rows.astype({"label": int}) if labelled else rows


def write_submission(path, rows, predictions):
    """A line `id,label` for every row. Write what the organisers ask for."""
    write_table(path, ("id", "label"), zip(rows["id"], predictions, strict=True))


def read_submission(path):
    """The ids and labels of a file that `write_submission` wrote."""
    ids, labels = zip(*read_labels(path), strict=True)
    return list(ids), [int(label) for label in labels]
