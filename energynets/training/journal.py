"""What a run writes while it goes: metrics.jsonl, TensorBoard scalars, a progress bar."""

import errno
import json
import math
import os
import platform
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from energynets.data.writing import whole

console = Console(highlight=False, soft_wrap=True)


def write_atomically(path: Path, text: str) -> None:
    """The whole file or none of it, however the process ends."""
    with whole(path) as file:
        file.write(text.encode())


def as_json(value: Any, **how: Any) -> str:
    """Strict JSON, which knows no nan and no infinity: null stands for them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return json.dumps(plain(value), allow_nan=False, **how)


class Journal:
    """Scalars by step, in `metrics.jsonl` and as TensorBoard events; only process 0 writes.

    A run that goes on from step n forgets what an interrupted one wrote of later steps.
    """

    def __init__(self, workdir: Path, step: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        path = workdir / "metrics.jsonl"
        kept = [r for r in read_metrics(workdir) if r["step"] <= step]
        write_atomically(path, "".join(as_json(r) + "\n" for r in kept))
        self._file = path.open("ab", buffering=0)
        try:
            self._board = _Events(workdir / "tensorboard", step + 1)
        except ImportError:
            self._board = None
            console.print("tensorboardX is not installed: scalars go to metrics.jsonl alone")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        if not self._writes:
            return
        _append(self._file, (as_json({"step": step, **scalars}) + "\n").encode())
        if self._board is not None:
            self._board.write(step, scalars)

    def close(self) -> None:
        if self._writes:
            self._file.close()
            if self._board is not None:
                self._board.close()


class _Events:
    """A file of TensorBoard events. Written at once, where tensorboardX's own SummaryWriter has a
    thread that dies of a full disk and leaves the run waiting for it."""

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import masked_crc32c

        self._events: Any = event_pb2  # their contents are made when they are imported
        self._summaries: Any = summary_pb2
        self._checksum = masked_crc32c
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}"
        self._file = (folder / name).open("ab", buffering=0)
        self._record(file_version="brain.Event:2")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        # Tells TensorBoard to forget what an earlier file says of this step and later ones.
        self._record(step=first_step, session_log=start)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [self._summaries.Summary.Value(tag=n, simple_value=v) for n, v in scalars.items()]
        self._record(step=step, summary=self._summaries.Summary(value=values))

    def _record(self, **fields: Any) -> None:
        data = self._events.Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", self._checksum(part)) for part in (length, data)]
        _append(self._file, length + checks[0] + data + checks[1])

    def close(self) -> None:
        self._file.close()


def _append(file: Any, data: bytes) -> None:
    """The whole of `data` at once: a buffer would fail a second time when the file is closed."""
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a last line that was cut short is left out."""
    path = workdir / "metrics.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def pace(workdir: Path) -> dict[str, float]:
    """Seconds of a training step, and the share of it that was spent waiting for data.

    Medians over what was logged, so that compiling does not count; empty without training.
    """
    records = [record for record in read_metrics(workdir) if "seconds_a_step" in record]
    if not records:
        return {}
    return {name: median(r[name] for r in records) for name in ("seconds_a_step", "waiting")}


def best(workdir: Path) -> tuple[int, int] | None:
    """The step with the lowest validation loss, and the last that was validated; None untrained.

    Weights of the first are what a run ends with.
    """
    losses = {r["step"]: r["validation/loss"] for r in read_metrics(workdir) if _is_validated(r)}
    # Of equal ones the last, as checkpoints are kept.
    return (
        (min(losses, key=lambda step: (losses[step], -step)), max(losses)) if any(losses) else None
    )


def _is_validated(record: dict[str, Any]) -> bool:
    return record.get("validation/loss") is not None


class Bar:
    """One line of progress: step, rate, time left and the latest loss."""

    def __init__(self, progress: Progress, task: Any):
        self._progress, self._task = progress, task

    def advance(self, total: int | None = None, note: str = "") -> None:
        """One more is done, of `total` if that was not known before."""
        task = self._progress.tasks[self._task]
        rate = f"{task.speed:.2f}/s" if task.speed else ""
        self._progress.update(self._task, advance=1, total=total, note=f"{rate}  {note}")


@contextmanager
def progress_bar(title: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
    """A bar on a terminal; in a log file only what is printed beside it appears."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns,
        console=console,
        transient=not console.is_terminal,
        disable=not console.is_terminal or jax.process_index() != 0,
        speed_estimate_period=60,
    ) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note=""))
