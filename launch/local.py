"""Several processes on this machine, as a rehearsal of several hosts.

    python -m launch.local 2 experiments.seeded_seg --config=… --workdir=DIR

Each process prints to DIR/process_N.log, but the first, which prints here. If one fails, all are
stopped, and the status is its own.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or not int(sys.argv[1]):
        print("error: wanted a number of processes and the name of an experiment", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))


def run(count: int, arguments: list[str]) -> int:
    """Starts `count` processes of `launch.join` and waits for them: the first status that is not
    0, or 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = next((a.split("=", 1)[1] for a in arguments if a.startswith("--workdir=")), ".")
    Path(folder).mkdir(parents=True, exist_ok=True)
    processes = []
    for number in range(count):
        environment = {
            **os.environ,
            "ENERGYNETS_COORDINATOR": f"127.0.0.1:{port}",
            "ENERGYNETS_PROCESSES": str(count),
            "ENERGYNETS_PROCESS": str(number),
        }
        log = None if number == 0 else (Path(folder) / f"process_{number}.log").open("w")
        command = [sys.executable, "-m", "launch.join", *arguments]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=log and subprocess.STDOUT)
        )
    try:
        while any(p.poll() is None for p in processes):
            failed = [p.returncode for p in processes if p.returncode]
            if failed:
                return failed[0]
            time.sleep(0.2)
        return next((p.returncode for p in processes if p.returncode), 0)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


if __name__ == "__main__":
    main()
