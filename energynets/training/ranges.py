"""Numbers of a config that no run can have, refused by name before anything is read."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from energynets.errors import BadInputError
from energynets.training.experiment import Config


def refuse_outside(config: Config, limits: Mapping[tuple[float, float], Sequence[str]]) -> None:
    """Every key, such as "data.crop", must lie between the limits it stands under, both included.

    A key that holds several numbers needs one at least. `inf` as upper limit is none, but the
    number must be finite.

    Raises:
        BadInputError: for the first that does not.
    """
    for (least, most), keys in limits.items():
        limit = f"from {least} to {most}" if most < inf else f"of at least {least}"
        for key in keys:
            value = config
            for part in key.split("."):
                value = value[part]
            if isinstance(value, tuple):
                if not value or not all(_lies(v, least, most) for v in value):
                    raise BadInputError(
                        f"config.{key}: wanted one finite number or more, {limit}, got {value}"
                    )
            elif not _lies(value, least, most):
                raise BadInputError(f"config.{key}: wanted a finite number {limit}, got {value}")


def refuse_late(config: Config, energies: Sequence[str]) -> None:
    """Energies of config.loss that have a weight must begin before training ends.

    Raises:
        BadInputError: if `loss.from_step` is `train.steps` or more, though some steps are made.
    """
    weighted = [name for name in energies if config.loss[name]]
    if weighted and 0 < config.train.steps <= config.loss.from_step:
        raise BadInputError(
            f"config.loss.from_step: wanted less than train.steps, {config.train.steps}, since "
            f"loss.{weighted[0]} would never act, got {config.loss.from_step}"
        )


def refuse_too_small(key: str, size: int, network: Any) -> None:
    """Pictures of `size` × `size` must do for `network.least_size`.

    Raises:
        BadInputError: naming `key`, such as "data.size".
    """
    if size < network.least_size:
        wanted = f"at least {network.least_size} pixels for this network"
        raise BadInputError(f"config.{key}: wanted {wanted}, got {size}")


def _lies(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and least <= value <= most and value < inf
