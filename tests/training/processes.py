"""Real processes for tests: Python code, or modules, on as many devices as wanted."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(*arguments, devices=1, **how):
    """`python ARGUMENTS` in a process of its own that sees so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **how.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def run(*arguments, status=0, **how):
    """What it printed and what it complained of, once it has ended with `status`."""
    process = start(*arguments, **how)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out, err
