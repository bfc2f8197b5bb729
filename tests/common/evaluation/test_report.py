"""The report is one file that holds every number, and shows names as they are."""

import base64
import re
from html.parser import HTMLParser

import pytest

from common.evaluation.report import write_report


class Cells(HTMLParser):
    """The rows of all tables as lists of text; checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def metrics():
    return {
        "contest": "toy", "score": 0.75, "chosen": "mean", "gain_over_best_member": 0.05,
        "results": {"a": {"score": 0.7, "f1 a": 0.5}, "b<1>": {"score": 0.6}, "mean": {"score": 0.75, "f1 a": 0.55}},
        "gains": {"a": {"gain": 0.0, "low": 0.0, "high": 0.0}, "b<1>": {"gain": -0.1, "low": -0.2, "high": 0.01},
                  "mean": {"gain": 0.05}},
        "searched": {"score": 0.76},
        "units": {"a/fold-0/seed-1": {"score": 0.71, "rows": 80, "seconds": 1.2},
                  "b<1>/fold-0/seed-1": {"score": 0.61, "rows": 80, "seconds": 0.6}},
        "submission": "outputs/toy/default/submission.tsv",
    }  # fmt: skip


def test_the_report_holds_every_score_and_the_chosen_row_is_marked(tmp_path, metrics):
    write_report(tmp_path / "report.html", metrics, folds=1)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    cells = Cells()
    cells.feed(text)
    assert cells.open == []
    assert cells.rows == [
        ["", "score", "f1 a"], ["a", "0.7000", "0.5000"], ["b<1>", "0.6000", ""], ["mean", "0.7500", "0.5500"],
        ["", "gain", "from", "to"], ["a", "+0.0000", "+0.0000", "+0.0000"],
        ["b<1>", "-0.1000", "-0.2000", "+0.0100"], ["mean", "+0.0500", "", ""],
        ["", "held-out score", "training rows", "seconds"],
        ["a/fold-0/seed-1", "0.7100", "80", "1"], ["b<1>/fold-0/seed-1", "0.6100", "80", "1"],
    ]  # fmt: skip
    assert len(re.findall(r"<tr class=chosen><td>mean</td>", text)) == text.count("class=chosen") == 2
    assert "+0.0500 over the best member" in text and "0.7600" in text and metrics["submission"] in text


def test_the_picture_is_inside_the_file(tmp_path, metrics):
    write_report(tmp_path / "report.html", metrics, folds=1)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(picture, validate=True).startswith(b"\x89PNG")
    assert "http" not in text
