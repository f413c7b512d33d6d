"""Every comparison with its peers, one after the other, each in a process of its own.

python -m benchmarks [NAME ...] [--quick] [--timeout 3600]

Writes benchmarks/results/RESULTS.md, results.json and the figures; what has been measured is kept
from run to run, so that naming one module renews that module's rows alone. A module that fails, or
takes longer than the timeout, becomes a row that says so.
"""

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import child, report
from benchmarks.rows import Row, peak, show

MODULES = (
    *("losses", "random_walker", "matting", "scribble", "dehazing", "growth"),
    *("large", "filtering", "network"),
)
RESULTS = Path(__file__).parent / "results"


def gather(module: str, quick: bool) -> dict[str, Any]:
    """The rows of one module and what they were measured with; runs in the child."""
    found = importlib.import_module(f"benchmarks.{module}")
    rows: list[Row] = []
    before, start = os.getloadavg()[0], time.time()
    measured = found.quick if quick and hasattr(found, "quick") else found.rows
    highest = peak(lambda: rows.extend(measured()))
    load = max(before, os.getloadavg()[0])
    return {
        "rows": rows,
        # Next to nothing in modules that measure in processes of their own.
        "memory": highest if highest and highest > 2**26 else None,
        "minutes": (time.time() - start) / 60,
        "load": load,
        "quick": quick,
        **report.surroundings(),
    }


def _has_rows(path: Path) -> bool:
    return path.is_file() and "\ndef rows(" in path.read_text()


def main() -> None:
    there = [name for name in MODULES if _has_rows(Path(__file__).parent / f"{name}.py")]
    parser = argparse.ArgumentParser(description="All comparisons with peers, in one table.")
    parser.add_argument("modules", nargs="*", metavar="NAME", help=f"of {', '.join(there)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for each module")
    given = parser.parse_args()
    unknown = sorted(set(given.modules) - set(there))
    if unknown:
        parser.error(f"modules: wanted some of {', '.join(there)}, got {', '.join(unknown)}")

    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "results.json"
    parts = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in given.modules or there:
        print(f"benchmarks.{name} …", flush=True)
        try:
            part = child.run(
                "benchmarks.__main__:gather", timeout=given.timeout, module=name, quick=given.quick
            )
        except child.Failed as failure:
            row = {"comparison": name, "case": "", "method": "all", "note": f"failed: {failure}"}
            part = {"rows": [row], **report.surroundings()}
        show(part["rows"])
        parts[name] = part
        kept.write_text(json.dumps(parts, indent=1))
    ordered = {name: parts[name] for name in MODULES if name in parts}
    (RESULTS / "RESULTS.md").write_text(report.markdown(ordered))
    for path in report.figures(ordered, RESULTS):
        print(path)
    print(RESULTS / "RESULTS.md")


if __name__ == "__main__":
    main()
