"""A function in a process of its own, so that its memory is its own.

`run("benchmarks.growth:measure", timeout=300, size=512)` calls `measure(size=512)`, whose result
and arguments are plain JSON.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Failed(RuntimeError):
    """The process ended without a result; says in one line why."""


def run(
    function: str, *, timeout: float, environment: Mapping[str, str] | None = None, **arguments: Any
) -> Any:
    """What `function`, "module:name", returns in a new process, with more in its environment.

    Raises:
        Failed: if it took more than `timeout` seconds, was killed, or raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments)]
        try:
            process = subprocess.run(
                [*command, str(result)],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                timeout=timeout,
                stderr=subprocess.PIPE,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"stopped after {timeout:.0f} s") from None
        if not result.is_file():
            said = process.stderr.strip().splitlines() or [f"status {process.returncode}"]
            raise Failed(said[-1][:200])
        return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("function", "arguments", "result"):
        parser.add_argument(name)
    given = parser.parse_args()
    module, name = given.function.split(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(given.arguments))
    Path(given.result).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
