"""Widths of Gaussians, which must be above 0: a check for functions that take them."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.core import Tracer

_Function = TypeVar("_Function", bound=Callable)


def positive_widths(function: _Function) -> _Function:
    """`function`, with a ValueError for keywords of the name sigma that are not above 0.

    Values that are being traced, within a `jit` of the caller's say, cannot be looked at.
    """

    @functools.wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        for name, value in keywords.items():
            known = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
            if "sigma" in name and known and not (np.asarray(value) > 0).all():
                raise ValueError(f"{name} must be above 0, got {value}")
        return function(*arguments, **keywords)

    return checked  # pyright: ignore[reportReturnType]
