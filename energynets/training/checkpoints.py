"""Checkpoints by orbax: the latest, the best, and one every so many epochs."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from energynets.errors import BadInputError, first_words, late_reads_silent

Tree = Any

_NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large", "Read-only file")


def open_manager(folder: Path, *, keep_every: int) -> ocp.CheckpointManager:
    """Checkpoints in `folder`: the last two, that of least "loss", and each `keep_every` steps.

    A checkpoint that was cut short is not seen. Saving is synchronous: the state is a few MB, and
    a run that says it has saved has saved.

    Raises:
        BadInputError: if the losses of the checkpoints there cannot be read.
    """
    keep: list[Any] = [
        policies.LatestN(2),
        policies.BestN(
            get_metric_fn=lambda metrics: metrics["loss"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        ),
    ]
    if keep_every:
        keep.append(policies.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(keep),
        best_fn=lambda metrics: metrics["loss"],
        best_mode="min",
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
    )
    try:
        return ocp.CheckpointManager(folder.absolute(), options=options)
    except ValueError as error:  # what JSON makes of a damaged file of metrics
        raise BadInputError(
            f"{folder}: wanted whole checkpoints, got one whose metrics cannot be read: "
            f"{first_words(error)}"
        ) from None


def save(
    manager: ocp.CheckpointManager,
    step: int,
    state: Tree,
    schedule: Mapping[str, float],
    metrics: Mapping[str, float] | None,
) -> None:
    """Keeps the state after `step` steps.

    Raises:
        BadInputError: if the disk is full or cannot be written; the last checkpoint is untouched.
    """
    try:
        _try_room(Path(manager.directory), state)
        manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                # As text, because "nan" and exact floats survive it.
                schedule=ocp.args.JsonSave({k: float(v).hex() for k, v in schedule.items()}),
            ),
            metrics=None if metrics is None else dict(metrics),
            force=True,
        )
        manager.wait_until_finished()
    except Exception as error:
        # tensorstore reports a full disk as a ValueError that holds the system's message.
        cause = next((cause for cause in _NO_ROOM if cause in str(error)), None)
        if cause is None and not isinstance(error, OSError):
            raise
        raise BadInputError(
            f"{manager.directory}: wanted to write the checkpoint of step {step}, got: "
            f"{cause or error}; those before it are intact, and the same command goes on from "
            "the last"
        ) from None


def _try_room(folder: Path, state: Tree) -> None:
    """Fails cleanly where orbax, out of room, would leave half a checkpoint and log tracebacks."""
    if not hasattr(os, "posix_fallocate"):
        return
    leaves = jax.tree.leaves(state)
    wanted = sum(leaf.nbytes for leaf in leaves) * 11 // 10 + 4096 * len(leaves) + 2**18
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, wanted)


def restore(manager: ocp.CheckpointManager, step: int, like: Tree) -> tuple[Tree, dict[str, float]]:
    """State and schedule of `step`, laid out as `like`: on any number of devices.

    Raises:
        BadInputError: if the checkpoint is damaged, or of another network.
    """
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        with late_reads_silent():
            kept = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), schedule=ocp.args.JsonRestore()
                ),
            )
        schedule = {k: float.fromhex(v) for k, v in kept["schedule"].items()}
    except Exception as error:  # whatever orbax and tensorstore make of damaged files
        raise BadInputError(
            f"{Path(manager.directory) / str(step)}: wanted a whole checkpoint of this run, got "
            f"{first_words(error)}; without this folder the same command goes on from "
            f"{_before(manager, step)}"
        ) from None
    return kept["state"], schedule


def _before(manager: ocp.CheckpointManager, step: int) -> str:
    others = [other for other in manager.all_steps() if other != step]
    return f"step {max(others)}" if others else "the beginning"
