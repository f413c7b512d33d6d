"""What a comparison yields, and how it is measured and printed.

A row is a dict with "comparison", "case" and "method" (the method "ours" is what others are set
against), and any of

    seconds     median wall time
    cpu         median processor time of the whole process, over all cores: what is left to compare
                where other programs disturb the clock
    ratio       how many times as long as "ours", the median over rounds of ratios in one round
    error       largest error reached, as the module defines it
    memory      bytes at most, beyond what was held before
    pixels      of one picture: rows that have it are drawn against it
    note        anything else, such as why a number is missing

Everything else is kept in the JSON file only. A module whose comparison has other columns leaves
"comparison" out: its rows are then a table with a column for each of their keys.
"""

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
OURS = "ours"
_TURN = 0.1  # seconds


def alternate(
    contenders: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    ours: str = OURS,
    slow: Collection[str] = (),
) -> dict[str, Row]:
    """Seconds, cpu and ratio of each contender, which take turns in this process.

    Each is called once beforehand, to compile and to warm up; a turn is as many calls as take some
    tenth of a second of processor time, and counts their mean, so that short ones are not judged by
    the caches and the memory that long ones leave behind. A contender returns only once its work is
    done (`jax.block_until_ready`). Those named in `slow` are called once a turn, without warming
    up.
    """
    calls = dict.fromkeys(slow, 1)
    for name, contender in contenders.items():
        if name in slow:
            continue
        contender()
        busy = time.process_time()
        contender()
        calls[name] = max(1, round(_TURN / max(time.process_time() - busy, 1e-4)))
    wall = {name: [] for name in contenders}
    cpu = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            gc.collect()
            start, busy = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                contender()
            cpu[name].append((time.process_time() - busy) / calls[name])
            wall[name].append((time.perf_counter() - start) / calls[name])
    taken = {}
    for name in contenders:
        row = {"seconds": statistics.median(wall[name]), "cpu": statistics.median(cpu[name])}
        if name != ours and ours in contenders:
            row["ratio"] = statistics.median(
                theirs / own for theirs, own in zip(wall[name], wall[ours], strict=True)
            )
            row["cpu_ratio"] = statistics.median(
                theirs / max(own, 1e-9) for theirs, own in zip(cpu[name], cpu[ours], strict=True)
            )
        taken[name] = row
    return taken


class Kept:
    """A contender whose last result is kept, so that its error can be told."""

    def __init__(self, call: Callable[[], Any]):
        self.call, self.result = call, None

    def __call__(self) -> Any:
        self.result = self.call()


def installed(package: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(package) is not None


def missing(comparison: str, case: str, method: str, package: str) -> Row:
    """The row of a peer that is not there."""
    note = f"not run: {package} is not installed"
    return {"comparison": comparison, "case": case, "method": method, "note": note}


def peak(work: Callable[[], Any]) -> int | None:
    """Bytes of memory that `work` needs at most beyond what is resident before it, on Linux.

    Only the first such call in a process says much: later ones reuse what it has returned.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _highest()
        work()
        return _highest() - before
    except OSError:
        work()
        return None


def _highest() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


COLUMNS = ("comparison", "case", "method", "ms", "CPU ms", "× ours", "CPU × ours", "error", "MB")


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[list[str]]]:
    """The columns and the cells of one module's rows."""
    if all("comparison" in row for row in rows):
        return COLUMNS, [_cells(row) for row in rows]
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    return columns, [[_text(row.get(column, "")) for column in columns] for row in rows]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cells(row: Row) -> list[str]:
    def number(key: str, factor: float = 1.0) -> str:
        if row.get(key) is None:
            return ""
        value = row[key] * factor
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"

    method = row["method"] + (f" ({row['note']})" if row.get("note") else "")
    return [
        *(row["comparison"], row["case"], method),
        *(number("seconds", 1e3), number("cpu", 1e3), number("ratio"), number("cpu_ratio")),
        format(row["error"], ".0e") if row.get("error") is not None else "",
        number("memory", 1e-6),
    ]


def show(rows: Iterable[Row]) -> None:
    """Prints the rows of one module."""
    columns, lines = table(rows := list(rows))
    printed = Table()
    for number, column in enumerate(columns):
        printed.add_column(column, justify="left" if number < 3 else "right")
    for before, row, line in zip([None, *rows], rows, lines, strict=False):
        if before and any(before.get(key) != row.get(key) for key in ("comparison", "case")):
            printed.add_section()
        printed.add_row(*line)
    Console(width=max(150, Console().width)).print(printed)
