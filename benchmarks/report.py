"""The table and the figures of all comparisons."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import OURS, Row, table

PACKAGES = (
    *("jax", "jaxlib", "numpy", "scipy", "scikit-image", "pyamg"),
    *("PyMatting", "numba", "cvxopt", "torch"),
)


def surroundings() -> dict[str, Any]:
    """Device, versions and date."""
    import jax

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.machine()


EXPLANATION = """\
# Comparisons with peers

Made by `make bench`. "×" columns say how many times as long as ours a method took, the median over
rounds in which all of them took turns; where none is given, see the row's note. "CPU ms" is
processor time over all cores, which other programs on the machine disturb less than the clock.
"error" is the largest reached, "MB" memory at most, as the module of each comparison defines them
(`python -m benchmarks.NAME --help` and its first lines).
"""


def markdown(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """All rows as one table a module, each with what it was measured on."""
    text = [EXPLANATION]
    for name, part in parts.items():
        missing = [package for package, version in part["versions"].items() if version is None]
        have = [f"{package} {version}" for package, version in part["versions"].items() if version]
        about = [part["date"], part["device"], f"Python {part['python']}", *have]
        if part.get("load") is not None:
            about.append(f"load {part['load']:.1f}")
        if part.get("memory") is not None:
            about.append(f"{part['memory'] / 1e6:.0f} MB at most in all")
        if part.get("flags"):
            about.append(f"XLA_FLAGS={part['flags']}")
        if missing:
            about.append(f"not installed: {', '.join(missing)}")
        if part.get("quick"):
            about.append("**small sizes, to see that it runs: not for comparing**")
        text += [f"## {name}", "", "; ".join(about) + ".", "", _table(part["rows"])]
    return "\n".join(text).rstrip() + "\n"


def _table(rows: list[Row]) -> str:
    columns, cells = table(rows)
    lines = [columns, ("---",) * 3 + ("---:",) * (len(columns) - 3)]
    lines += [[cell.replace("|", "¦") for cell in line] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figures(parts: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Seconds and memory against pixels, log-log, for each comparison at more than one size.

    Rows with height and width have pixels as well, and "peak GiB" is their memory.
    """
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines: dict[str, dict[str, list[Row]]] = {}
    for name, part in parts.items():
        for row in part["rows"]:
            pixels = row.get("pixels", row.get("height", 0) * row.get("width", 0))
            if pixels and row.get("seconds"):
                memory = row.get("memory", row.get("peak GiB", 0) * 2**30)
                title = str(row.get("comparison", f"{name}, {row.get('problem', '')}"))
                method = str(row.get("method", OURS))
                point = {"pixels": pixels, "seconds": row["seconds"], "memory": memory}
                lines.setdefault(title, {}).setdefault(method, []).append(point)
    paths = []
    for title, methods in lines.items():
        if max(len({row["pixels"] for row in rows}) for rows in methods.values()) < 2:
            continue
        figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for axis, key, label in zip(
            axes, ("seconds", "memory"), ("seconds", "memory, bytes"), strict=True
        ):
            for method, rows in sorted(methods.items()):
                drawn = sorted((row["pixels"], row[key]) for row in rows if row.get(key))
                if drawn:
                    axis.loglog(*zip(*drawn, strict=True), "o-", label=method)
            axis.set(xlabel="pixels", ylabel=label)
            axis.grid(True, which="both", alpha=0.3)
        axes[0].legend(fontsize="small")
        figure.suptitle(title)
        name = "".join(c if c.isalnum() else "_" for c in title)
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths
