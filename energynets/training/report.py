"""What a run ends with: tables and notes, as JSON, Markdown and on the terminal, and timing."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from rich.table import Table as RichTable

from energynets.training import journal
from energynets.training.journal import as_json, console, write_atomically


class Table(NamedTuple):
    """Rows of text and numbers; numbers are printed with four significant digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]


class Report(NamedTuple):
    """What a run ends with.

    scores: numbers that depend on config and data alone: a repeated run gives the same.
    timing: numbers that depend on the machine and the moment as well.
    notes: sentences that the reader of the tables must know.
    lines: scalars of `metrics.jsonl`, such as "validation/loss", with a value that the training
        curves are to be compared with: that of the exact solution.
    """

    title: str
    scores: Mapping[str, Any]
    timing: Mapping[str, Any]
    tables: Sequence[Table]
    notes: Sequence[str]
    lines: Mapping[str, float] = MappingProxyType({})


def environment() -> dict[str, str]:
    """Device, processor and versions, for every number that is measured."""
    versions = {name: metadata.version(name) for name in ("energynets", "jax", "flax", "scipy")}
    return {
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "processor": f"{os.cpu_count()} × {_processor()}",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def seconds(call: Callable[[], Any], *, repeats: int = 5) -> float:
    """Median time of `call`, whose result is waited for, after one call that may compile."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return median(times)


def write(report: Report, workdir: Path) -> None:
    """`report.json` and `report.md` in the run folder, and the tables on the terminal."""
    machine, pace = environment(), journal.pace(workdir)
    timing = {**report.timing, **({"training": pace} if pace else {})}
    record = {
        "title": report.title,
        "scores": report.scores,
        "timing": {**timing, "environment": machine},
        "notes": list(report.notes),
    }
    write_atomically(workdir / "report.json", as_json(record, indent=1) + "\n")
    lines = [f"# {report.title}", ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *_markdown(table), ""]
    notes = [*report.notes, *_chosen(workdir), *_told(pace)]
    lines += [*notes, ""] if notes else []
    lines += ["Measured on " + ", ".join(f"{k}: {v}" for k, v in machine.items()) + ".", ""]
    for figure in sorted((workdir / "figures").glob("*.png")):
        lines += [f"![{figure.stem.replace('_', ' ')}](figures/{figure.name})", ""]
    write_atomically(workdir / "report.md", "\n".join(lines))
    for table in report.tables:
        shown = RichTable(title=table.title)
        for column in table.columns:
            shown.add_column(column)
        for row in table.rows:
            shown.add_row(*map(_text, row))
        console.print(shown)
    for note in notes:
        console.print(note, markup=False)
    console.print(f"report and pictures: {workdir}", markup=False)


def _chosen(workdir: Path) -> list[str]:
    steps = journal.best(workdir)
    if steps is None:
        return []
    untrained = ": before any training" if steps[0] == 0 < steps[1] else ""
    told = "The weights are those of step {} of {}, the lowest validation loss{}."
    return [told.format(*steps, untrained)]


def _told(pace: Mapping[str, float]) -> list[str]:
    if not pace:
        return []
    told = "A training step took {:.3g} s, of which {:.1f} % were spent waiting for data (medians)."
    return [told.format(pace["seconds_a_step"], 100 * pace["waiting"])]


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"


def _markdown(table: Table) -> list[str]:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in lines]
