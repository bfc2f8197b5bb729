"""report.html: what a run reached, as tables and pictures in one file that opens anywhere."""

import base64
import html
import io
from pathlib import Path
from typing import Any

from common.files import write_text

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}tr.chosen{font-weight:bold;background:#eef6ee}img{max-width:100%}"""


def write_report(path: Path, metrics: dict[str, Any], folds: int) -> None:
    """Writes the report of a run.

    path: the HTML file. metrics: what the ensemble stage measured. folds: the number of folds, for the picture.
    """
    results = metrics["results"]
    parts = list(dict.fromkeys(key for result in results.values() for key in result))
    rows = "".join(
        f"<tr{' class=chosen' if name == metrics['chosen'] else ''}><td>{html.escape(name)}</td>"
        + "".join(f"<td>{result[part]:.4f}</td>" if part in result else "<td></td>" for part in parts)
        + "</tr>"
        for name, result in results.items()
    )
    head = "".join(f"<th>{html.escape(part)}</th>" for part in ("", *parts))
    gains = "".join(
        f"<tr{' class=chosen' if name == metrics['chosen'] else ''}><td>{html.escape(name)}</td>"
        + f"<td>{own['gain']:+.4f}</td>"
        + (f"<td>{own['low']:+.4f}</td><td>{own['high']:+.4f}</td>" if "low" in own else "<td></td><td></td>")
        + "</tr>"
        for name, own in metrics["gains"].items()
    )
    units = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{facts['score']:.4f}</td><td>{facts['rows']}</td><td>{facts['seconds']:.0f}</td></tr>"
        for name, facts in metrics["units"].items()
    )
    write_text(path, f"""<!doctype html><html>
<head><meta charset="utf-8"><title>{metrics["contest"]}</title><style>{STYLE}</style></head>
<body><h1>{metrics["contest"]}: {metrics["score"]:.4f}</h1>
<p>Chosen: <b>{html.escape(metrics["chosen"])}</b>, {metrics["gain_over_best_member"]:+.4f} over the best member. Every
score below is out-of-fold and cross-fitted: weights and thresholds were fitted on the other folds. Fitted on all folds
at once, as the submission is, the chosen one scores {metrics["searched"]["score"]:.4f}: too good, since these rows were
fitted on.</p>
<table><tr>{head}</tr>{rows}</table>
<img alt="scores by member and fold" src="data:image/png;base64,{_picture(metrics)}">
<h2>Gains over the best member</h2>
<p>With the 95% interval that a paired bootstrap gives: all rows are drawn anew, with repetition, as often as
ensemble.resamples says, and both are scored on the same draw. A gain whose interval holds zero may be chance.</p>
<table><tr><th></th><th>gain</th><th>from</th><th>to</th></tr>{gains}</table>
<h2>Units</h2><table><tr><th></th><th>held-out score</th><th>training rows</th><th>seconds</th></tr>{units}</table>
<p>Submission: {html.escape(metrics["submission"] or "none, for there were no test rows")}. Settings: config.yaml beside
this file; versions and the command: environment.json; what happened when: log.txt.</p></body></html>
""")  # fmt: skip


def _picture(metrics: dict[str, Any]) -> str:
    """Members and blends as points with the held-out score of each unit; PNG in base64."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(metrics["results"])
    figure = Figure(figsize=(8, 1 + 0.4 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    dots = [(facts["score"], name.split("/")[0]) for name, facts in metrics["units"].items()]
    axes.scatter([score for score, _ in dots], [name for _, name in dots], color="#aaa", s=14, label="one fold")
    # Points, not bars: bars that do not begin at 0 would make small gains look large.
    for name in names:
        value, chosen = metrics["results"][name]["score"], name == metrics["chosen"]
        axes.scatter(value, name, color="#2a7" if chosen else "#358", s=60, marker="D" if chosen else "o", zorder=3)
        axes.annotate(f"{value:.4f}", (value, name), xytext=(0, 7), textcoords="offset points", ha="center", size=8)
    values = [metrics["results"][name]["score"] for name in names]
    axes.invert_yaxis()
    spread = [*values, *(score for score, _ in dots)]
    axes.set_xlim(max(0.0, min(spread) - 0.02), min(1.0, max(spread) + 0.02))
    axes.set_xlabel("score, out-of-fold")
    axes.grid(axis="x", color="#eee")
    axes.legend(loc="lower left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return base64.b64encode(stream.getvalue()).decode()
