"""The speed benchmark says what it does without loading torch; a ratio is the other side's time over ours."""

import subprocess
import sys
import time

from benchmarks import speed


def spin(seconds: float):
    def run() -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return run


def test_a_ratio_says_how_many_times_as_long_the_other_side_takes() -> None:
    row = speed.compare("ours", "theirs", spin(0.01), spin(0.03), 3, "5")
    assert 2.5 < row.ratio < 3.5 and row.low <= row.ratio <= row.high
    assert "| ours | theirs |" in speed.table_of([row], ["a remark"], quick=True)


def test_help_and_mistakes_load_no_library() -> None:
    check = "import sys; from benchmarks import speed; speed.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    help_text = subprocess.run([sys.executable, "-c", check, "--help"], capture_output=True, text=True)
    assert help_text.returncode == 0 and "--quick" in help_text.stdout, help_text.stderr
    assert speed.main(["--slow"]) == 2


def test_short_and_long_rows_make_one_table_of_pairs() -> None:
    member, rows = speed.matcher(64, speed.made_up_texts(6, 10, 0.5))
    table, _ = member.features(rows, labelled=True)
    assert len(rows) == 3 and max(table["length"]) <= 64
