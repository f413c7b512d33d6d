import numpy as np
import pytest

from benchmarks import child, report
from benchmarks.rows import OURS, alternate, missing, peak, table

ABOUT = {"date": "2000-01-01", "device": "one", "python": "3", "versions": {"a": "1", "b": None}}


def row(method, pixels, seconds):
    return {"comparison": "sums", "case": "c", "method": method, "pixels": pixels} | {
        "seconds": seconds,
        "error": 1e-7,
        "memory": 2e6,
    }


def test_a_slower_contender_takes_more_times_as_long():
    work = {OURS: lambda: sum(range(1000)), "ten times": lambda: sum(range(10000))}
    taken = alternate(work, 5)
    assert "ratio" not in taken[OURS]
    assert taken["ten times"]["cpu_ratio"] > 2
    assert taken["ten times"]["seconds"] > taken[OURS]["seconds"] > 0


def test_memory_is_what_the_work_adds():
    used = peak(lambda: np.ones(2**23).sum())
    assert used is None or used > 0.9 * 2**26


def test_the_table_tells_device_versions_and_which_peers_are_missing(tmp_path):
    rows = [row(OURS, 100, 0.001), row(OURS, 400, 0.004), missing("sums", "c", "theirs", "b")]
    text = report.markdown({"sums": {"rows": rows, **ABOUT}})
    assert "one; Python 3; a 1; not installed: b." in text
    assert "| sums | c | ours | 1 |  |  |  | 1e-07 | 2 |" in text
    assert "theirs (not run: b is not installed)" in text
    paths = report.figures({"sums": {"rows": rows, **ABOUT}}, tmp_path)
    assert [path.name for path in paths] == ["sums.png"] and paths[0].stat().st_size > 1000


def test_rows_with_columns_of_their_own_keep_them():
    columns, cells = table([{"problem": "walk", "height": 3, "seconds": 0.5}, {"steps": 7}])
    assert columns == ("problem", "height", "seconds", "steps")
    assert cells == [["walk", "3", "0.5", ""], ["", "", "", "7"]]


def test_a_child_returns_what_the_function_does_or_says_why_not():
    assert child.run("benchmarks.rows:missing", timeout=60, **MISSING)["method"] == "m"
    with pytest.raises(child.Failed, match="unexpected keyword argument"):
        child.run("benchmarks.rows:missing", timeout=60, nothing=1)
    with pytest.raises(child.Failed, match="stopped after 0 s"):
        child.run("benchmarks.rows:missing", timeout=0.01, **MISSING)


MISSING = {"comparison": "c", "case": "a", "method": "m", "package": "p"}
