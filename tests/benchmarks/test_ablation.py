"""The grid is resumable, compares with plain pair by pair, and leaves out what a task cannot do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, ablation_units
from benchmarks.ablation_memory import memory_plan, peak_memory, start_of_peak
from benchmarks.ablation_table import Cell, Comparison, compared, draw, section
from benchmarks.ablation_units import PLAIN, TaskConfig, merged, plain, plan
from common.config import ConfigError

GRID = """
seeds: [1, 2]
tasks:
  texts:
    title: Texts
    contest: chnsenticorp
    data: classification/chnsenticorp
    member: classifier
    settings: {max_length: 16, training: {epochs: 1, precision: fp32}}
    train_rows: 10
    folds: [0]
  pairs:
    title: Pairs
    contest: lcqmc
    data: matching/lcqmc
    member: cross_encoder
    settings: {architecture: {embedding_size: 6, hidden_size: 8}, training: {epochs: 1, precision: fp32}}
    pretrained: false
    folds: [1, 3]
rows:
  plain: {}
  label_smoothing: {settings: {training: {loss: {label_smoothing: 0.1}}}}
  mixout: {settings: {training: {layers: {mixout: 0.5}}}, layers: true}
"""


@pytest.fixture
def words(root: Path, tiny: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "grid.yaml").write_text(GRID)
    made = [f"output_dir={tmp_path / 'out'}", f"results={tmp_path / 'R.md'}", f"picture={tmp_path / 'p.png'}"]
    return ["--config", str(tmp_path / "grid.yaml"), f"datasets={root}", f"encoder={tiny}", *made]


def planned(words: list[str], folder: Path) -> list[ablation_units.AblationUnit]:
    own = ablation.read_settings(words)
    return plan(own.tasks, own.rows, own.seeds, own.datasets, own.encoder, folder)


def test_the_order_is_seed_by_seed_and_a_task_without_layers_has_no_row_that_needs_them(words, tmp_path) -> None:
    units = planned(words, tmp_path)
    names = [unit.name for unit in units]
    assert names[2:5] == ["mixout texts seed 1 fold 0", "plain pairs seed 1 fold 1", "plain pairs seed 1 fold 3"]
    assert len(units) == 2 * (3 + 2 * 2) and all(unit.seed == 1 for unit in units[:7])
    assert not any(unit.row == "mixout" and unit.task == "pairs" for unit in units)
    full = ablation.read_settings([*words, "full=true"]).tasks["texts"]
    assert (full.train_rows, full.scored_rows, full.folds) == (0, 0, [0, 1, 2, 3, 4])


def test_plain_has_no_trick_even_where_the_default_has() -> None:
    default = {
        "multi_sample_dropout": 4,
        "dropout": 0.3,
        "training": {"averaging": {"kind": "ema"}, "layer_decay": 0.9},
    }
    assert plain(default) == {"multi_sample_dropout": 1, "dropout": 0.3, "training": {"layer_decay": 1.0}}
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}) == {"a": {"b": 1, "c": 3}, "d": 4}


def test_a_whole_run_resumes_writes_its_section_and_its_picture(words, tmp_path, capsys) -> None:
    assert ablation.main(words) == 0
    report = (tmp_path / "R.md").read_text()
    assert report.count("| plain |") == 2 and report.count("| label_smoothing |") == 3 and " ± " in report
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/units").rglob("*.json")}
    assert len(files) == 14 + 5, "a fit a seed and fold, and one for the memory of each row and task"
    assert "nan" not in report
    lost = tmp_path / "out/units/pairs/plain/seed-2-fold-3.json"
    first = json.loads(lost.read_text())
    lost.unlink()
    capsys.readouterr()
    assert ablation.main([*words, "workers=0"]) == 0
    assert "(one seed)" in capsys.readouterr().out, "a seed without all of its folds does not count"
    assert ablation.main(words) == 0
    assert "19 units, 18 of them finished" in capsys.readouterr().out
    assert json.loads(lost.read_text())["chances"] == first["chances"]
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in files.items() if file != lost)


def test_differences_are_paired_and_their_interval_knows_seeds_and_rows(words, tmp_path) -> None:
    """Scores and differences as counted by hand from made-up files."""
    units = [unit for unit in planned([*words, "use=[texts]", "only=[label_smoothing]"], tmp_path)]
    gold = ablation_units.split(units[0].config, units[0].datasets, 0)[1]["label"].tolist()
    wrong = {(PLAIN, 1): 2, (PLAIN, 2): 3, ("label_smoothing", 1): 1, ("label_smoothing", 2): 0}
    for unit in units:
        found = [{"0": "1", "1": "0"}[label] if place < wrong[unit.row, unit.seed] else label
                 for place, label in enumerate(gold)]  # fmt: skip
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        cost = 2 if unit.row == PLAIN else 3
        unit.path.write_text(json.dumps({"predictions": found, "settings": unit.settings, "seconds": 9,
                                         "fit_seconds": cost}))  # fmt: skip
    memory = memory_plan(units)
    assert [(unit.row, unit.seed, unit.fold) for unit in memory] == [(PLAIN, 1, 0), ("label_smoothing", 1, 0)]
    for unit, megabytes in zip(memory, (4, 9), strict=True):
        unit.path.write_text(json.dumps({"megabytes": megabytes, "settings": unit.settings}))
    own = compared(units, memory, {"texts": units[0].config})
    cell, rows = own.cells["label_smoothing", "texts"], len(gold)
    assert cell.scores == pytest.approx([1 - 1 / rows, 1.0])
    assert cell.differences == pytest.approx([1 / rows, 3 / rows])
    assert (cell.time, cell.memory, cell.seconds) == (1.5, 2.25, 18)
    assert set(own.cells[PLAIN, "texts"].resampled) == {0.0}
    # A draw of rows may miss the ones that differ, and one of seeds may take the better one twice.
    assert cell.resampled.min() == 0.0 and cell.resampled.max() > 3 / rows
    assert cell.resampled.mean() == pytest.approx(2 / rows, rel=0.1)


def test_the_mean_over_tasks_leaves_out_tasks_that_a_row_does_not_have(tmp_path: Path) -> None:
    def cell(value: float) -> Cell:
        return Cell([0.5 + value], [value], np.full(10, value), 1.0, 1.0, 5.0)

    tasks = {"one": TaskConfig(title="One"), "two": TaskConfig(title="Two")}
    cells = {(PLAIN, "one"): cell(0.0), (PLAIN, "two"): cell(0.0), ("a", "one"): cell(0.1), ("a", "two"): cell(0.3),
             ("b", "one"): cell(-0.2)}  # fmt: skip
    found = Comparison([PLAIN, "a", "b", "c"], tasks, cells)
    assert found.average("a") == pytest.approx((0.2, 0.2, 0.2)) and found.average("b")[0] == pytest.approx(-0.2)
    text = section(found, ["x=1"])
    assert "| a | **+0.2000 [+0.2000, +0.2000]** | 1.00 | 1.00 | 2 |" in text and "| c |" not in text
    draw(found, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size < 150_000


def test_the_peak_is_that_of_what_runs_between() -> None:
    before = start_of_peak()
    block = np.ones(30_000_000)
    del block
    taken = peak_memory() - before
    assert not before or 200e6 < taken < 400e6


@pytest.mark.parametrize(
    ("word", "says"),
    [("use=[txts]", "'texts'"), ("only=[mixot]", "'mixout'"), ("seeds=[0]", "from 1"), ("tasks.texts.fold=1", "folds"),
     ("rows.plain.settings.dropout=0.2", "without settings"), ("encoder=./nowhere", "nowhere"),
     ("rows.mixout.settings.training.layers.mixot=1", "mixout")],
)  # fmt: skip
def test_misuse_is_named_before_any_fit(words, word: str, says: str, capsys) -> None:
    assert ablation.main([*words, word]) == 2
    assert says in capsys.readouterr().err


def test_the_declared_grid_is_valid() -> None:
    own = ablation.read_settings([])
    assert len(own.rows) > 20 and len(own.seeds) >= 3 and set(own.tasks) <= set(own.use)
    assert replace(own.tasks["resume"]).settings["encoder"] == own.encoder
    with pytest.raises(ConfigError, match="did you mean"):
        ablation.read_settings(["seds=[1]"])
