"""Compiled programs are kept between test runs, so that only the first one compiles.

They are compiled without optimisation, since compiling is most of what the tests do: with 20
minutes of processor time in place of 42. Processes that tests start by `training/processes.py`
compile as users do, and so does everything under `XLA_FLAGS= make test`.
"""

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "energynets" / "jax-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# XLA dies of a flag that it does not know; these were tried with these releases.
if metadata.version("jaxlib").startswith("0.10."):
    quickly = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    os.environ.setdefault("XLA_FLAGS", quickly)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Each compiled program is mapped into memory, and Linux allows a process 65,530 mappings.

    A worker that keeps those of all tests comes near to that and crashes.
    """
    import jax

    yield
    jax.clear_caches()
