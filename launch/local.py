"""Several processes on this machine, as a rehearsal of several hosts.

    python -m launch.local 2 experiments.seeded_seg --config=… --workdir=DIR

The first process prints here; what each of the others prints is in DIR/process_N.log while it
runs, as soon as there is a run folder. If one fails, all are stopped, and the status is its own.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

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
    logs = [_Log(folder / f"process_{n}.log" if folder else None) for n in range(1, count)]
    status, silent = _run(count, arguments, logs)
    if silent is not None:
        print(logs[silent - 1].text(), end="", file=sys.stderr)
    return status


class _Log:
    """What a process prints: kept until the run folder exists, which a run that is refused does
    not make, and then in a file of it, line by line."""

    def __init__(self, path: Path | None):
        self._path = path
        self._lines: list[str] = []
        self._file: IO[str] | None = None
        self._thread: threading.Thread | None = None

    def follow(self, stream: IO[str]) -> None:
        self._thread = threading.Thread(target=self._copy, args=(stream,), daemon=True)
        self._thread.start()

    def _copy(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.append(line)
            self._write()

    def _write(self) -> None:
        if self._file is None and self._path and self._path.parent.is_dir():
            self._file = self._path.open("w", buffering=1)
            self._file.writelines(self._lines)
        elif self._file is not None:
            self._file.write(self._lines[-1])

    def text(self) -> str:
        return "".join(self._lines)

    def close(self) -> None:
        """Once the process has ended: the rest of what it printed."""
        if self._thread:
            self._thread.join(timeout=10)
        if self._file is None and self._lines:
            self._write()
        if self._file is not None:
            self._file.close()


def _workdir(arguments: list[str]) -> Path | None:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        given = value if equals else following
        if name in ("--workdir", "-workdir") and given:
            return Path(given)
    return None


def _run(count: int, arguments: list[str], logs: list[_Log]) -> tuple[int, int | None]:
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
            # Unbuffered, so that its log can be read while it runs.
            environment["PYTHONUNBUFFERED"] = "1"
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
            processes.append(subprocess.Popen(command, env=environment, text=True, **pipes))
            output = processes[-1].stdout
            assert output is not None
            logs[number - 1].follow(output)
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
        for log in logs:
            log.close()


if __name__ == "__main__":
    main()
