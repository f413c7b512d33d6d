"""Reports: tables and pictures of a finished run, as JSON, Markdown and on the terminal."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float
from rich.table import Table as RichTable
from scipy import ndimage

from energynets.training.journal import as_json, console, read_metrics, write_atomically


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
    """

    title: str
    scores: Mapping[str, Any]
    timing: Mapping[str, Any]
    tables: Sequence[Table]
    notes: Sequence[str]


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
    machine = environment()
    record = {
        "title": report.title,
        "scores": report.scores,
        "timing": {**report.timing, "environment": machine},
        "notes": list(report.notes),
    }
    write_atomically(workdir / "report.json", as_json(record, indent=1) + "\n")
    lines = [f"# {report.title}", ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *_markdown(table), ""]
    lines += [*report.notes, ""] if report.notes else []
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
    for note in report.notes:
        console.print(note)
    console.print(f"report and pictures: {workdir}")


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"


def _markdown(table: Table) -> list[str]:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in lines]


def draw_training(workdir: Path, lines: Mapping[str, float] | None = None) -> None:
    """`figures/training.png`: every logged scalar of training and validation against the step.

    Validation is drawn beside what it measures in training, its loss beside the energy where that
    is logged; `lines` gives scalars a dashed line to be compared with, such as the least value.
    """
    plt = _pyplot()
    lines = lines or {}
    curves = _curves(read_metrics(workdir))
    panels: dict[str, list[str]] = {}
    for name in sorted(curves, key=lambda name: (name.startswith("validation/"), name)):
        beside = name.removeprefix("validation/")
        if name == "validation/loss" and "energy" in curves:
            beside = "energy"
        panels.setdefault(beside if beside in curves else name, []).append(name)
    if not panels:
        return
    columns = min(3, len(panels))
    figure, axes = plt.subplots(
        -(-len(panels) // columns),
        columns,
        figsize=(4 * columns, 3 * -(-len(panels) // columns)),
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name in names:
            axis.plot(*zip(*curves[name], strict=True), linewidth=1, label=name)
            if name in lines:
                axis.axhline(lines[name], color="0.3", linestyle="--", label=f"{name}, exact")
        axis.set_title(title)
        axis.set_xlabel("step")
        values = [value for name in names for _, value in curves[name]]
        if min(values) > 0 and (title == "energy" or max(values) > 20 * min(values)):
            axis.set_yscale("log")
        if len(axis.lines) > 1:
            axis.legend(fontsize=7)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    _save(figure, workdir / "figures" / "training.png")


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """For each scalar its steps and values; without the loss where the energy is the same."""
    hidden = {"step", "seconds_a_step", "waiting"}
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name in record.keys() - hidden:
            if record[name] is not None:
                curves.setdefault(name, []).append((record["step"], record[name]))
    if "loss" in curves and curves["loss"] == curves.get("energy"):
        del curves["loss"]
    return curves


def draw_grid(
    path: Path,
    titles: Sequence[str],
    rows: Sequence[Sequence[Float[np.ndarray, "..."] | str]],
    labels: Sequence[str] | None = None,
) -> None:
    """Rows of pictures under one line of titles; H×W×3 in [0, 1], or H×W in [0, 1] as grey.

    A text in the place of a picture is written there; `labels` stand at the left of each row.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(
        len(rows),
        len(titles),
        figsize=(1.8 * len(titles) + (1.5 if labels else 0), 1.8 * len(rows) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for (row, column), axis in np.ndenumerate(axes):
        picture = rows[row][column]
        if isinstance(picture, str):
            axis.text(0.5, 0.5, picture, ha="center", va="center", transform=axis.transAxes)
        else:
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.axis("off")
        if row == 0:
            axis.set_title(titles[column], fontsize=8)
        if column == 0 and labels:
            place = {"ha": "right", "va": "center", "transform": axis.transAxes}
            axis.text(-0.05, 0.5, labels[row], fontsize=7, **place)
    _save(figure, path)


def outlined(
    image: Float[np.ndarray, "h w 3"], strokes: Bool[np.ndarray, "h w"], colours: Any
) -> Float[np.ndarray, "H W 3"]:
    """The image, enlarged, with `colours` (H×W×3 or one) on the strokes and a black outline."""
    times = max(2, 256 // max(image.shape[:2]))
    colours = np.broadcast_to(colours, image.shape)
    image, strokes, colours = (
        a.repeat(times, 0).repeat(times, 1) for a in (image, strokes, colours)
    )
    near = ndimage.binary_dilation(strokes, np.ones((3, 3)))
    return np.where(strokes[..., None], colours, np.where(near[..., None], 0.0, image))


def label_colours(count: int) -> Float[np.ndarray, "256 3"]:
    """A colour for each of `count` labels: 0, the background, is black; all others are white."""
    colours = np.ones((256, 3))
    colours[0] = 0
    colours[1:count] = _pyplot().get_cmap("tab20")(np.arange(1, count) % 20)[:, :3]
    return colours


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
