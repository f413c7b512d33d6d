"""A run folder belongs to one config, which lies in it as `config.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from energynets.errors import BadInputError
from energynets.training.experiment import Config
from energynets.training.journal import write_atomically


def claim(workdir: Path, config: Config) -> None:
    """Writes the config into a new run folder; refuses one that holds another config.

    Raises:
        BadInputError: naming the first keys that differ, or if there can be no such folder, it
            may not be written, or its config cannot be read.
    """
    if set("[]") & set(str(workdir.absolute())):
        raise BadInputError(
            f"--workdir: wanted a path without [ and ], from which no checkpoint can be read back, "
            f"got {workdir.absolute()}"
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{workdir}: wanted a run folder, got: {error.strerror}") from None
    path = workdir / "config.json"
    try:
        _write_or_compare(path, config)
    except OSError as error:
        raise BadInputError(
            f"{path}: wanted a run folder to read and write in, got: {error.strerror}"
        ) from None


def _write_or_compare(path: Path, config: Config) -> None:
    workdir = path.parent
    text = config.to_json_best_effort(indent=1, sort_keys=True)
    # Looked at first: another process of the same run may write both while this one looks.
    begun = (workdir / "checkpoints").exists()
    if not path.exists():
        if begun:
            raise BadInputError(f"{path}: wanted the config of the checkpoints here, got no file")
        if jax.process_index() == 0:
            write_atomically(path, text)
        return
    try:
        found = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text at all
        raise BadInputError(f"{path}: wanted the config of this run, got: {error}") from None
    if not isinstance(found, Mapping):
        raise BadInputError(f"{path}: wanted the config of this run, got {found!r}")
    old, new = flat(found), flat(json.loads(text))
    different = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if different:
        told = ", ".join(f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in different[:3])
        raise BadInputError(
            f"{workdir}: wanted a new folder or the config that began this run, got another: {told}"
        )


def flat(tree: Mapping[str, Any], prefix: str = "config") -> dict[str, Any]:
    """The values of a config by their whole names, such as config.train.steps."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        found |= flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found
