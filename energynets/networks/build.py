"""Networks from the plain numbers and strings of a config or of a weights file."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from energynets.errors import BadInputError
from energynets.networks.dilated import Dilated
from energynets.networks.labels import Classes, PerLabel
from energynets.networks.propagation import Propagation
from energynets.networks.pyramid import Pyramid
from energynets.networks.transmission import Refinement, Transmission

DEFAULTS = {
    "head": "per_label",  # or classes
    "trunk": "propagation",  # or pyramid; or dilated, the paper's
    "widths": (16, 32, 64, 96, 96),  # of the pyramid, the finest level first
    "blocks": 7,  # of the dilated network, as all that follows
    "width": 32,
    "padding": "zero",  # or reflect
    "norm": "batch",  # group, none
    "relu_after_dilated": True,  # False: the preprint
    "norm_on_output": False,  # True: the authors' code
    "dtype": "auto",  # bfloat16 on GPU and TPU, float32 on CPU, where bfloat16 is slower
}


def _dtype(settings: Mapping[str, Any]) -> Any:
    dtype = settings["dtype"]
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if dtype not in ("float32", "bfloat16"):
        raise BadInputError(
            f"config.network.dtype: wanted auto, float32 or bfloat16, got {dtype!r}"
        )
    return jnp.dtype(dtype)


def _widths(settings: Mapping[str, Any]) -> tuple[int, ...]:
    widths = settings["widths"]
    if not isinstance(widths, Sequence) or any(type(w) is not int for w in widths):
        raise BadInputError(f"config.network.widths: wanted whole numbers, got {widths!r}")
    widths = tuple(widths)
    if not widths or any(w < 8 or w % 8 for w in widths):
        raise BadInputError(f"config.network.widths: wanted multiples of 8, got {widths}")
    return widths


def trunk(settings: Mapping[str, Any], out: int) -> Pyramid | Dilated:
    """Image to `out` scores, as `settings` say; see `DEFAULTS` for the keys.

    Raises:
        BadInputError: naming the key of config.network whose value is not one of its kind.
    """
    _one_of(settings, "trunk", "pyramid", "dilated")
    _refuse_unknown(settings)
    if settings["trunk"] == "pyramid":
        return Pyramid(out, _widths(settings), _dtype(settings))
    return Dilated(
        out,
        blocks=settings["blocks"],
        width=settings["width"],
        padding=settings["padding"],
        norm=settings["norm"],
        relu_after_dilated=settings["relu_after_dilated"],
        norm_on_output=settings["norm_on_output"],
        dtype=_dtype(settings),
    )


def transmission(settings: Mapping[str, Any]) -> Transmission:
    """Image to one plane in [0, 1], as `settings` say; `head` is not looked at.

    Raises:
        BadInputError: as `trunk`.
    """
    return Transmission(trunk(settings, 1))


def of(settings: Mapping[str, Any], classes: int) -> Any:
    """The network that weights or a config belong to, by its head: `transmission`, `refinement`
    (of a coarse transmission that it is given), or one of `seeded`."""
    if settings["head"] == "transmission":
        return transmission(settings)
    if settings["head"] == "refinement":
        _one_of(settings, "trunk", "pyramid")
        _refuse_unknown(settings)
        return Refinement(_widths(settings), _dtype(settings))
    return seeded(settings, classes)


def seeded(settings: Mapping[str, Any], classes: int) -> Classes | PerLabel | Propagation:
    """Image and seeds to probabilities over labels: a trunk with one of the two heads, or the
    propagation network, which takes any number of labels by itself.

    Raises:
        BadInputError: naming the key of config.network whose value is not one of its kind.
    """
    _one_of(settings, "head", "classes", "per_label")
    _one_of(settings, "trunk", "propagation", "pyramid", "dilated")
    _refuse_unknown(settings)
    if settings["head"] == "classes":
        if settings["trunk"] == "propagation":
            raise BadInputError(
                "config.network.trunk: wanted pyramid or dilated for config.network.head classes, "
                "got 'propagation'"
            )
        return Classes(trunk(settings, classes))
    if settings["trunk"] == "propagation":
        return Propagation(_widths(settings), _dtype(settings))
    return PerLabel(trunk(settings, 1))


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """What a dilated network alone asks, of every network: a key with no effect may still not say
    what no network has."""
    _one_of(settings, "padding", "zero", "reflect")
    _one_of(settings, "norm", "batch", "group", "none")
    for key in ("blocks", "width"):
        if settings[key] < 1:
            raise BadInputError(f"config.network.{key}: wanted at least 1, got {settings[key]}")
    _widths(settings)


def _one_of(settings: Mapping[str, Any], key: str, *known: str) -> None:
    if settings[key] not in known:
        raise BadInputError(
            f"config.network.{key}: wanted one of {', '.join(known)}, got {settings[key]!r}"
        )
