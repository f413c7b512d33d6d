"""Joins this process to the others of a run, then runs an experiment in it.

    python -m launch.join experiments.seeded_seg --config=… --workdir=SHARED_FOLDER

On SLURM and on a TPU slice JAX finds the other processes by itself; elsewhere the environment
names them: ENERGYNETS_COORDINATOR=HOST:PORT, ENERGYNETS_PROCESSES and ENERGYNETS_PROCESS.
The run folder must be one that every process sees.
"""

import importlib.util
import os
import runpy
import sys

from energynets.training.main import prepare_jax


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(
            "error: wanted the name of an experiment first, such as experiments.seeded_seg",
            file=sys.stderr,
        )
        sys.exit(2)
    module = sys.argv[1]
    if not _exists(module):
        print(f"error: wanted the name of an experiment, got {module!r}", file=sys.stderr)
        sys.exit(2)
    prepare_jax()
    import jax

    coordinator = os.environ.get("ENERGYNETS_COORDINATOR")
    if coordinator:
        jax.distributed.initialize(
            coordinator,
            num_processes=int(os.environ["ENERGYNETS_PROCESSES"]),
            process_id=int(os.environ["ENERGYNETS_PROCESS"]),
            initialization_timeout=60,
            heartbeat_timeout_seconds=30,
            shutdown_timeout_seconds=3600,  # the first process still writes the report
        )
    else:
        jax.distributed.initialize(shutdown_timeout_seconds=3600)
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # no such package; or no name of a module at all
        return False


if __name__ == "__main__":
    main()
