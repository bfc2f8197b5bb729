"""The contests' results as Markdown."""

from typing import Any

from benchmarks.contest_tasks import TASKS
from common.logs import spoken


def table(found: dict[str, Any]) -> str:
    """Every member and what the ensemble has chosen; columns for dev where the task has gold for it."""
    parts = {"oof": "out-of-fold", "dev": f"dev ({found.get('dev_rows')} rows)",
             "unseen": f"dev, unseen rows ({found.get('unseen_rows')})"}  # fmt: skip
    columns = {key: title for key, title in parts.items() if key in found["blend"]}
    lines = [
        f"| {TASKS[found['task']].metric} | {' | '.join(columns.values())} | time |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, own in found["members"].items():
        cells = [f"{own[key]:.4f}" for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {spoken(own['seconds'])} |")
    blend = found["blend"]
    if len(found["members"]) > 1:
        title = f"chosen: {blend['name']}"
        seconds = spoken(sum(own["seconds"] for own in found["members"].values()))
        lines.append(f"| {title} | {' | '.join(f'**{blend[key]:.4f}**' for key in columns)} | {seconds} |")
    return "\n".join(lines)


def report(words: str, finished: dict[str, dict[str, Any]]) -> str:
    """The section of the results. words: of the command. finished: results by task."""
    from benchmarks.results import circumstances

    sections = []
    for name, found in finished.items():
        task = TASKS[name]
        lines = [f"Published, for scale: {task.published}", *([task.note] if task.note else [])]
        text = "\n\n".join([f"### {task.title}", f"{found['rows']} training rows.", table(found), " ".join(lines)])
        sections.append(text)
    body = "\n\n".join(sections)
    return f"""## What the contest folders reach

    python -m benchmarks.contests {words}

Each folder's own stages and config; encoders are the kit's small one (`models/pretrained`). Out-of-fold: 5 folds that
share no text; blends and thresholds are fitted on other folds than those they are scored on; which way is chosen is
itself chosen on these scores. Dev: the same models, averaged over folds; nothing was fitted on it, and nothing
chosen but what a table says. Time: of all fits, one thread of a machine that others use too.

{body}

{circumstances()}.
"""
