"""Several processes on this machine, as a rehearsal of several hosts.

    python -m launch.local 2 experiments.seeded_seg --config=… --workdir=DIR

The first process prints here; what the others print lies in DIR/process_N.log once all have
ended. If one fails, all are stopped, and the status is its own.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_GRACE = 5.0  # seconds for the others to say the same, once one has failed


def main() -> None:
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or not int(sys.argv[1]):
        print("error: wanted a number of processes and the name of an experiment", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))


def run(count: int, arguments: list[str]) -> int:
    """Starts `count` processes of `launch.join` and waits for them: the first status that is not
    0, or 0."""
    folder = _workdir(arguments)
    if folder and folder.exists() and not folder.is_dir():
        print(f"error: {folder}: wanted a run folder, got a file", file=sys.stderr)
        return 2
    # Elsewhere than in the run folder, which a run that is refused does not make.
    with tempfile.TemporaryDirectory() as aside:
        logs = [Path(aside) / f"process_{number}.log" for number in range(1, count)]
        try:
            status, silent = _run(count, arguments, logs)
        finally:
            if folder and folder.is_dir():
                for log in filter(Path.exists, logs):
                    shutil.move(log, folder / log.name)
        if silent is not None and logs[silent - 1].exists():
            print(logs[silent - 1].read_text(), end="", file=sys.stderr)
        return status


def _workdir(arguments: list[str]) -> Path | None:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        given = value if equals else following
        if name in ("--workdir", "-workdir") and given:
            return Path(given)
    return None


def _run(count: int, arguments: list[str], logs: list[Path]) -> tuple[int, int | None]:
    """The status, and which process failed while the first, which prints, did not."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "launch.join", *arguments]
    processes: list[subprocess.Popen] = []
    try:
        for number in range(count):
            environment = {
                **os.environ,
                "ENERGYNETS_COORDINATOR": f"127.0.0.1:{port}",
                "ENERGYNETS_PROCESSES": str(count),
                "ENERGYNETS_PROCESS": str(number),
            }
            if number == 0:
                processes.append(subprocess.Popen(command, env=environment))
                continue
            with logs[number - 1].open("w") as log:
                processes.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
                )
        while None in (statuses := [p.poll() for p in processes]) and not any(statuses):
            time.sleep(0.2)
        status = next((s for s in statuses if s), 0)
        end = time.monotonic() + _GRACE
        while None in (statuses := [p.poll() for p in processes]) and time.monotonic() < end:
            time.sleep(0.1)
        failed = [number for number, s in enumerate(statuses) if s]
        return status, failed[0] if failed and failed[0] else None
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


if __name__ == "__main__":
    main()
